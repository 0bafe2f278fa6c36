"""Where a secret comes from: a string, a callable, a file, an environment variable, a machine's credential, a command.

All but strings are asked at each token request, so a rotated secret is used without a restart. A client may have
several secrets, of which the token service takes one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Union

from .bounded_reads import NEXT_LOOK, Looks
from .events import logger
from .exceptions import ConfigurationError, TokenRequestError
from .keyword_arguments import is_encodable
from .watched_files import file_stamp, is_path

if TYPE_CHECKING:
    from typing import TypeGuard

#: Salts the fingerprints of secrets; new in each process.
_FINGERPRINT_KEY = os.urandom(32)

#: The cost of a slow hash (RFC 7914): 16 MiB and some 40 ms, once for each secret in a process that shares a store.
SCRYPT_COST = 2**14
#: Where Docker and Podman put secrets.
CONTAINER_SECRETS = Path("/run/secrets")
#: Bytes of a secret that a file holds or a command prints.
MAX_SECRET = 64 * 1024
#: Seconds for which a command may run.
COMMAND_TIME = 10.0
#: Slow hashes that are kept at most: those of a program with thousands of tenants.
MAX_SLOW_HASHES = 10_000
_slow_hashes: dict[tuple[bytes, str], bytes] = {}

#: The looks that are being taken at places that may hang, by the identity of the source: one for all its clients.
_looks = Looks()


class SecretSource:
    """A secret that is read when it is needed, and never shown."""

    #: What the source is, for messages.
    description: str = "a secret"

    @property
    def advice(self) -> str | None:
        """What else to do where the token service refuses the secret."""
        return None

    @property
    def identity(self) -> str:
        """What tells this source from those that may give something else, within this process; never the secret.

        Its own by default: no other source is taken for this one.
        """
        return own_mark(self)

    def read(self) -> str:
        """The secret as it is now. Raises ``TokenRequestError`` where it cannot be read."""
        raise NotImplementedError

    def proof(self) -> str:
        """What another process has to know to share the tokens that this secret brings: the secret itself, by default.

        Raises what ``read`` raises.
        """
        return self.read()

    def pass_over(self, refused: bytes) -> bool:
        """Whether there is another secret to be read next, after the one of this fingerprint was refused."""
        return False

    def stamp(self) -> Hashable:
        """Something that differs once the source is known to have changed; costs no more than a stat."""
        return None

    def __repr__(self) -> str:
        return f"<secret from {self.description}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled; configure the token client on the other side")


def fingerprint(secret: str) -> bytes:
    """A salted hash by which two reads of a secret are compared; within this process only."""
    data = secret.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, key=_FINGERPRINT_KEY, digest_size=16).digest()


def slow_hash(secret: str, salt: str) -> bytes:
    """A hash for a store that others can read: each guess at the secret costs them one such hash (RFC 7914).

    Kept, so that a process pays once for a secret.
    """
    place = fingerprint(secret), salt
    known = _slow_hashes.get(place)
    if known is None:
        data = secret.encode("utf-8", "surrogatepass")
        known = hashlib.scrypt(data, salt=salt.encode(), n=SCRYPT_COST, r=8, p=1, dklen=32)
        if len(_slow_hashes) >= MAX_SLOW_HASHES:
            _slow_hashes.clear()
        _slow_hashes[place] = known
    return known


def own_mark(owner: object) -> str:
    """A mark that no other object has, in this process or another, for as long as the object lives."""
    mark: str = owner.__dict__.setdefault("_own_mark", secrets.token_hex(16))
    return mark


_MAIN_MODULES = frozenset({"__main__", "__mp_main__"})


def importable_name(function: object) -> str | None:
    """The name by which other processes of the program have the same function, or None for one that has state."""
    if not isinstance(function, FunctionType) or function.__closure__:
        return None
    module, name = function.__module__, function.__qualname__
    # Each program has another main module, and a worker of multiprocessing has it by another name.
    found: Any = None if module in _MAIN_MODULES else sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    # Functions that are made in a loop, by their defaults say, have one name, by which no process finds all of them.
    return f"{module}:{name}" if found is function else None


#: What one secret may be given as.
SecretLike = Union[str, Callable[[], str], Mapping[str, Any], SecretSource]
#: What ``client_secret`` may be given as: one, or several, newest first.
SecretsLike = Union[SecretLike, Sequence[SecretLike]]


class StaticSecret(SecretSource):
    """A secret given as a string."""

    description = "plain text"

    def __init__(self, value: str) -> None:
        self._value = value

    def read(self) -> str:
        """The string."""
        return self._value

    @property
    def identity(self) -> str:
        """A salted hash of the value, worthless outside this process."""
        return fingerprint(self._value).hex()


class CallableSecret(SecretSource):
    """A secret that a function returns, asked at each token request."""

    description = "a callable"

    def __init__(self, function: Callable[[], str]) -> None:
        self._function = function

    def read(self) -> str:
        """What the function returns now."""
        try:
            value: object = self._function()
        except Exception as error:
            # Only the type: the text of somebody's vault client may hold the secret.
            raise TokenRequestError(f"the callable for the secret raised {type(error).__name__}") from None
        if not isinstance(value, str) or not value:
            raise TokenRequestError("the callable for the secret returned no text")
        if not is_encodable(value):
            raise TokenRequestError("the callable for the secret returned what UTF-8 cannot carry")
        return value


class LastGoodSecret(SecretSource, ABC):
    """A secret from a place that may be without one for a moment, as halfway through a rotation, or may hang.

    The last good one is used meanwhile, and one warning says so.
    """

    #: Whether the place may have a secret a moment later, when nothing has told that it changed.
    _may_pass: ClassVar[bool]
    #: Seconds that a look at the place may take. Less than a fetch may, so that the fetch can go on after it.
    _look_time: float = NEXT_LOOK
    _last_good: str | None = None
    #: Why it is used, as far as that was logged.
    _complaint: str | None = None

    @abstractmethod
    def _look(self) -> tuple[str, str]:
        """The secret that is there, or blanks and the reason why there is none."""

    def read(self) -> str:
        """The secret that is there now, else the last good one."""
        try:
            text, reason = _looks.take(self.identity, self._look, within=self._look_time)
        except TimeoutError as error:
            text, reason = "", f"the secret from {self.description}: {error.strerror}"
        if text.strip():
            self._last_good = text
            self._complaint = None
        elif self._last_good is None:
            raise TokenRequestError(reason, transient=self._may_pass)
        elif self._complaint != reason:
            self._complaint = reason
            logger.warning("%s; going on with the last good one", reason)
        return self._last_good


class FileSecret(LastGoodSecret):
    """A secret in a file, read again at each use; one line break at its end does not count."""

    # What is not there now will not be in a second either; once it is, the hold-off ends.
    _may_pass = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._given = Path(path)
        self.description = f"the file {str(self._given)!r}"

    def path(self) -> Path:
        """Where the file is."""
        return self._given

    @property
    def identity(self) -> str:
        """The path: clients that name the same file have the same secret."""
        return f"file {self._given}"

    def _look(self) -> tuple[str, str]:
        path = self.path()
        text, reason = _text_of(path)
        return text, f"the secret's file {str(path)!r}: {reason}"

    def stamp(self) -> Hashable:
        """The stamp of the file."""
        return file_stamp(self.path())


class CredentialSecret(FileSecret):
    """A secret that the machine hands to the service, by its name.

    A file of that name in ``$CREDENTIALS_DIRECTORY``, where systemd puts what ``LoadCredential=`` names; else in
    ``/run/secrets``, where Docker and Podman do.
    """

    def __init__(self, name: str) -> None:
        super().__init__(Path(name))
        self.description = f"the credential {name!r}"

    def path(self) -> Path:
        """Where the credential is, or where it was looked for last."""
        ours = self._of_systemd()
        # Path.exists() raises where the system will not look: for a name that is too long, or in a closed folder.
        return ours if ours is not None and os.path.exists(ours) else CONTAINER_SECRETS / self._given  # noqa: PTH110

    def _of_systemd(self) -> Path | None:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        return Path(credentials, self._given) if credentials else None

    def _look(self) -> tuple[str, str]:
        path, ours = self.path(), self._of_systemd()
        text, reason = _text_of(path)
        if path == ours:
            where = ""
        elif ours is None:
            where = "; CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit that has LoadCredential="
        else:
            where = f"; nor is there {str(ours)!r}: LoadCredential= of the unit has to name it"
        return text, f"the credential {str(self._given)!r}: {str(path)!r}: {reason}{where}"

    @property
    def identity(self) -> str:
        """The credential's name."""
        return f"credential {self._given}"


class EnvironmentSecret(SecretSource):
    """A secret in an environment variable, read at each use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.description = f"the environment variable {self._name}"

    @property
    def advice(self) -> str | None:
        """A process keeps the environment that it was started with."""
        return f"a new value of {self._name} counts after a restart only"

    @property
    def identity(self) -> str:
        """The variable's name."""
        return f"env {self._name}"

    def read(self) -> str:
        """The variable's value now; one line break at its end does not count."""
        value = _without_line_break(os.environ.get(self._name, ""))
        if not value:
            raise TokenRequestError(
                f"the secret's environment variable {self._name} is not set or empty", transient=False
            )
        if not is_encodable(value):
            raise TokenRequestError(
                f"the secret's environment variable {self._name} is not UTF-8 text", transient=False
            )
        return value

    def stamp(self) -> Hashable:
        """A salted hash of the value, worthless outside this process."""
        return hash(os.environ.get(self._name))


class EnvironmentOrFileSecret(SecretSource):
    """A secret in an environment variable ``NAME``, or in the file that ``NAME_FILE`` names.

    The convention of many container images. One of the two must be set; both would leave open which one holds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: dict[str, FileSecret] = {}
        self.description = f"the environment variable {name} or the file that {name}_FILE names"

    @property
    def identity(self) -> str:
        """The variable's name."""
        return f"env_or_file {self._name}"

    def read(self) -> str:
        """The secret as it is now."""
        source = self._source()
        if source is None:
            raise TokenRequestError(
                f"of the secret's environment variables {self._name} and {self._name}_FILE one must be set, "
                f"and {'both are' if self._path() else 'none is'}",
                transient=False,
            )
        return source.read()

    @property
    def advice(self) -> str | None:
        """That of what is read."""
        source = self._source()
        return None if source is None else source.advice

    def stamp(self) -> Hashable:
        """The stamp of what is read."""
        source = self._source()
        return None if source is None else (source.identity, source.stamp())

    def _path(self) -> str | None:
        return os.environ.get(f"{self._name}_FILE")

    def _source(self) -> SecretSource | None:
        path = self._path()
        if bool(path) == bool(os.environ.get(self._name)):
            return None
        if not path:
            return EnvironmentSecret(self._name)
        return self._files.setdefault(path, FileSecret(path))


class CommandSecret(LastGoodSecret):
    """A secret that a command prints, such as a password manager's; one line break at its end does not count.

    Run at each token request, without a shell, for at most 10 seconds. What it prints is never shown, on standard
    error neither.
    """

    _may_pass = True
    # Beside what the command takes: its own file may be where a file system hangs.
    _look_time = COMMAND_TIME + NEXT_LOOK

    def __init__(self, command: Sequence[str | os.PathLike[str]]) -> None:
        self._command = tuple(os.fspath(each) for each in command)
        # The arguments may say more than a log should hold.
        self.description = f"the command {self._command[0]!r}"

    @property
    def identity(self) -> str:
        """A salted hash of the command, worthless outside this process."""
        return fingerprint("\0".join(self._command)).hex()

    def _look(self) -> tuple[str, str]:
        reason = "printed nothing"
        text = ""
        try:
            code, printed = _run(self._command, time.monotonic() + COMMAND_TIME)
        except subprocess.TimeoutExpired:
            reason = f"took longer than {COMMAND_TIME:.0f} s"
        except OSError as error:
            reason = f"cannot be started: {error.strerror}"
        else:
            if len(printed) > MAX_SECRET:
                reason = f"printed more than {MAX_SECRET} bytes"
            elif code:
                reason = f"ended with exit code {code}; run it by hand, as the same user"
            else:
                try:
                    text = _without_line_break(printed.decode("utf-8"))
                except UnicodeError:
                    reason = "printed what is not UTF-8 text"
        return text, f"the secret's command {self._command[0]!r} {reason}"


class SecretList(SecretSource):
    """Several secrets, newest first, for a change that client and token service do not make at the same moment.

    The one in use stays in use until it is refused. Then the next one is, and after the last the first again. One that
    cannot be read is left out.
    """

    def __init__(self, sources: Iterable[SecretSource]) -> None:
        self._sources = tuple(sources)
        #: The one in use. Replaced in one step: several fetches of one client may be refused at once.
        self._at = 0
        self.description = " or ".join(source.description for source in self._sources)

    @property
    def identity(self) -> str:
        """Those of all of them."""
        return json.dumps([source.identity for source in self._sources])

    @property
    def advice(self) -> str | None:
        """Those of all of them."""
        return "; ".join(filter(None, (source.advice for source in self._sources))) or None

    def read(self) -> str:
        """The secret in use."""
        return next(self._readable())[1]

    def proof(self) -> str:
        """All of them: which one is in use is not known before the answer of the token service."""
        return json.dumps(sorted(secret for _, secret in self._readable()))

    def pass_over(self, refused: bytes) -> bool:
        """Use the next one that is another than this one."""
        for at, secret in self._readable():
            if fingerprint(secret) != refused:
                self._at = at
                return True
        return False

    def stamp(self) -> Hashable:
        """Those of all of them."""
        return tuple(source.stamp() for source in self._sources)

    def _readable(self) -> Iterator[tuple[int, str]]:
        """The secrets and their places, from the one in use on. Raises ``TokenRequestError`` where there is none."""
        begin, number = self._at, len(self._sources)
        problems: list[TokenRequestError] = []
        for at in ((begin + step) % number for step in range(number)):
            try:
                secret = self._sources[at].read()
            except TokenRequestError as error:
                problems.append(error)
            else:
                yield at, secret
        if len(problems) == number:
            raise problems[0]


def _text_of(path: Path) -> tuple[str, str]:
    """The secret in a file, or why there is none. Errors are returned: they and the frame here hold what was read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET + 1)
        if len(content) > MAX_SECRET:
            return "", f"has more than {MAX_SECRET} bytes"
        # Not opened as text, which would change line breaks within the secret.
        return _without_line_break(content.decode("utf-8")), "is empty"
    except UnicodeError:
        return "", "is not UTF-8 text"
    except OSError as error:
        return "", error.strerror or "cannot be read"


def _run(command: Sequence[str], until: float) -> tuple[int, bytes]:
    """The exit code of a command, and what it printed; one that prints too much is ended.

    ``until`` is a moment on Python's monotonic clock. Raises ``subprocess.TimeoutExpired`` and ``OSError``.
    """
    with subprocess.Popen(  # noqa: S603 - the command is the configuration's own, and no shell reads it
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            if os.name == "posix":
                printed = _printed(process, until)
            else:  # pragma: no cover - Windows waits for sockets only
                printed = process.communicate(timeout=until - time.monotonic())[0]
            if len(printed) <= MAX_SECRET:
                process.wait(max(0.0, until - time.monotonic()))
        finally:
            process.kill()
    return process.returncode, printed


def _printed(process: subprocess.Popen[bytes], until: float) -> bytes:
    """What the process prints, and not much more of it than a secret may have: others print without end."""
    assert process.stdout is not None
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(printed) <= MAX_SECRET:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise subprocess.TimeoutExpired(process.args, COMMAND_TIME)
            piece = os.read(process.stdout.fileno(), MAX_SECRET)
            if not piece:
                break
            printed += piece
    return printed


def _without_line_break(text: str) -> str:
    """As editors and ``echo`` leave one at the end."""
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def client_secret(given: object, what: str) -> SecretSource:
    """The secret of a client, which may be several, newest first. Raises ``ConfigurationError``."""
    if not isinstance(given, (list, tuple)):
        return secret_source(given, what)
    if not given:
        raise ConfigurationError(f"{what} is an empty list")
    return SecretList(secret_source(each, what) for each in given)


def secret_source(given: object, what: str) -> SecretSource:
    """The source that a caller means by a string, a callable, or a mapping of one entry.

    That is ``{"file": path}``, ``{"env": name}``, ``{"env_or_file": name}``, ``{"credential": name}`` or
    ``{"command": [program, argument...]}``.

    Raises ``ConfigurationError`` for anything else; the message never shows what was given.
    """
    if isinstance(given, SecretSource):
        return given
    if isinstance(given, str):
        if not given:
            raise ConfigurationError(f"{what} is empty")
        if not is_encodable(given):
            raise ConfigurationError(f"{what} must be text that UTF-8 can carry")
        return StaticSecret(given)
    if callable(given):
        return CallableSecret(given)
    if isinstance(given, Mapping) and len(given) == 1:
        ((kind, where),) = given.items()
        if kind == "file" and is_path(where):
            return FileSecret(where)
        if kind == "command" and _is_command(where):
            return CommandSecret(where)
        if isinstance(where, str) and is_path(where) and kind in _NAMED and not set(where) & _NAMED[kind][1]:
            return _NAMED[kind][0](where)
    raise ConfigurationError(
        f'{what} must be text, a callable, {{"file": path}}, {{"env": name}}, {{"env_or_file": name}}, '
        '{"credential": name} or {"command": [program, argument...]}'
    )


#: Sources by a name, and the characters that such a name has not.
_NAMED: Mapping[str, tuple[Callable[[str], SecretSource], frozenset[str]]] = {
    "env": (EnvironmentSecret, frozenset("=")),
    "env_or_file": (EnvironmentOrFileSecret, frozenset("=")),
    "credential": (CredentialSecret, frozenset("/\\")),
}


def _is_command(given: object) -> TypeGuard[Sequence[str | os.PathLike[str]]]:
    return isinstance(given, (list, tuple)) and bool(given) and all(is_path(each) for each in given)
