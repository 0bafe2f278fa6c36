"""Files that are read again once they change."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import TokenRequestError, TokenRequestTimeout
from requests_cc_token.bounded_reads import LOOK_EVERY
from requests_cc_token.watched_files import (
    MAX_FILE,
    SETTLED_AFTER,
    UnusableFileError,
    WatchedFiles,
    is_path,
    is_settled,
)

from .forked import in_child
from .scripted_server import PATIENCE


class Made:
    def __init__(self, contents: tuple[bytes, ...]) -> None:
        if b"bad" in contents:
            raise UnusableFileError("it is bad")
        self.contents = contents


def watched(*paths: Path) -> WatchedFiles[Made]:
    return WatchedFiles(paths, Made, "thing")


def settled(path: Path, content: bytes) -> Path:
    """The file, last written long ago."""
    path.write_bytes(content)
    long_ago = time.time() - 10 * SETTLED_AFTER
    os.utime(path, (long_ago, long_ago))
    return path


def test_what_has_not_changed_is_not_made_again(tmp_path: Path) -> None:
    """The same object comes while the content is the same, be the file touched or not."""
    path = settled(tmp_path / "a", b"1")
    files = watched(path)
    first = files.get()
    assert files.get() is first
    path.touch()
    assert files.get() is first
    path.write_bytes(b"2")
    assert files.get().contents == (b"2",)


def test_a_settled_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at its stamp is enough: the content is not read until that changes."""
    files = watched(settled(tmp_path / "a", b"1"))
    first = files.get()
    with monkeypatch.context() as patch:
        patch.setattr("requests_cc_token.watched_files.read_regular", lambda path: pytest.fail(f"{path} was read"))
        assert files.get() is first
    settled(tmp_path / "a", b"22")
    assert files.get().contents == (b"22",)


@pytest.mark.parametrize(("age", "is_old"), [(SETTLED_AFTER, False), (SETTLED_AFTER + 0.5, True), (-60.0, False)])
def test_a_file_is_settled_after_two_seconds(monkeypatch: pytest.MonkeyPatch, age: float, is_old: bool) -> None:
    """By its last write; one of the future, as a clock that was set back makes it, is not."""
    monkeypatch.setattr("requests_cc_token.watched_files.time.time", lambda: 1_000.0)
    assert is_settled((1, 1, 1, 0, round((1_000.0 - age) * 1e9))) is is_old


class OfText(os.PathLike[str]):
    def __fspath__(self) -> str:
        return "a"


class OfBytes(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"a"


def test_what_is_a_path() -> None:
    """Text that the system can look for, or an object that gives such text; nothing else, bytes neither."""
    assert [is_path(given) for given in ("a", "\udcff", " ", Path("a"), OfText())] == [True] * 5
    others = ("", "a\0b", "\ud800", b"a", OfBytes(), 5, None, ["a"], Path)
    assert [is_path(given) for given in others] == [False] * 9


def test_a_copy_that_keeps_its_time_is_seen(tmp_path: Path) -> None:
    """What rsync writes into the same file, as long and as old as what was there, is another content all the same."""
    path = settled(tmp_path / "a", b"1")
    files = watched(path)
    assert files.get().contents == (b"1",)
    stamp = path.stat()
    while path.stat().st_ctime_ns == stamp.st_ctime_ns:  # where the system's clock ticks slowly, not at once
        path.write_bytes(b"2")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert files.get().contents == (b"2",)


def test_a_fresh_file_is_read_again(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock are both seen."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    files = watched(path)
    stamp = path.stat()
    assert files.get().contents == (b"1",)
    path.write_bytes(b"2")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert files.get().contents == (b"2",)


@pytest.mark.parametrize("trouble", ["bad", "empty", "blank", "gone"])
def test_the_last_good_one_is_kept(tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    """One warning says what is wrong with which file; once it is good again it is used."""
    path, other = settled(tmp_path / "a", b"1"), settled(tmp_path / "b", b"x")
    files = watched(path, other)
    first = files.get()
    content = {"bad": b"bad", "empty": b"", "blank": b" \n"}
    if trouble == "gone":
        path.unlink()
    else:
        path.write_bytes(content[trouble])
    with caplog.at_level(logging.WARNING):
        assert [files.get() is first for _ in range(3)] == [True] * 3
    assert len(caplog.records) == 1
    assert f"the thing, '{path}' and '{other}': " in caplog.text
    assert "going on with the last good one" in caplog.text
    path.write_bytes(b"2")
    assert files.get().contents == (b"2", b"x")


def test_nothing_good_yet(tmp_path: Path) -> None:
    """Until there is something good there is an error, with the reason of the moment."""
    path = tmp_path / "a"
    files = watched(path)
    for content, reason in ((None, "No such file"), (b"", "empty"), (b"bad", "it is bad")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TokenRequestError, match=f"the thing, '{path}': {reason}"):
            files.get()
    path.write_bytes(b"1")
    assert files.get().contents == (b"1",)
    assert repr(files) == f"<thing from '{path}'>"


def test_the_stamp_tells_of_each_file(tmp_path: Path) -> None:
    """It differs once one of the files is replaced, or gone."""
    path, other = settled(tmp_path / "a", b"1"), settled(tmp_path / "b", b"1")
    files = watched(path, other)
    stamps = {files.stamp()}
    other.write_bytes(b"22")
    stamps.add(files.stamp())
    other.unlink()
    stamps.add(files.stamp())
    assert len(stamps) == 3


def test_threads_make_it_once(tmp_path: Path) -> None:
    """Sixteen threads that see a change at once get one object."""
    path = settled(tmp_path / "a", b"1")
    made: list[Made] = []

    def make(contents: tuple[bytes, ...]) -> Made:
        made.append(Made(contents))
        return made[-1]

    files = WatchedFiles([path], make, "thing")
    start = threading.Barrier(16)
    got: list[Made] = []

    def get() -> None:
        start.wait()
        got.append(files.get())

    threads = [threading.Thread(target=get) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1
    assert len(got) == 16
    assert set(got) == set(made)


class Hanging:
    """A file system that answers no question about files of this name until it is told to; who asks, waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.asked = threading.Semaphore(0)
        self.answers = threading.Event()
        stat = os.stat

        def hanging(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(name):
                self.asked.release()
                assert self.answers.wait(PATIENCE)
            return stat(path, *arguments, **options)

        monkeypatch.setattr(os, "stat", hanging)


class TestFileSystemThatHangs:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return settled(tmp_path / "hangs", b"1")

    def test_the_last_good_one_is_used(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Who finds it hanging waits a moment, who comes later not at all; one look hangs, not one for each."""
        files = watched(path)
        made = files.get()
        monkeypatch.setattr("requests_cc_token.watched_files.NEXT_LOOK", 0.05)
        hanging = Hanging(monkeypatch, "hangs")
        with caplog.at_level(logging.WARNING):
            assert [files.get() for _ in range(20)] == [made] * 20
        assert [record.getMessage() for record in caplog.records] == [
            f"the thing, '{path}': it is still being read after 0.05 s; going on with the last good one"
        ]
        assert hanging.asked.acquire(timeout=PATIENCE)
        assert not hanging.asked.acquire(blocking=False)
        path.write_bytes(b"2")
        hanging.answers.set()
        until = time.monotonic() + PATIENCE
        while files.get() is made:
            assert time.monotonic() < until
        assert files.get().contents == (b"2",)

    def test_without_a_good_one_there_is_an_error(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the time that the caller has, and in no case later than the first look may take."""
        files = watched(path)
        hanging = Hanging(monkeypatch, "hangs")
        with pytest.raises(TokenRequestTimeout, match=r"still being read after 0\.02 s"):
            files.get(within=0.02)
        monkeypatch.setattr("requests_cc_token.watched_files.FIRST_LOOK", 0.03)
        with pytest.raises(TokenRequestError, match=r"still being read after 0\.03 s"):
            files.get()
        with pytest.raises(TokenRequestError, match=r"still being read after 0\.03 s"):
            files.get(within=PATIENCE)
        hanging.answers.set()
        monkeypatch.setattr("requests_cc_token.watched_files.FIRST_LOOK", PATIENCE)
        assert files.get().contents == (b"1",)

    def test_a_caller_in_a_hurry_takes_the_last_good_one(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """That its time was over says nothing of the file, so nothing is logged, and what has changed is seen later."""
        files = watched(path)
        made = files.get()
        hanging = Hanging(monkeypatch, "hangs")
        settled(path, b"the new one")
        assert files.get(within=0.0) is made
        assert hanging.asked.acquire(timeout=PATIENCE)
        hanging.answers.set()
        assert files.get(within=PATIENCE).contents == (b"the new one",)
        assert caplog.records == []

    def test_a_forked_child_looks_by_itself(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It does not wait for a thread of its parent that it does not have."""
        files = watched(path)
        hanging = Hanging(monkeypatch, "hangs")
        with pytest.raises(TokenRequestError):
            files.get(within=0)
        assert hanging.asked.acquire(timeout=PATIENCE)

        def check() -> None:
            hanging.answers.set()
            assert files.get(within=PATIENCE).contents == (b"1",)

        in_child(check)
        hanging.answers.set()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to is told at once, and a good file in its place is used."""
    path = tmp_path / "a"
    os.mkfifo(path)
    files = watched(path)
    with pytest.raises(TokenRequestError, match="it is no regular file"):
        files.get()
    path.unlink()
    path.write_bytes(b"1")
    assert files.get().contents == (b"1",)


def test_a_file_of_any_size(tmp_path: Path) -> None:
    """No more is read than keys and certificates have."""
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(TokenRequestError, match=f"it has more than {MAX_FILE} bytes"):
        watched(path).get()


def test_calls_look_once_in_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What calls get by the thousand is looked at once in a second; who needs what is there now gets that."""
    now = 100.0
    monkeypatch.setattr("requests_cc_token.watched_files.LOOK_EVERY", LOOK_EVERY)
    monkeypatch.setattr("requests_cc_token.watched_files.time.monotonic", lambda: now)
    path = settled(tmp_path / "key", b"old")
    files = watched(path)
    old = files.recent()
    settled(path, b"the new one")
    assert files.recent() is old
    now += LOOK_EVERY - 0.01
    assert files.recent() is old
    now += 0.02
    assert files.recent().contents == (b"the new one",)
    settled(path, b"the newest one")
    assert files.recent().contents == (b"the new one",)
    assert files.get().contents == (b"the newest one",)
    assert files.recent().contents == (b"the newest one",)
    now = 50.0  # a clock that was frozen at a later time, and is no more
    settled(path, b"the very newest one")
    assert files.recent().contents == (b"the very newest one",)


def test_the_caller_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not the thread that looks: a signal's handler may have interrupted its thread within a log handler's lock."""
    path = settled(tmp_path / "thing", b"good")
    files = watched(path)
    made = files.get()
    settled(path, b"bad")
    assert [files.get() for _ in range(2)] == [made] * 2
    [record] = caplog.records
    assert record.thread == threading.get_ident()
    settled(path, b"good again")
    assert files.get() is not made
    assert len(caplog.records) == 1
