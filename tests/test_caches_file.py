"""FileTokenCache: the contract, what others on the host can do to its folder, and what a broken folder does."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from requests_cc_token import AccessToken
from requests_cc_token.caches.file import (
    _LOOKS,
    _MAX_PASSED,
    KEPT_AFTER_EXPIRY,
    LOOKS_PER_ATTEMPT,
    FileTokenCache,
    _process_status,
)
from requests_cc_token.caches.folder import make_private
from requests_cc_token.exceptions import ConfigurationError, TokenCacheError
from requests_cc_token.testing import ManualClock, SharedTokenCacheContract

from .moments import just_before
from .scripted_server import PATIENCE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="folders and their owners are POSIX's here")

ROOT = Path(__file__).parent.parent
KEY = SharedTokenCacheContract.key()
OTHER_KEY = SharedTokenCacheContract.key(1)
FERNET_KEY = Fernet.generate_key()


class FileContract(SharedTokenCacheContract):
    key_of_records: bytes | None = None

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "tokens"

    def make_cache(self, clock: ManualClock) -> FileTokenCache:
        return FileTokenCache(self.path, key=self.key_of_records, timeout=PATIENCE, clock=clock)


class TestFileTokenCache(FileContract):
    """The contract that all caches inherit."""


class TestEncryptedFileTokenCache(FileContract):
    """The contract, encrypted."""

    key_of_records = FERNET_KEY


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def cache(path: Path, clock: ManualClock) -> FileTokenCache:
    return FileTokenCache(path, timeout=PATIENCE, clock=clock)


def token(clock: ManualClock, value: str = "T41NT-token", lifetime: float = 3600.0) -> AccessToken:
    return AccessToken(value, expires_at=clock.time() + lifetime)


def value(found: AccessToken | None) -> str | None:
    return None if found is None else found.value


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def the_record(path: Path, key: str = KEY) -> Path:
    (record,) = (path / key).glob("*.token")
    return record


class TestItsFolder:
    """0700, 0600, ours alone."""

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_modes(self, path: Path, clock: ManualClock, umask: int) -> None:
        """Folders are 0700 and files 0600, whatever the umask."""
        before = os.umask(umask)
        try:
            cache = FileTokenCache(path, timeout=PATIENCE, clock=clock)
            cache.set(KEY, token(clock))
            lease = cache.lease(KEY, lambda: False)
            assert lease is not None
        finally:
            os.umask(before)
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path, path / KEY)} == {0o700}
        assert {file.suffix for file in files(path)} >= {".token", ".lock"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files(path)} == {0o600}
        lease.release()

    def test_who_only_looks_makes_no_folder(self, path: Path, clock: ManualClock) -> None:
        """It is made by the first process that writes, and so is that process's user's: the worker's, not root's."""
        cache = FileTokenCache(path / "between", timeout=PATIENCE, clock=clock)
        assert cache.get(KEY) is None
        assert cache.inspect(KEY).token is None
        cache.delete(KEY)
        assert not path.exists()
        cache.set(KEY, token(clock))
        assert cache.get(KEY) == token(clock)

    @pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o770, 0o701])
    def test_a11_an_open_folder_is_refused_and_left_alone(self, path: Path, clock: ManualClock, mode: int) -> None:
        """Its mode stays: others may need it. The error names the folder to use instead."""
        path.mkdir()
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match=rf"is open to other users \(mode {mode:04o}\)") as error:
            FileTokenCache(path, clock=clock)
        assert str(path / "tokens") in str(error.value)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert list(path.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
    def test_a11_a_folder_in_which_others_keep_things(self, path: Path) -> None:
        """Is refused, though it is closed now."""
        path.mkdir(mode=0o700)
        (path / "theirs").touch()
        os.chown(path / "theirs", 12345, -1)
        with pytest.raises(ConfigurationError, match=r"holds 'theirs' of another user; give .* a folder of its own"):
            FileTokenCache(path)

    def test_a12_a_parent_in_which_others_may_replace_it(self, tmp_path: Path, clock: ManualClock) -> None:
        """Is refused, however far up; where a folder is sticky, others cannot."""
        above = tmp_path / "above"
        above.mkdir()
        for mode in (0o777, 0o770, 0o722):
            above.chmod(mode)
            with pytest.raises(ConfigurationError, match=f"other users may write to {above}"):
                FileTokenCache(above / "between" / "tokens", clock=clock)
            assert list(above.iterdir()) == []  # nothing is made in a place that is refused
        above.chmod(0o1777)
        FileTokenCache(above / "between" / "tokens", timeout=PATIENCE, clock=clock).set(KEY, token(clock))

    def test_a12_a_folder_that_comes_later(self, tmp_path: Path, clock: ManualClock) -> None:
        """What could not be judged when the cache was made, for a disk that was gone, is judged at the first use."""
        place = tmp_path / "disk"
        place.write_text("in the way")
        cache = FileTokenCache(place / "tokens", timeout=PATIENCE, clock=clock)
        place.unlink()
        place.mkdir()
        (place / "tokens").mkdir()
        (place / "tokens").chmod(0o755)
        with pytest.raises(TokenCacheError, match="is open to other users"):
            cache.get(KEY)

    def test_a12_a_parent_that_is_opened_later(self, tmp_path: Path, clock: ManualClock) -> None:
        """Is looked at again at each use: calls go on without the cache, and with it once that is over."""
        above = tmp_path / "above"
        above.mkdir(mode=0o755)
        cache = FileTokenCache(above / "tokens", timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock))
        above.chmod(0o777)
        for use in (lambda: cache.get(KEY), lambda: cache.set(KEY, token(clock)), lambda: cache.lease(KEY, bool)):
            with pytest.raises(TokenCacheError, match=f"other users may write to {above}"):
                use()
        above.chmod(0o755)
        assert cache.get(KEY) == token(clock)
        above.joinpath("tokens").chmod(0o755)
        with pytest.raises(TokenCacheError, match="is open to other users"):
            cache.get(KEY)

    def test_a12_a_parent_that_is_opened_while_the_folder_is_gone(self, tmp_path: Path, clock: ManualClock) -> None:
        """The folder is not made again in such a place."""
        above = tmp_path / "above"
        above.mkdir(mode=0o755)
        cache = FileTokenCache(above / "tokens", timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock))
        above.joinpath("tokens").rename(tmp_path / "moved")
        above.chmod(0o777)
        with pytest.raises(TokenCacheError, match=f"other users may write to {above}"):
            cache.set(KEY, token(clock))
        assert list(above.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
    def test_a12_a_parent_of_another_user(self, tmp_path: Path, clock: ManualClock) -> None:
        """Is refused: whoever owns it can move what is in it. So is what a link of ours leads to, in such a place."""
        theirs = tmp_path / "theirs"
        (theirs / "ours").mkdir(mode=0o700, parents=True)
        os.chown(theirs, 12345, -1)
        with pytest.raises(ConfigurationError, match=rf"{theirs} belongs to another user \(uid 12345\).*; run this as"):
            FileTokenCache(theirs / "ours", clock=clock)
        with pytest.raises(ConfigurationError, match=rf"{theirs} belongs to another user \(uid 12345\)"):
            FileTokenCache(theirs / "none yet", clock=clock)
        assert not (theirs / "none yet").exists()
        (tmp_path / "link").symlink_to(theirs / "ours")
        with pytest.raises(ConfigurationError, match=rf"{theirs} belongs to another user \(uid 12345\)"):
            FileTokenCache(tmp_path / "link", clock=clock)

    def test_a12_missing_parents_are_closed_whatever_the_umask(self, tmp_path: Path, clock: ManualClock) -> None:
        """So that a folder which was made here is never refused."""
        before = os.umask(0)
        try:
            FileTokenCache(tmp_path / "a" / "b" / "tokens", timeout=PATIENCE, clock=clock).set(KEY, token(clock))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700

    def test_a_folder_of_another_user_is_refused(self, path: Path) -> None:
        """A folder that belongs to another user is refused, and the message says whose it is."""
        if os.geteuid() == 0:
            path.mkdir(mode=0o700)
            os.chown(path, 12345, -1)
        else:
            path = Path(path.anchor)  # who is not root cannot give a folder away, but has one of root's
        with pytest.raises(ConfigurationError, match=rf"belongs to another user \(uid {path.stat().st_uid}\)"):
            FileTokenCache(path)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
    def test_a_link_of_another_user_is_refused(self, path: Path, tmp_path: Path) -> None:
        """A link that another user has laid is refused, wherever it leads."""
        (tmp_path / "ours").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "ours")
        os.chown(path, 12345, -1, follow_symlinks=False)
        with pytest.raises(ConfigurationError, match="belongs to another user"):
            FileTokenCache(path)

    def test_the_default_is_the_users_own(self, tmp_path: Path) -> None:
        """Without a path it is a folder in the user's cache folder."""
        program = "from requests_cc_token.caches.file import FileTokenCache; print(FileTokenCache().path)"
        home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        process = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **home}, capture_output=True, text=True, check=True
        )
        where = Path(process.stdout.strip())
        assert where.is_relative_to(tmp_path)
        assert where.parts[-2:] == ("requests_cc_token", "tokens")

    @pytest.mark.parametrize("found", [None, "~/.cache/requests_cc_token"])
    def test_f50_a_user_without_a_home(self, monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
        """A container's user has neither ``HOME`` nor an entry in the passwd file: a named error says what to write."""

        def user_cache_dir(*_: Any, **__: Any) -> str:
            if found is None:
                raise RuntimeError("could not determine the home directory")
            return found

        monkeypatch.setattr("platformdirs.user_cache_dir", user_cache_dir)
        with pytest.raises(ConfigurationError, match=r"this user has no home.*FileTokenCache\(path\)"):
            FileTokenCache()

    @pytest.mark.parametrize("path", ["", "a\0b", b"tokens", 5], ids=ascii)
    def test_what_is_no_path_is_refused(self, path: Any) -> None:
        """As configuration, by name, before anything is made."""
        with pytest.raises(ConfigurationError, match="FileTokenCache: path must be the path of a folder"):
            FileTokenCache(path)

    def test_a_relative_path_in_a_folder_that_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error says why it leads nowhere."""
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        with pytest.raises(ConfigurationError, match="the folder of this process is gone"):
            FileTokenCache("tokens")
        assert FileTokenCache(tmp_path / "tokens").path == tmp_path / "tokens"

    def test_a_relative_path_stays_where_it_was(
        self, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A program that changes its working directory keeps its cache."""
        monkeypatch.chdir(tmp_path)
        cache = FileTokenCache("tokens", clock=clock, timeout=PATIENCE)
        cache.set(KEY, token(clock))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_a_key_is_no_path(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """What is not 64 hexadecimal digits is no key: nothing outside the folder is touched."""
        for key in ("../outside", "", "a" * 63, "A" * 64, "/etc/passwd"):
            with pytest.raises(TokenCacheError, match="64 hexadecimal digits"):
                cache.get(key)
            with pytest.raises(TokenCacheError, match="64 hexadecimal digits"):
                cache.set(key, token(clock))
        assert files(path.parent) == []


class TestItsRecords:
    """A corrupt, forged, foreign or older-format record is a miss."""

    @pytest.fixture(params=[None, FERNET_KEY], ids=["plain", "encrypted"])
    def cache(self, path: Path, clock: ManualClock, request: pytest.FixtureRequest) -> FileTokenCache:
        return FileTokenCache(path, key=request.param, timeout=PATIENCE, clock=clock)

    def test_a_missing_byte_anywhere(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A record cut at any length is a miss."""
        cache.set(KEY, token(clock))
        record = the_record(path)
        whole = record.read_bytes()
        for length in range(0, len(whole), 7):
            record.write_bytes(whole[:length])
            assert cache.get(KEY) is None
        record.write_bytes(whole)
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_another_keys_record(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A record that is copied to the place of another key is a miss there."""
        cache.set(KEY, token(clock, "T41NT-mine"))
        cache.set(OTHER_KEY, token(clock, "T41NT-other"))
        the_record(path).write_bytes(the_record(path, OTHER_KEY).read_bytes())
        assert cache.get(KEY) is None
        assert value(cache.get(OTHER_KEY)) == "T41NT-other"

    def test_a_miss_is_repaired_by_the_next_token(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A corrupt record does not stop the next lease, and the next token takes its place."""
        cache.set(KEY, token(clock))
        the_record(path).write_bytes(b"\x00\xff")
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted and lease.token is None
        lease.set(token(clock, "T41NT-next"))
        assert value(cache.get(KEY)) == "T41NT-next"

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o644])
    def test_a_file_open_to_others(self, cache: FileTokenCache, clock: ManualClock, path: Path, mode: int) -> None:
        """A record whose file others may open is a miss."""
        cache.set(KEY, token(clock))
        the_record(path).chmod(mode)
        assert cache.get(KEY) is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
    def test_a_file_of_another_user(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A record whose file belongs to another user is a miss."""
        cache.set(KEY, token(clock))
        os.chown(the_record(path), 12345, -1)
        assert cache.get(KEY) is None

    def test_a_huge_file(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A record of more than a MiB is a miss and is not read."""
        cache.set(KEY, token(clock))
        record = the_record(path)
        os.truncate(record, 1 << 40)
        assert cache.get(KEY) is None

    def test_a_pipe_in_its_place(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A named pipe instead of a record is a miss and does not hang."""
        cache.set(KEY, token(clock))
        record = the_record(path)
        record.unlink()
        os.mkfifo(record, 0o600)
        assert cache.get(KEY) is None

    def test_a_link_in_its_place(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A link instead of a record is not followed: it is a miss."""
        cache.set(KEY, token(clock))
        record = the_record(path)
        record.rename(path / "moved")
        record.symlink_to(path / "moved")
        assert cache.get(KEY) is None

    def test_foreign_files_are_left_alone(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """Files that are none of ours are neither read nor removed."""
        make_private(path / KEY)
        foreign = [path / "README", path / KEY / "notes.token", path / KEY / "-1.token", path / KEY / "1.token.bak"]
        for file in foreign:
            file.write_text("not ours")
        cache.set(KEY, token(clock))
        cache.set(KEY, token(clock, "T41NT-next"))
        assert value(cache.get(KEY)) == "T41NT-next"
        assert [file.read_text() for file in foreign] == ["not ours"] * 4


def test_a_plain_record_is_a_miss_to_who_has_a_key(path: Path, clock: ManualClock) -> None:
    """With a key, only what that key encrypted is a token; without one, nothing encrypted is."""
    plain = FileTokenCache(path, timeout=PATIENCE, clock=clock)
    encrypted = FileTokenCache(path, key=FERNET_KEY, timeout=PATIENCE, clock=clock)
    plain.set(KEY, token(clock))
    assert encrypted.get(KEY) is None
    encrypted.set(KEY, token(clock))
    assert plain.get(KEY) is None
    assert FileTokenCache(path, key=Fernet.generate_key(), timeout=PATIENCE, clock=clock).get(KEY) is None
    assert value(encrypted.get(KEY)) == "T41NT-token"


def test_an_encrypted_folder_shows_no_token(path: Path, clock: ManualClock) -> None:
    """With a key the token is in clear in no file."""
    cache = FileTokenCache(path, key=FERNET_KEY, timeout=PATIENCE, clock=clock)
    cache.set(KEY, token(clock))
    assert files(path)
    assert not any(b"T41NT" in file.read_bytes() for file in files(path))


def test_an_older_format_is_a_miss(cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
    """A record of another format is a miss."""
    cache.set(KEY, token(clock))
    record = the_record(path)
    content = json.loads(record.read_bytes())
    record.write_text(json.dumps({**content, "format": content["format"] - 1}))
    assert cache.get(KEY) is None


@settings(max_examples=150)
@given(data=st.binary(max_size=300))
def test_no_bytes_make_a_failure(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever bytes are in a record's file, reading it is a miss and no error."""
    path = tmp_path_factory.mktemp("random")
    clock = ManualClock()
    cache = FileTokenCache(path, timeout=PATIENCE, clock=clock)
    cache.set(KEY, token(clock))
    the_record(path).write_bytes(data)
    assert cache.get(KEY) is None


class TestNumbers:
    """The highest number counts, and what is below it goes."""

    def test_one_record_stays(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """After many writes there is one record, and not one half-written file."""
        for number in range(5):
            cache.set(KEY, token(clock, f"T41NT-{number}"))
        assert [file.name for file in files(path)] == ["5.token"]

    def test_a_leftover_of_a_killed_writer_goes(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """What a killed writer left half written is no token, and the next write removes it."""
        cache.set(KEY, token(clock))
        left = path / KEY / f"2.{'a' * 16}.new"
        left.write_bytes(b"half a rec")
        assert value(cache.get(KEY)) == "T41NT-token"
        cache.set(KEY, token(clock, "T41NT-next"))
        assert not left.exists()
        assert value(cache.get(KEY)) == "T41NT-next"

    def test_a_lock_is_waited_for_no_longer_than_its_lease(self, path: Path, clock: ManualClock) -> None:
        """Who waits for the lease's time goes on; what the slow holder brings later replaces nothing."""
        slow = FileTokenCache(path, lease=10.0, timeout=PATIENCE, clock=clock)
        other = FileTokenCache(path, lease=10.0, timeout=PATIENCE, clock=clock)
        held = slow.lease(KEY, lambda: False)
        assert held is not None
        looks = 0

        def let_time_pass() -> bool:
            nonlocal looks
            looks += 1
            clock.advance(6.0)
            return False

        lease = other.lease(KEY, let_time_pass)
        assert lease is not None and lease.granted
        assert looks >= 2
        lease.set(token(clock, "T41NT-newer"))
        held.set(token(clock, "T41NT-late"))
        assert value(slow.get(KEY)) == value(other.get(KEY)) == "T41NT-newer"

    def test_waiting_ends_however_many_fail(self, path: Path, clock: ManualClock) -> None:
        """Whoever has waited for half a minute fetches, whoever else does."""
        caches = [FileTokenCache(path, lease=3600.0, timeout=PATIENCE, clock=clock) for _ in range(3)]
        held = caches[0].lease(KEY, lambda: False)
        assert held is not None

        def let_time_pass() -> bool:
            clock.advance(10.0)
            return False

        leases = [cache.lease(KEY, let_time_pass) for cache in caches[1:]]
        assert [lease is not None and lease.granted for lease in leases] == [True, True]

    def test_what_expired_long_ago_is_removed(self, path: Path) -> None:
        """Writes remove the folders of keys whose tokens expired long ago, and no others."""
        clock = ManualClock(time=time.time())
        cache = FileTokenCache(path, timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock, lifetime=1000.0))
        clock.advance(KEPT_AFTER_EXPIRY)
        cache.set(OTHER_KEY, token(clock))
        assert (path / KEY).exists()
        clock.advance(2000.0)
        cache.set(OTHER_KEY, token(clock))
        assert [folder.name for folder in path.iterdir()] == [OTHER_KEY]

    def test_what_is_not_ours_is_left_and_stops_nothing(self, path: Path) -> None:
        """A folder of a key that holds a foreign file stays, with that file alone, however long ago it expired."""
        clock = ManualClock(time=time.time())
        cache = FileTokenCache(path, timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock, lifetime=1000.0))
        (path / KEY / "README").write_text("not ours")
        clock.advance(KEPT_AFTER_EXPIRY + 2000.0)
        cache.set(OTHER_KEY, token(clock))
        assert [file.name for file in files(path / KEY)] == ["README"]
        assert value(cache.get(OTHER_KEY)) == "T41NT-token"


class TestMeetings:
    """Two processes meet in one folder: what the other one does comes just before the step that it disturbs."""

    @pytest.fixture
    def other(self, path: Path, clock: ManualClock) -> FileTokenCache:
        return FileTokenCache(path, timeout=PATIENCE, clock=clock)

    def test_a_record_replaced_before_it_is_read(
        self, cache: FileTokenCache, other: FileTokenCache, clock: ManualClock
    ) -> None:
        """A record that is replaced between the list of files and the reading: the newer one is read."""
        cache.set(KEY, token(clock, "T41NT-older"))
        with just_before("open", "1.token", lambda: other.set(KEY, token(clock, "T41NT-newer"))):
            assert value(cache.get(KEY)) == "T41NT-newer"

    def test_a_record_replaced_before_each_reading(
        self, cache: FileTokenCache, other: FileTokenCache, clock: ManualClock
    ) -> None:
        """A record that is replaced again and again is a miss, not a search without end."""
        cache.set(KEY, token(clock))
        with just_before("open", ".token", lambda: other.set(KEY, token(clock)), times=_LOOKS):
            assert cache.get(KEY) is None
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_a_newer_record_before_ours_takes_its_place(
        self, cache: FileTokenCache, other: FileTokenCache, clock: ManualClock, path: Path
    ) -> None:
        """Who writes a newer record clears away the one that is just being written: that writer says nothing."""
        with just_before("replace", ".token", lambda: other.set(KEY, token(clock, "T41NT-newer"))):
            cache.set(KEY, token(clock, "T41NT-older"))
        assert value(cache.get(KEY)) == "T41NT-newer"
        assert len(files(path)) == 1

    def test_a_deletion_before_ours_takes_its_place(
        self, cache: FileTokenCache, other: FileTokenCache, clock: ManualClock
    ) -> None:
        """A token that is deleted while the holder of the lease writes it does not come back."""
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted
        with just_before("replace", ".token", lambda: other.delete(KEY)):
            lease.set(token(clock))
        assert cache.get(KEY) is None

    def test_a_token_before_the_lock_is_taken(
        self, cache: FileTokenCache, other: FileTokenCache, clock: ManualClock
    ) -> None:
        """A token that comes between the list of files and the lock is what the wait ends with."""
        with just_before("open", "1.lock", lambda: other.set(KEY, token(clock, "T41NT-newer"))):
            lease = cache.lease(KEY, lambda: False)
        assert lease is not None
        assert value(lease.token) == "T41NT-newer"
        lease.release()

    def test_a_folder_swept_by_two(self, path: Path) -> None:
        """A folder that another process sweeps away at the same time is no error."""
        clock = ManualClock(time=time.time())
        cache = FileTokenCache(path, timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock, lifetime=1000.0))
        clock.advance(KEPT_AFTER_EXPIRY + 2000.0)
        with just_before("rmdir", KEY, (path / KEY).rmdir):
            cache.set(OTHER_KEY, token(clock))
        assert [folder.name for folder in path.iterdir()] == [OTHER_KEY]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells which process holds a lock")
class TestHolders:
    """Who holds a lock, by number and start, and what becomes of that process."""

    @pytest.fixture
    def holder(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process that does nothing."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            yield process
            process.kill()

    @staticmethod
    def name_of(process: subprocess.Popen[bytes]) -> str:
        status = _process_status(process.pid)
        assert status is not None
        return f"{process.pid}-{status[1]}"

    @pytest.fixture
    def locked(self, path: Path, cache: FileTokenCache) -> Iterator[Callable[[int, str], FileLock]]:
        """Locks of the key, each with the name of its holder."""
        locks: list[FileLock] = []

        def lock(number: int, holder: str) -> FileLock:
            make_private(path / KEY)
            locks.append(FileLock(path / KEY / f"{number}.lock"))
            locks[-1].acquire()
            (path / KEY / f"{number}.{holder}.holder").touch(0o600)
            return locks[-1]

        yield lock
        for held in locks:
            held.release()

    def test_a_frozen_holder_is_passed_over(
        self, cache: FileTokenCache, holder: subprocess.Popen[bytes], locked: Callable[[int, str], FileLock]
    ) -> None:
        """The lock of a process that is stopped is left to it, and the next number taken at once."""
        locked(1, self.name_of(holder))
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        lease = cache.lease(KEY, lambda: True)
        assert lease is not None and lease.granted
        assert "<lease 2 of" in repr(lease)
        lease.release()

    def test_frozen_holders_are_passed_over_only_so_often(
        self, cache: FileTokenCache, holder: subprocess.Popen[bytes], locked: Callable[[int, str], FileLock]
    ) -> None:
        """Where more processes are stopped than one look passes over, it is waited for them."""
        for number in range(1, _MAX_PASSED + 1):
            locked(number, self.name_of(holder))
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        assert cache.lease(KEY, lambda: True) is None

    def test_a_living_holder_is_asked_rarely(
        self, cache: FileTokenCache, holder: subprocess.Popen[bytes], locked: Callable[[int, str], FileLock]
    ) -> None:
        """While the holder of the lock lives, who waits tries to take it at each eighth look only."""
        locked(1, self.name_of(holder))
        looks: list[None] = []

        def enough() -> bool:
            looks.append(None)
            return len(looks) > LOOKS_PER_ATTEMPT

        with just_before("open", "1.lock", lambda: None, times=2):
            assert cache.lease(KEY, enough) is None

    def test_a_holder_that_is_gone_is_not_waited_for(
        self, cache: FileTokenCache, holder: subprocess.Popen[bytes], locked: Callable[[int, str], FileLock], path: Path
    ) -> None:
        """A lock whose holder has ended is taken at the next look, and the name that it left goes."""
        name = self.name_of(holder)
        lock = locked(1, name)
        holder.kill()
        holder.wait()
        looks: list[None] = []

        def ended() -> bool:
            looks.append(None)
            lock.release()
            return False

        lease = cache.lease(KEY, ended)
        assert lease is not None and lease.granted
        assert len(looks) == 1
        assert not (path / KEY / f"1.{name}.holder").exists()
        lease.release()

    def test_without_proc_locks_have_no_names(
        self, cache: FileTokenCache, clock: ManualClock, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the system tells nothing of processes, a lease works without a name beside the lock."""
        monkeypatch.setattr("requests_cc_token.caches.file._PROCESSES", path / "none")
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted
        assert cache.lease(KEY, lambda: True) is None
        assert not [file for file in files(path) if file.suffix == ".holder"]
        lease.set(token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"
        again = cache.lease(KEY, lambda: True)
        assert again is not None and again.granted
        again.release()


class TestTrouble:
    """A folder that cannot be used raises, once, and is used again as soon as it can be."""

    def test_a_folder_that_vanishes(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A folder that somebody removes is made again."""
        cache.set(KEY, token(clock))
        for file in files(path):
            file.unlink()
        (path / KEY).rmdir()
        path.rmdir()
        assert cache.get(KEY) is None
        cache.set(KEY, token(clock, "T41NT-next"))
        assert value(cache.get(KEY)) == "T41NT-next"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path, clock: ManualClock) -> None:
        """Where the folder cannot be made, constructing works, using raises, and both work once it can be."""
        (tmp_path / "file").write_text("in the way")
        cache = FileTokenCache(tmp_path / "file" / "tokens", timeout=PATIENCE, clock=clock)
        for use in (lambda: cache.get(KEY), lambda: cache.set(KEY, token(clock)), lambda: cache.lease(KEY, bool)):
            with pytest.raises(TokenCacheError, match=os.strerror(errno.ENOTDIR)):
                use()
        (tmp_path / "file").unlink()
        cache.set(KEY, token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_a_full_disk(self, path: Path) -> None:
        """A disk that takes no more bytes raises; the record before stays, and nothing is left half written."""
        program = """
import resource, signal, sys
from requests_cc_token import AccessToken
from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.exceptions import TokenCacheError
from requests_cc_token.testing import ManualClock, TokenCacheContract
clock = ManualClock()
cache = FileTokenCache(sys.argv[1], timeout=30, clock=clock)
key = TokenCacheContract.key()
cache.set(key, AccessToken("first", expires_at=clock.time() + 10))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most))
lease = cache.lease(key, bool)
try:
    lease.set(AccessToken("second" * 2000, expires_at=clock.time() + 10))
except TokenCacheError as error:
    print(error)
print(cache.get(key).value)
again = cache.lease(key, lambda: True)
print(again is not None and again.granted)
# What a coverage tool writes at the end is not cut.
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
"""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.run(
            [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=True
        )
        said = process.stdout.splitlines()
        assert os.strerror(errno.EFBIG) in said[0] and "second" not in said[0]
        assert said[1:] == ["first", "True"], process.stdout + process.stderr
        assert not [file for file in files(path) if file.suffix == ".new"]

    def test_a_folder_in_the_place_of_a_record_to_be_written(
        self, cache: FileTokenCache, clock: ManualClock, path: Path
    ) -> None:
        """A token that cannot be put in its place raises, leaves nothing half written, and ends its lease."""
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted
        in_the_way = path / KEY / "1.token"
        in_the_way.mkdir()
        with pytest.raises(TokenCacheError, match=os.strerror(errno.EISDIR)):
            lease.set(token(clock))
        assert not [file for file in files(path) if file.suffix in (".new", ".holder")]
        again = cache.lease(KEY, lambda: True)
        assert again is not None and again.granted
        again.set(token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_a_folder_in_the_place_of_a_record(self, cache: FileTokenCache, clock: ManualClock, path: Path) -> None:
        """A folder instead of a record is a miss, and the next token takes its place."""
        cache.set(KEY, token(clock))
        record = the_record(path)
        record.unlink()
        record.mkdir()
        assert cache.get(KEY) is None
        cache.set(KEY, token(clock, "T41NT-next"))
        assert value(cache.get(KEY)) == "T41NT-next"


class TestForks:
    """Locks of the parent are not the child's."""

    def test_a_child_does_not_keep_its_parents_lock(self, cache: FileTokenCache, clock: ManualClock) -> None:
        """A lease that the parent gives up is free, though a child forked meanwhile still lives."""
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's lines count in no parent
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        os.close(read)
        try:
            lease.release()
            again = cache.lease(KEY, lambda: True)
            assert again is not None and again.granted
            again.release()
        finally:
            os.close(write)
            os.waitpid(child, 0)

    def test_a_child_uses_the_cache(self, cache: FileTokenCache, clock: ManualClock) -> None:
        """A forked child reads and writes; its parent sees what it wrote."""
        cache.set(KEY, token(clock))
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's lines count in no parent
            works = False
            try:
                works = value(cache.get(KEY)) == "T41NT-token"
                cache.set(OTHER_KEY, token(clock, "T41NT-child"))
            finally:
                os._exit(0 if works else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert value(cache.get(OTHER_KEY)) == "T41NT-child"


def test_threads_of_one_process_take_turns(cache: FileTokenCache, clock: ManualClock) -> None:
    """Leases exclude threads of one process too."""
    lease = cache.lease(KEY, lambda: False)
    assert lease is not None
    refused: list[object] = []
    thread = threading.Thread(target=lambda: refused.append(cache.lease(KEY, lambda: True)))
    thread.start()
    thread.join(PATIENCE)
    assert refused == [None]
    lease.release()


def test_it_is_not_pickled(cache: FileTokenCache) -> None:
    """A cache may hold a key, so it does not travel."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(cache)


def test_its_repr(path: Path) -> None:
    """Its repr says where, and whether encrypted; never the key."""
    assert repr(FileTokenCache(path)) == f"<FileTokenCache {str(path)!r}>"
    assert repr(FileTokenCache(path, key=FERNET_KEY)) == f"<FileTokenCache {str(path)!r}, encrypted>"


@pytest.mark.parametrize("missing", ["filelock", "platformdirs"])
def test_without_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Where filelock or platformdirs is missing the error says which extra to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=rf"{missing}: pip install requests_cc_token\[file\]"):
        FileTokenCache(path)
