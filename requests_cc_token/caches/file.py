"""Tokens in a folder, shared by the processes of one host.

Each key has a folder of its own; its files are numbered, and the highest number counts::

    5f1d…/7.token            what was written last: a record, or
    5f1d…/7.deleted          that there is none
    5f1d…/8.lock             held by the process that fetches the next token and will write it as 8.token
    5f1d…/8.123-456.holder   which process that is, by number and start, where the system tells

The lock's number is the fencing number. A process that is frozen while it holds lock 8 does not stop the others:
one of them takes lock 9 and writes ``9.token``. Whenever the first one wakes, ``8.token`` is the older one; no
comparison has to be made at the moment of writing, which no file system could make atomic.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import random
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from requests_cc_token.clock import Clock
from requests_cc_token.exceptions import ConfigurationError, TokenCacheError
from requests_cc_token.tokens import AccessToken
from requests_cc_token.tracebacks import sealed
from requests_cc_token.watched_files import is_path

from .folder import fault_above, fault_of, make_private, strangers_in
from .records import MAX_RECORD, EncryptionKey, TokenRecords
from .store import DEFAULT_LEASE, DEFAULT_TIMEOUT, Claim, Holder, Kept, StoreTokenCache, Wait

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Seconds after the expiry of its token for which a key's folder is kept: a process that was frozen for longer and
#: then writes its token finds the numbers begun anew, and that token has expired as well.
KEPT_AFTER_EXPIRY = 86_400.0
#: Folders of other keys that each write looks at, at random: one write adds one folder at most, so what is forgotten
#: stays a small part.
SWEPT_PER_WRITE = 8
#: Looks at a folder whose newest file vanishes between the list and the reading, each time for a newer one.
_LOOKS = 5
#: Looks of a process that waits for each attempt at a lock that a living process says it holds.
LOOKS_PER_ATTEMPT = 8
#: Locks of frozen processes that are passed over in one look.
_MAX_PASSED = 64

#: Linux: what it tells of processes, see proc(5).
_PROCESSES = Path("/proc")
#: The states of a process that is stopped, by SIGSTOP or by a debugger.
_FROZEN = ("T", "t")
#: Those of one that is dead but still listed, until its parent asks for it.
_DEAD = ("Z", "X", "x")
#: What opening a link, a folder, a socket or a file closed to us says: no trouble of the disk, but no record either.
_FOREIGN = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES})

_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"([0-9]{1,15})\.(token|deleted|lock|[0-9a-f]{16}\.new|([0-9]+-[0-9]+)\.holder)")


class _Folder(NamedTuple):
    """What a key's folder holds."""

    #: The number of the last write or deletion, or 0.
    last: int
    #: Whether it was a write.
    is_token: bool
    #: The highest number of all files, those of locks too, or 0.
    highest: int
    #: Who holds, or held, the lock of a number: process number and start.
    holders: dict[int, str]


class _Holding(NamedTuple):
    """A lock that this process holds, and the file that says so."""

    lock: BaseFileLock
    holder: Path | None


class FileTokenCache(StoreTokenCache[_Holding]):
    """Keeps tokens in files, shared by the processes of one user on one host; one of them at a time requests a token.

    - ``path``: the folder, by default one in the user's cache folder. It is made with mode 0700 when something is
      written, its files with 0600. A folder that other users can enter, write to or replace is refused
    - ``key``: encrypts the files: a Fernet key, or several of which the first encrypts and all decrypt; or where they
      come from, given as a ``client_secret`` is, and read again at each use. By default the files are plain JSON
    - ``lease``: for how many seconds other processes wait for the one that requests a token; 10 by default. They do not
      wait for a process that has died, nor on Linux for one that is stopped
    - ``timeout``: for how many seconds the file system may delay a call before it goes on without this cache; 0.25 by
      default
    - ``clock``: as for ``AccessTokenManagement``

    Safe to use from threads and after a fork. Raises ``ConfigurationError``, also if filelock or platformdirs is
    missing (``pip install requests_cc_token[file]``).
    """

    @sealed
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        key: EncryptionKey | None = None,
        lease: float = DEFAULT_LEASE,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        try:
            import filelock  # noqa: F401
            import platformdirs
        except ImportError as error:
            raise ConfigurationError(
                f"FileTokenCache needs {error.name}: pip install requests_cc_token[file]"
            ) from None
        self._path = _absolute(_users_own(platformdirs.user_cache_dir) if path is None else path)
        super().__init__(f"the token folder {self._path}", TokenRecords(key), lease, timeout, clock)
        self._prepared = False
        try:
            self._prepare()
        except OSError:
            # A disk that is full or gone is no mistake of the program: the first call logs it and goes on.
            return

    @property
    def path(self) -> Path:
        """The folder that the tokens are kept in."""
        return self._path

    def __repr__(self) -> str:
        return f"<FileTokenCache {str(self._path)!r}{', encrypted' if self._records.encrypted else ''}>"

    # The folder

    def _prepare(self) -> None:
        """See whether the folder is ours alone, or could be. Raises ``ConfigurationError`` and ``OSError``.

        It is made where something is written, not here: who only looks, such as root with ``requests-cc-token check``,
        must not leave a folder of his own in the place of the worker's.
        """
        try:
            fault = fault_of(self._path) or strangers_in(self._path)
            there = True
        except FileNotFoundError:
            fault = fault_above(self._path)
            there = False
        if fault is not None:
            raise ConfigurationError(fault)
        self._prepared = there

    def _judge(self) -> None:
        """See whether the folder, if there is one, still is ours alone. Raises ``TokenCacheError`` and ``OSError``."""
        try:
            if not self._prepared:
                self._prepare()
                return
            fault = fault_of(self._path)
        except FileNotFoundError:
            fault = fault_above(self._path)  # it was removed while we ran, and is made again where something is written
        except ConfigurationError as error:
            raise TokenCacheError(str(error)) from None
        if fault is not None:
            raise TokenCacheError(fault)

    def _folder(self, key: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise TokenCacheError("a cache key is 64 hexadecimal digits")
        return self._path / key

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            # Nobody has written yet, or the whole folder was removed while we ran.
            make_private(self._path)
            self._judge()
            folder.mkdir(mode=0o700, exist_ok=True)

    # What a store does

    def _read(self, key: str) -> AccessToken | None:
        folder = self._folder(key)
        self._judge()
        for _ in range(_LOOKS):
            held = _look(folder)
            if not held.is_token:
                return None
            try:
                data = _read_file(folder / f"{held.last}.token")
            except FileNotFoundError:
                continue
            return self._records.decode(key, data)
        return None

    def _write(self, key: str, token: AccessToken | None, claim: Claim[_Holding] | None) -> None:
        folder = self._folder(key)
        self._judge()
        held = _look(folder)
        if claim is not None:
            number = claim.number
            if held.last > number:
                return
        elif token is None and held.highest == 0:
            return
        else:
            # Higher than every claim as well: a process that fetches at this moment holds a lower number, and loses.
            number = held.highest + 1
        self._make_folder(folder)
        new = folder / f"{number}.{secrets.token_hex(8)}.new"
        try:
            data = b"" if token is None else self._records.encode(key, token)
            _write_file(new, data, self._clock.time() if token is None else token.expires_at)
            new.replace(folder / f"{number}.{'deleted' if token is None else 'token'}")
        except BaseException as error:
            new.unlink(missing_ok=True)
            if isinstance(error, FileNotFoundError) and _look(folder).last > number:
                return  # who wrote a newer one has cleared ours away
            raise
        _remove(folder, number)
        self._sweep(key)

    def _claim(self, key: str, wait: Wait) -> Claim[_Holding]:
        from filelock import FileLock

        folder = self._folder(key)
        if wait.looks == 0:
            self._judge()
            self._make_folder(folder)
        held = _look(folder)
        if wait.for_any:
            token = self._unexpired(self._read(key))
            if token is not None:
                return Claim(0, held.last, token)
        if wait.first_seen is not None and held.last > wait.first_seen:
            return Claim(0, held.last, self._read(key))
        number = (held.highest if wait.over else max(held.last, wait.given_up)) + 1
        for _ in range(_MAX_PASSED):
            path = folder / f"{number}.lock"
            # A fleet that waits mostly reads: each attempt at a lock holds up all the others in the folder. Now and
            # then it is made all the same: a holder whose disk failed could not take its name away.
            state = _process_state(held.holders.get(number))
            if state is None or wait.looks % LOOKS_PER_ATTEMPT == 0:
                lock = FileLock(path, timeout=0, mode=0o600, thread_local=False)
                if _acquired(lock):
                    # Somebody may have written, and removed this lock, since the look above.
                    held = _look(folder)
                    if held.last >= number:
                        lock.release()
                        return Claim(0, held.last, self._read(key))
                    return Claim(number, held.last, self._read(key), _Holding(lock, _announce(folder, number)))
            if not (wait.over or state in _FROZEN):
                break
            number += 1
        if number != wait.turn:
            wait.turn, wait.turn_began = number, wait.waited
        elif wait.waited - wait.turn_began >= self._lease_time:
            wait.given_up = number
        return Claim(0, held.last, None)

    def _let_go(self, key: str, holding: _Holding) -> None:
        try:
            if holding.holder is not None:
                holding.holder.unlink(missing_ok=True)
        finally:
            holding.lock.release()

    def _forget(self, key: str) -> None:
        folder = self._folder(key)
        with contextlib.suppress(FileNotFoundError):
            _remove(folder)
            folder.rmdir()

    def _inspect(self, key: str) -> Kept:
        token, held, age = self._read(key), _look(self._folder(key)), None
        if held.is_token:
            # The time of the last change is the token's expiry, see `_write_file`; that of the inode is the system's.
            with contextlib.suppress(FileNotFoundError):
                age = max(0.0, time.time() - (self._folder(key) / f"{held.last}.token").stat().st_ctime)
        fetching = None
        for number, holder in sorted(held.holders.items(), reverse=True):
            state = _process_state(holder)
            if number > held.last and state is not None:
                name = f"process {holder.partition('-')[0]}{', stopped' if state in _FROZEN else ''}"
                fetching = Holder(name, None)
                break
        return Kept(token, age, fetching, unreadable=held.is_token and token is None)

    def _sweep(self, key: str) -> None:
        """Remove what is left of other keys whose tokens expired long ago."""
        before = self._clock.time() - KEPT_AFTER_EXPIRY
        others = [name for name in _names(self._path) if name != key and _KEY.fullmatch(name)]
        for name in random.sample(others, min(SWEPT_PER_WRITE, len(others))):
            folder = self._path / name
            try:
                # A token's file carries its expiry as the time of its last change.
                if max(file.stat().st_mtime for file in (folder, *folder.iterdir())) < before:
                    self._forget(name)
            except OSError:
                continue  # another process sweeps too, or writes


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _look(folder: Path) -> _Folder:
    last, is_token, highest = 0, False, 0
    holders = {}
    try:
        names = _names(folder)
    except FileNotFoundError:
        names = []
    for match in filter(None, map(_NAME.fullmatch, names)):
        number, kind = int(match[1]), match[2]
        highest = max(highest, number)
        if kind in ("token", "deleted") and number >= last:
            last, is_token = number, kind == "token"
        elif match[3]:
            holders[number] = match[3]
    return _Folder(last, is_token, highest, holders)


def _remove(folder: Path, below: float = math.inf) -> None:
    """Remove the files of lower numbers, and what is left of the lock of this one."""
    for match in filter(None, map(_NAME.fullmatch, _names(folder))):
        number = int(match[1])
        if number < below or (number == below and match[2].endswith(("lock", "holder"))):
            try:
                (folder / match[0]).unlink()
            except OSError:
                continue  # another process removed it, or Windows has it open


def _read_file(path: Path) -> bytes | None:
    """The file's content, or None where it is not a file that this user, and nobody else, could have written."""
    try:
        # Neither a link to elsewhere nor a pipe that never ends.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno in _FOREIGN:
            return None
        raise
    try:
        status = os.fstat(descriptor)
        ours = os.name != "posix" or (status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077)
        if not ours or not stat.S_ISREG(status.st_mode) or status.st_size > MAX_RECORD:
            return None
        return os.read(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def _write_file(path: Path, data: bytes, expires_at: float) -> None:
    # Not synchronised: a token that a power cut loses is asked for again.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.utime(path, (expires_at, expires_at))


def _acquired(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _announce(folder: Path, number: int) -> Path | None:
    """Say which process holds the lock, for those who wait, and no more which one did."""
    for match in filter(None, map(_NAME.fullmatch, _names(folder))):
        if match[3] and int(match[1]) == number:
            (folder / match[0]).unlink(missing_ok=True)
    status = _process_status(os.getpid())
    if status is None:
        return None
    holder = folder / f"{number}.{os.getpid()}-{status[1]}.holder"
    os.close(os.open(holder, os.O_WRONLY | os.O_CREAT, 0o600))
    return holder


def _process_state(holder: str | None) -> str | None:
    """The state, as proc(5) names it, of the process that holds a lock; None where it is gone, or nobody tells."""
    if holder is None:
        return None
    process, _, start = holder.partition("-")
    status = _process_status(int(process))
    # The number may be another process's by now, or in another container; or a dead one's that nobody has buried.
    return None if status is None or status[1] != start or status[0] in _DEAD else status[0]


def _process_status(process: int) -> tuple[str, str] | None:
    try:
        text = (_PROCESSES / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name, in parentheses, may hold anything; the state follows, and 19 fields later the start.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def _absolute(path: object) -> Path:
    """The path from the root on. Raises ``ConfigurationError`` for what is none."""
    if not is_path(path):
        raise ConfigurationError("FileTokenCache: path must be the path of a folder")
    try:
        return Path(os.path.abspath(path))  # type: ignore[call-overload]  # noqa: PTH100 - resolve() would follow links, which are judged first
    except FileNotFoundError:
        raise ConfigurationError(
            "FileTokenCache: the folder of this process is gone, so a relative path leads nowhere; give an absolute one"
        ) from None


def _users_own(user_cache_dir: Callable[..., str]) -> str:
    """The folder of this user that is used without a path. Raises ``ConfigurationError`` for a user without a home."""
    try:
        folder = user_cache_dir("requests_cc_token", appauthor=False)
    except RuntimeError:
        folder = ""
    # Some versions of platformdirs leave a "~" in it.
    if not os.path.isabs(folder):  # noqa: PTH117 - as text, which it is
        raise ConfigurationError(
            "FileTokenCache: this user has no home folder, so there is no default path; give one "
            "(FileTokenCache(path)), or set XDG_CACHE_HOME"
        )
    return os.path.join(folder, "tokens")  # noqa: PTH118
