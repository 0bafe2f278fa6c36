"""Where secrets come from: read when needed, shown to nobody."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import requests_cc_token.secret_source
from requests_cc_token import (
    AccessTokenManagement,
    ClientCredentialsClient,
    ClientSecretBasic,
    ClientSecretJwt,
    ClientSecretPost,
    ConfigurationError,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.demand import Demand
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.secret_source import LastGoodSecret, SecretSource, client_secret, fingerprint, secret_source
from requests_cc_token.tracebacks import sealed

from .scripted_server import PATIENCE, ScriptedServer, error_answer, token_answer

TAINT = "t41nted-s3cret"

#: Has a file hang; what it returns ends that with a secret.
Hang = Callable[[], Callable[[str], None]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(TAINT)
    return path


@pytest.fixture
def sources(file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, SecretSource]:
    """One source of each kind, all of the same secret."""
    monkeypatch.setenv("WORKER_SECRET", TAINT)
    given: dict[str, Any] = {
        "text": TAINT,
        "callable": lambda: TAINT,
        "file": {"file": str(file)},
        "path": {"file": file},
        "env": {"env": "WORKER_SECRET"},
        "env or file": {"env_or_file": "WORKER_SECRET"},
        "credential": {"credential": file.name},
        "command": {"command": [sys.executable, "-c", f"print({TAINT!r})"]},
    }
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    return {kind: secret_source(value, "x") for kind, value in given.items()}


def shown_below(error: BaseException) -> str:
    """The traceback with the locals of every frame but the test's own."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, below, capture_locals=True).format())


@pytest.mark.parametrize(
    "kind", ["text", "callable", "file", "path", "env", "env or file", "credential", "command"]
)
def test_a_source_gives_its_secret_and_does_not_show_it(sources: dict[str, SecretSource], kind: str) -> None:
    """The secret comes from ``read`` alone: not from repr or str, and a pickle is refused in one sentence."""
    source = sources[kind]
    assert source.read() == TAINT
    assert TAINT not in f"{source!r} {source} {source.stamp()}"
    with pytest.raises(TypeError, match="a secret is not pickled"):
        pickle.dumps(source)


def test_a_source_is_taken_as_it_is(sources: dict[str, SecretSource]) -> None:
    """What is a source already stays that object."""
    assert secret_source(sources["text"], "x") is sources["text"]


def test_sources_say_where_they_look(sources: dict[str, SecretSource], file: Path) -> None:
    """A message can name the place."""
    assert repr(sources["file"]) == f"<secret from the file {str(file)!r}>"
    assert repr(sources["env"]) == "<secret from the environment variable WORKER_SECRET>"
    either = secret_source({"env_or_file": "A"}, "x")
    assert repr(either) == "<secret from the environment variable A or the file that A_FILE names>"


def test_a_fingerprint_is_of_this_process() -> None:
    """Another one has another salt, so nobody who sees one can guess at the secret; half a character has one too."""
    program = "from requests_cc_token.secret_source import fingerprint; print(fingerprint('secret').hex())"
    others = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in "ab"}
    assert len({*others, fingerprint("secret").hex().encode() + b"\n"}) == 3
    assert fingerprint("secret") == fingerprint("secret") != fingerprint("secret\ud800")
    assert len(fingerprint("")) == 16


class PathOfBytes(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"bytes"

    def __repr__(self) -> str:
        return "path of bytes"


@pytest.mark.parametrize(
    "given",
    [
        "",
        5,
        b"bytes",
        {},
        {"file": ""},
        {"file": 5},
        {"file": "a\0b"},
        {"file": PathOfBytes()},
        {"file": b"bytes"},
        {"command": [PathOfBytes()]},
        {"env": "a\0b"},
        {"env": "a=b"},
        {"env": ""},
        {"env": None},
        {"env": Path("a")},
        {"file": "a", "env": "b"},
        {"value": TAINT},
        [TAINT],
    ],
    ids=repr,
)
def test_what_is_no_source(given: Any) -> None:
    """Anything else is refused with the option's name, and without what was given."""
    with pytest.raises(ConfigurationError, match=r"^client 'a': client_secret (is empty|must be text)") as refusal:
        secret_source(given, "client 'a': client_secret")
    assert TAINT not in str(refusal.value)


def test_a_source_must_say_how_it_reads() -> None:
    """The base class reads nothing and knows of no change."""
    with pytest.raises(NotImplementedError):
        SecretSource().read()
    assert SecretSource().stamp() is None


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b"abc\n\n", "abc\n"),
        (b"abc\r", "abc\r"),
        (b"a\r\nb\n", "a\r\nb"),
        (b" a b ", " a b "),
        ("é".encode(), "é"),
    ],
)
def test_one_line_break_at_the_end_of_a_file_does_not_count(file: Path, content: bytes, secret: str) -> None:
    """The secret is the file's content as it is, but for the line break that editors add."""
    file.write_bytes(content)
    assert secret_source({"file": file}, "x").read() == secret


def test_a_file_is_read_again(file: Path) -> None:
    """A secret that was replaced is used the next time, and its stamp tells that it was."""
    source = secret_source({"file": file}, "x")
    before = source.stamp()
    assert source.read() == TAINT
    new = file.with_name("new")
    new.write_text("rotated")
    new.replace(file)
    assert source.read() == "rotated"
    assert source.stamp() != before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text(" \n"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "blank", "not UTF-8", "gone", "a folder"],
)
def test_the_last_good_secret_is_kept(
    file: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """While a file is missing, empty or half written, the secret before is used, which is said once each time."""
    source = secret_source({"file": file}, "x")
    assert source.read() == TAINT
    new = file.with_suffix(".new")
    for _ in range(2):
        spoil(file)
        for _ in range(2):
            assert source.read() == TAINT
        assert TAINT not in repr(source)
        if file.is_dir():
            file.rmdir()
        new.write_text(TAINT)
        new.replace(file)
        assert source.read() == TAINT
    (said,) = set(caplog.messages)
    assert said.startswith(f"the secret's file {str(file)!r}: ")
    assert said.endswith("; going on with the last good one")
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"", "is empty"), (b"\xff" + TAINT.encode(), "is not UTF-8 text")],
)
def test_a_file_without_a_secret(file: Path, content: bytes | None, reason: str) -> None:
    """Where there never was a good secret, the error names file and reason and holds nothing of the content."""
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    source = secret_source({"file": file}, "x")
    with pytest.raises(TokenRequestError) as failure:
        source.read()
    assert str(failure.value) == f"the secret's file {str(file)!r}: {reason}"
    assert (source.stamp() is None) == (content is None)
    assert TAINT not in shown_below(failure.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
class TestFileThatHangs:
    """A pipe that nobody writes to stands for a file system whose server is gone: opening it takes for ever."""

    #: Seconds that a look may take while it hangs; else as many as a busy machine takes.
    WAIT = 0.05

    @pytest.fixture
    def hang(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> Hang:
        """Have the file hang until the answer is called: who waits for it has the secret, and a file is there again."""
        monkeypatch.setattr(LastGoodSecret, "_look_time", PATIENCE)

        def hang() -> Callable[[str], None]:
            file.unlink()
            os.mkfifo(file)
            monkeypatch.setattr(LastGoodSecret, "_look_time", self.WAIT)

            def answer(secret: str) -> None:
                monkeypatch.setattr(LastGoodSecret, "_look_time", PATIENCE)
                pipe = os.open(file, os.O_WRONLY)
                new = file.with_suffix(".new")
                new.write_text(secret)
                new.replace(file)
                os.write(pipe, secret.encode())
                os.close(pipe)
                until = time.monotonic() + PATIENCE
                while requests_cc_token.secret_source._looks._under_way:
                    assert time.monotonic() < until, "a look hangs"

            return answer

        return hang

    def test_the_last_good_secret_is_used(self, file: Path, hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
        """By all of its sources; one look hangs and not one for each, and what it brings at last is used."""
        sources = [secret_source({"file": file}, "x") for _ in range(5)]
        assert {source.read() for source in sources} == {TAINT}
        answer = hang()
        opened: list[Path] = []
        text_of = requests_cc_token.secret_source._text_of

        def opening(path: Path) -> tuple[str, str]:
            opened.append(path)
            return text_of(path)

        monkeypatch.setattr(requests_cc_token.secret_source, "_text_of", opening)
        assert {source.read() for source in sources for _ in range(20)} == {TAINT}
        answer("rotated")
        assert opened == [file]
        assert {source.read() for source in sources} == {"rotated"}

    def test_without_a_good_one_there_is_an_error(self, file: Path, hang: Hang) -> None:
        """It names the file, and what was waited for; once there is a secret, it is read."""
        answer = hang()
        source = secret_source({"file": file}, "x")
        for _ in range(2):
            with pytest.raises(TokenRequestError) as failure:
                source.read()
            assert str(failure.value) == (
                f"the secret from the file {str(file)!r}: it is still being read after {self.WAIT} s"
            )
        answer(TAINT)
        assert source.read() == TAINT

    def test_t13_calls_go_on_with_the_last_good_one(
        self, token_service: TokenService, file: Path, hang: Hang, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token is requested with it though file and stamp hang; a client that never had one is told its file."""
        with AccessTokenManagement() as management:
            for name in ("worker", "new"):
                management.add_client(
                    name,
                    token_endpoint=token_service.token_endpoint,
                    client_id=name,
                    client_secret={"file": file},
                )
                token_service.add_client(name, TAINT)
            first = management.service.get_access_token("worker")
            answer = hang()
            stat = os.stat
            over = threading.Event()

            def hanging(path: Any, *arguments: Any, **options: Any) -> Any:
                if os.fspath(path) == str(file):
                    over.wait(PATIENCE)
                return stat(path, *arguments, **options)

            monkeypatch.setattr("requests_cc_token.service.NEXT_LOOK", self.WAIT)
            monkeypatch.setattr(os, "stat", hanging)
            management.service.delete_access_token("worker")
            assert management.service.get_access_token("worker").value != first.value
            with pytest.raises(TokenRequestError) as failure:
                management.service.get_access_token("new")
            said = f"the secret from the file {str(file)!r}: it is still being read after {self.WAIT} s"
            assert str(failure.value) == f"token client 'new': {said}"
            with pytest.raises(TokenRequestError):
                management.service.get_access_token("new")
            over.set()
            answer(TAINT)
            until = time.monotonic() + PATIENCE
            while management.service.health("new")["seconds_to_expiry"] is None:
                assert time.monotonic() < until
                with contextlib.suppress(TokenRequestError):
                    management.service.get_access_token("new")


def test_a_file_that_is_no_secret(file: Path) -> None:
    """No more is read than a secret has; the last good one is used meanwhile."""
    source = secret_source({"file": file}, "x")
    assert source.read() == TAINT
    with file.open("wb") as opened:
        opened.truncate(100_000)
    assert source.read() == TAINT
    with pytest.raises(TokenRequestError, match="has more than 65536 bytes"):
        secret_source({"file": file}, "x").read()
    file.write_text("s" * 65536)
    assert source.read() == "s" * 65536


def test_an_environment_variable_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new value is used at once; a missing or empty one is an error that names the variable."""
    source = secret_source({"env": "WORKER_SECRET"}, "x")
    monkeypatch.setenv("WORKER_SECRET", "one")
    before = source.stamp()
    assert source.read() == "one"
    monkeypatch.setenv("WORKER_SECRET", "two")
    assert source.read() == "two"
    assert source.stamp() != before
    for change in (lambda: monkeypatch.setenv("WORKER_SECRET", ""), lambda: os.environ.pop("WORKER_SECRET")):
        change()
        with pytest.raises(TokenRequestError, match="environment variable WORKER_SECRET is not set or empty"):
            source.read()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the environment is text")
def test_an_environment_variable_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that UTF-8 has not are told, and not shown."""
    monkeypatch.setitem(os.environb, b"WORKER_SECRET", b"\xff" + TAINT.encode())
    with pytest.raises(TokenRequestError) as failure:
        sealed(secret_source({"env": "WORKER_SECRET"}, "x").read)()
    assert str(failure.value) == "the secret's environment variable WORKER_SECRET is not UTF-8 text"
    assert TAINT not in shown_below(failure.value)


def test_a_callable_is_asked_each_time() -> None:
    """Its answer of this moment is the secret."""
    source = secret_source(iter(["one", "two"]).__next__, "x")
    assert [source.read(), source.read()] == ["one", "two"]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: None, "returned no text"),
        (lambda: "", "returned no text"),
        (TAINT.encode, "returned no text"),
        ({TAINT[:3]: TAINT}.popitem, "returned no text"),
        (lambda: os.environ[TAINT], "raised KeyError"),
        (lambda: TAINT + "\udcff", "returned what UTF-8 cannot carry"),
    ],
    ids=["None", "empty", "bytes", "tuple", "raises", "surrogate"],
)
def test_a_callable_that_fails_is_told_by_kind_alone(function: Callable[[], str], reason: str) -> None:
    """Neither the message nor the frames of somebody's vault client are shown: they may hold the secret."""
    with pytest.raises(TokenRequestError) as failure:
        sealed(secret_source(function, "x").read)()
    assert str(failure.value) == f"the callable for the secret {reason}"
    assert TAINT not in shown_below(failure.value)


def test_a_rotated_file_is_used_at_the_next_token_request(token_service: TokenService, file: Path) -> None:
    """No restart: the token request after the rotation carries the new secret."""
    token_service.add_client("rotating", TAINT)
    with AccessTokenManagement() as management:
        management.add_client(
            "rotating",
            token_endpoint=token_service.token_endpoint,
            client_id="rotating",
            client_secret={"file": file},
        )
        first = management.service.get_access_token()
        token_service.add_client("rotating", "new")
        file.write_text("new\n")
        management.service.delete_access_token()
        assert management.service.get_access_token().value != first.value


@pytest.mark.parametrize(("value", "secret"), [("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), (" s ", " s ")])
def test_f28_a_line_break_at_the_end_of_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, secret: str
) -> None:
    """F28: one is dropped, as it is from a file; nothing else is."""
    monkeypatch.setenv("WORKER_SECRET", value)
    (tmp_path / "secret").write_bytes(value.encode())
    assert secret_source({"env": "WORKER_SECRET"}, "x").read() == secret
    assert secret_source({"file": tmp_path / "secret"}, "x").read() == secret


def test_a_secret_that_no_request_can_carry() -> None:
    """Half of a character is refused when it is given, not in the middle of a fetch."""
    with pytest.raises(ConfigurationError, match="x must be text that UTF-8 can carry"):
        secret_source("s\ud800", "x")
    for odd in ({"file": "s\ud800"}, {"env": "s\ud800"}, {"env": "a=b"}, {"file": "a\0"}):
        with pytest.raises(ConfigurationError, match="x must be text, a callable"):
            secret_source(odd, "x")


class TestCredential:
    def test_the_services_own_come_before_the_containers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``$CREDENTIALS_DIRECTORY`` first, then ``/run/secrets``; looked for again at each use."""
        ours, containers = tmp_path / "ours", tmp_path / "containers"
        ours.mkdir()
        containers.mkdir()
        monkeypatch.setattr("requests_cc_token.secret_source.CONTAINER_SECRETS", containers)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(ours))
        source = secret_source({"credential": "m2m"}, "x")
        with pytest.raises(TokenRequestError, match=r"containers.m2m'?: No such file") as error:
            source.read()
        assert not error.value.transient
        expected = f"; nor is there {str(ours / 'm2m')!r}: LoadCredential= of the unit has to name it"
        assert str(error.value).endswith(expected)
        (containers / "m2m").write_text("of the container\n")
        assert source.read() == "of the container"
        before = source.stamp()
        (ours / "m2m").write_text("of the service")
        assert source.read() == "of the service"
        assert source.stamp() != before
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        assert source.read() == "of the container"

    def test_the_message_says_where_systemd_would_put_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who tries a service's program by hand learns what is missing; of a file that is there its fault is said."""
        monkeypatch.setattr("requests_cc_token.secret_source.CONTAINER_SECRETS", tmp_path / "containers")
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        source = secret_source({"credential": "m2m"}, "x")
        with pytest.raises(TokenRequestError) as error:
            source.read()
        assert str(error.value) == (
            f"the credential 'm2m': {str(tmp_path / 'containers' / 'm2m')!r}: No such file or directory; "
            "CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit that has LoadCredential="
        )
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "m2m").write_text("")
        with pytest.raises(TokenRequestError) as error:
            source.read()
        assert str(error.value) == f"the credential 'm2m': {str(tmp_path / 'm2m')!r}: is empty"

    def test_a_name_that_is_too_long_for_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is told as any other file that is not there; so is a folder that may not be looked into."""
        monkeypatch.setattr("requests_cc_token.secret_source.CONTAINER_SECRETS", tmp_path)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        source = secret_source({"credential": "m" * 300}, "x")
        with pytest.raises(TokenRequestError, match=r"m{300}': File name too long"):
            source.read()
        assert source.stamp() is None

    def test_the_same_name_is_the_same_source(self) -> None:
        """Two registrations that name one credential share its token; another name, or a file, is another source."""
        one, same, other = (secret_source({"credential": name}, "x") for name in ("a", "a", "b"))
        assert one.identity == same.identity != other.identity
        assert secret_source({"file": "a"}, "x").identity != one.identity
        assert "the credential 'a'" in repr(one)


class TestEnvironmentOrFile:
    @pytest.fixture
    def source(self, monkeypatch: pytest.MonkeyPatch) -> SecretSource:
        monkeypatch.delenv("M2M_SECRET", raising=False)
        monkeypatch.delenv("M2M_SECRET_FILE", raising=False)
        return secret_source({"env_or_file": "M2M_SECRET"}, "x")

    def test_its_advice_is_that_of_what_is_read(self, source: SecretSource, monkeypatch: pytest.MonkeyPatch) -> None:
        """None while neither is set, which another process may have seen otherwise."""
        assert source.advice is None
        monkeypatch.setenv("M2M_SECRET", "from the variable")
        assert source.advice == "a new value of M2M_SECRET counts after a restart only"

    def test_either_will_do(self, source: SecretSource, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And each is read again at each use."""
        monkeypatch.setenv("M2M_SECRET", "from the variable")
        assert source.read() == "from the variable"
        before = source.stamp()
        monkeypatch.delenv("M2M_SECRET")
        monkeypatch.setenv("M2M_SECRET_FILE", str(file))
        assert source.read() == TAINT
        assert source.stamp() != before
        file.write_text("rotated\n")
        assert source.read() == "rotated"
        file.unlink()
        assert source.read() == "rotated", "the last good one, while the file is replaced"

    def test_the_same_name_is_the_same_source(self) -> None:
        """Whichever of the two is set; another name is another source."""
        one, same, other = (secret_source({"env_or_file": name}, "x") for name in ("A", "A", "B"))
        assert one.identity == same.identity != other.identity

    def test_none_or_both_is_an_error_that_says_so(
        self, source: SecretSource, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither is guessed at, and the values stay out of the message."""
        with pytest.raises(TokenRequestError, match="one must be set, and none is") as error:
            source.read()
        assert not error.value.transient
        assert source.stamp() is None
        monkeypatch.setenv("M2M_SECRET", TAINT)
        monkeypatch.setenv("M2M_SECRET_FILE", str(file))
        with pytest.raises(TokenRequestError, match="M2M_SECRET and M2M_SECRET_FILE one must be set, and both are"):
            source.read()


class TestCommand:
    def command(self, program: str) -> SecretSource:
        return secret_source({"command": [sys.executable, "-c", program]}, "x")

    def test_it_is_run_at_each_use(self, file: Path) -> None:
        """Without a shell; one line break at the end does not count, and a rotated secret is used."""
        source = secret_source({"command": ["cat", str(file)]}, "x")
        assert source.read() == TAINT
        file.write_text("$(rotated) \n")
        assert source.read() == "$(rotated) "
        file.unlink()
        assert source.read() == "$(rotated) ", "the last one that it printed, while it fails"

    @pytest.mark.parametrize(
        ("program", "said"),
        [
            (f"print({TAINT!r}); raise SystemExit(3)", "ended with exit code 3; run it by hand"),
            (f"import sys; print({TAINT!r}, file=sys.stderr)", "printed nothing"),
            ("print()", "printed nothing"),
            ("import sys; sys.stdout.buffer.write(bytes([255]))", "not UTF-8"),
            (f"print({TAINT!r} * 10_000)", "printed more than 65536 bytes"),
        ],
    )
    def test_one_that_fails_is_told(self, program: str, said: str) -> None:
        """With what it ended with, and nothing of what it printed; it may well work a moment later."""
        source = self.command(program)
        with pytest.raises(TokenRequestError, match=said) as error:
            source.read()
        assert error.value.transient
        assert TAINT not in f"{error.value}"
        assert TAINT not in repr(source), "nor are the arguments shown"

    def test_one_that_hangs_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After ten seconds, here sooner: a password manager may wait for a finger on a key."""
        monkeypatch.setattr("requests_cc_token.secret_source.COMMAND_TIME", 0.05)
        with pytest.raises(TokenRequestError, match="took longer than 0 s"):
            self.command("import time; time.sleep(60)").read()

    def test_one_that_prints_without_end_is_ended(self) -> None:
        """Before it has printed much more than a secret may have."""
        source = self.command("import os\nwhile True: os.write(1, b'x' * 65536)")
        tracemalloc.start()
        try:
            with pytest.raises(TokenRequestError, match="printed more than 65536 bytes"):
                source.read()
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
        finally:
            tracemalloc.stop()

    def test_one_that_prints_its_secret_and_stays_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it printed does not count: it may still say that it failed."""
        monkeypatch.setattr("requests_cc_token.secret_source.COMMAND_TIME", 0.5)
        with pytest.raises(TokenRequestError, match="took longer than 0 s"):
            self.command(f"import os, time; os.write(1, {TAINT.encode()!r}); os.close(1); time.sleep(60)").read()

    def test_as_much_as_a_secret_may_have(self) -> None:
        """Is taken, and whether it ended well counts for it too."""
        assert self.command("print(end='s' * 65536)").read() == "s" * 65536
        with pytest.raises(TokenRequestError, match="exit code 3"):
            self.command("print(end='s' * 65536, flush=True); raise SystemExit(3)").read()

    def test_it_reads_and_says_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Neither what is typed into the worker, nor on its standard error."""
        reading, writing = os.pipe()
        stdin = os.dup(0)
        try:
            os.write(writing, b"typed")
            os.dup2(reading, 0)
            program = f"import sys; print({TAINT!r}, file=sys.stderr); print(len(sys.stdin.read()))"
            assert self.command(program).read() == "0"
        finally:
            os.dup2(stdin, 0)
            for end in (stdin, reading, writing):
                os.close(end)
        assert capfd.readouterr() == ("", "")

    def test_one_that_is_not_there(self) -> None:
        """The program's name is said, and why it cannot be started."""
        with pytest.raises(TokenRequestError, match="'no-such-program' cannot be started: No such file"):
            secret_source({"command": ["no-such-program", TAINT]}, "x").read()

    def test_the_same_command_is_the_same_source(self) -> None:
        """By all of its arguments, texts or paths."""
        one, same, other = (secret_source({"command": ["op", "read", name]}, "x") for name in ("a", "a", "b"))
        assert one.identity == same.identity != other.identity
        path = secret_source({"command": [Path("op"), "read", Path("a")]}, "x")
        assert (path.identity, repr(path)) == (one.identity, "<secret from the command 'op'>")

    def test_a_path_is_run(self, file: Path) -> None:
        """As its text is, and so is one among the arguments."""
        assert secret_source({"command": (Path("cat"), file)}, "x").read() == TAINT


@pytest.mark.parametrize(
    "given",
    [
        {"credential": "../a"},
        {"credential": ""},
        {"credential": 1},
        {"env_or_file": "A=B"},
        {"env_or_file": ["A"]},
        {"command": "op read"},
        {"command": []},
        {"command": ["op", 1]},
        {"command": ["op", "\0"]},
        {"vault": "a"},
        {"credential": "a", "env": "b"},
    ],
)
def test_what_names_no_source_is_refused(given: Any) -> None:
    """Where it is configured, with what there is to choose from."""
    with pytest.raises(ConfigurationError, match=r'"credential": name\} or \{"command"'):
        secret_source(given, "x")


class TestSeveral:
    """A list of secrets, newest first."""

    OLD, NEW, THIRD = ("T41NT-" + name * 16 for name in ("old", "new", "third"))

    def test_the_newest_is_used_until_it_is_refused(self) -> None:
        """Then the next one, which stays in use until it is refused in turn; after the last the first again."""
        source = client_secret([self.NEW, self.OLD, self.THIRD], "x")
        for secret in (self.NEW, self.OLD, self.THIRD, self.NEW):
            assert source.read() == source.read() == secret
            assert source.pass_over(fingerprint(secret))
        assert source.read() == self.OLD
        assert source.pass_over(fingerprint(self.NEW)), "another fetch has passed over it already"
        assert source.read() == self.OLD

    def test_there_may_be_no_other(self) -> None:
        """A single secret, and a list of equal ones, have nothing else to try."""
        for given in (self.NEW, [self.NEW], [self.NEW, self.NEW]):
            source = client_secret(given, "x")
            assert not source.pass_over(fingerprint(self.NEW))
            assert source.read() == self.NEW

    def test_one_that_cannot_be_read_is_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new one may be announced before it is there; where none is, the first one's reason is told."""
        source = client_secret([{"file": tmp_path / "new"}, {"env": "OLD"}], "x")
        before = source.stamp()
        with pytest.raises(TokenRequestError, match=r"the secret's file '.*new': No such file"):
            source.read()
        with pytest.raises(TokenRequestError, match="No such file"):
            source.proof()
        monkeypatch.setenv("OLD", "old")
        assert source.read() == "old"
        assert not source.pass_over(fingerprint("old"))
        (tmp_path / "new").write_text("new")
        assert source.read() == "new"
        assert source.stamp() != before
        assert repr(source) == f"<secret from the file {str(tmp_path / 'new')!r} or the environment variable OLD>"

    def test_who_has_one_of_them_has_not_the_others(self) -> None:
        """Tokens are shared with those who have all of them: which one brought a token is not known before."""

        def keys(given: Any) -> tuple[str, str]:
            options: Any = {"token_endpoint": "https://a.test/", "client_id": "m", "client_secret": given}
            demand = Demand.of(ClientCredentialsClient("a", **options))
            return demand.cache_key, demand.stored_key()

        made = [keys(given) for given in ([self.NEW, self.OLD], self.NEW, self.OLD, [self.NEW], [self.NEW, self.THIRD])]
        assert len({stored for _, stored in made}) == len({key for key, _ in made}) == 5
        assert keys([self.NEW, self.OLD]) == made[0]
        assert keys([self.OLD, self.NEW])[1] == made[0][1]

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ([], "x is an empty list"),
            ([5], "x must be text, a callable"),
            ([["a"]], "x must be text, a callable"),
            ([""], "x is empty"),
        ],
        ids=str,
    )
    def test_lists_that_are_none(self, given: Any, sentence: str) -> None:
        """Are refused as one would be."""
        with pytest.raises(ConfigurationError, match=sentence):
            client_secret(given, "x")

    @pytest.mark.parametrize("auth", [ClientSecretBasic(), ClientSecretPost(), ClientSecretJwt()], ids=repr)
    def test_the_next_one_is_tried_once(self, server: ScriptedServer, auth: Any) -> None:
        """After invalid_client, in the same fetch; the one that works is the first of the next fetch."""
        server.script += [error_answer(401, "invalid_client"), token_answer("T41NT-a"), token_answer("T41NT-b")]
        with AccessTokenManagement() as management:
            options: Any = {"client_id": "m", "client_secret": [self.NEW, self.OLD, self.THIRD], "auth": auth}
            management.add_client("a", token_endpoint=server.token_endpoint, **options)
            assert management.service.get_access_token().value == "T41NT-a"
            management.service.delete_access_token()
            assert management.service.get_access_token().value == "T41NT-b"
        first, second, third = server.requests
        proofs = [(r.headers.get("authorization"), r.form.get("client_secret")) for r in (first, second, third)]
        if not isinstance(auth, ClientSecretJwt):
            assert proofs[0] != proofs[1] == proofs[2]

    def test_a_rotated_file_goes_before_the_next_one(self, server: ScriptedServer, tmp_path: Path) -> None:
        """What was replaced meanwhile is the one retry (T13); the older secret is not sent."""
        file = tmp_path / "new"
        file.write_text("T41NT-stale")

        def refuse(connection: Any) -> bool:
            file.write_text(self.NEW)
            return error_answer(401, "invalid_client")(connection)

        server.script += [refuse, token_answer("T41NT-a")]
        with AccessTokenManagement() as management:
            options: Any = {"client_id": "m", "client_secret": [{"file": file}, self.OLD], "auth": "client_secret_post"}
            management.add_client("a", token_endpoint=server.token_endpoint, **options)
            management.service.get_access_token()
        assert [request.form["client_secret"] for request in server.requests] == [["T41NT-stale"], [self.NEW]]

    @pytest.mark.parametrize(
        ("status", "error", "requests"),
        [
            (401, "invalid_client", 2),
            (400, "invalid_client", 2),
            (401, "unauthorized_client", 2),
            (400, "invalid_scope", 1),
            (400, "invalid_grant", 1),
            (401, "invalid_dpop_proof", 1),
        ],
    )
    def test_no_more_than_one(self, server: ScriptedServer, status: int, error: str, requests: int) -> None:
        """However many there are, and only where the refusal is of the secret."""
        server.respond = lambda request: error_answer(status, error)
        with AccessTokenManagement() as management:
            secrets: Any = [self.NEW, self.OLD, self.THIRD]
            management.add_client("a", token_endpoint=server.token_endpoint, client_id="m", client_secret=secrets)
            for _ in range(2):
                with pytest.raises(TokenEndpointError, match=error):
                    management.service.get_access_token()
        assert len(server.requests) == requests

    def test_from_a_file(self, token_service: TokenService, tmp_path: Path) -> None:
        """An array of TOML; relative files count from it."""
        token_service.add_client("m2m", self.OLD)
        (tmp_path / "new").write_text(self.NEW)
        (tmp_path / "old").write_text(self.OLD)
        (tmp_path / "worker.toml").write_text(
            f"""
            [clients.a]
            token_endpoint = "{token_service.token_endpoint}"
            client_id = "m2m"
            client_secret = [{{ file = "new" }}, {{ file = "old" }}]
            """
        )
        with AccessTokenManagement.from_config(tmp_path / "worker.toml") as management:
            management.service.get_access_token()
        assert len(token_service.requests) == 2
