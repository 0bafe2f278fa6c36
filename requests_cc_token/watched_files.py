"""Keys, certificates and assertions in files: read again once they change, the last good one kept meanwhile."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from .bounded_reads import FIRST_LOOK, LOOK_EVERY, NEXT_LOOK, CallersTimeError, Looks
from .events import logger
from .exceptions import TokenRequestError, TokenRequestTimeout

_T = TypeVar("_T")

#: Seconds. A file younger than this is read again at each use: two writes within one tick of the file system's clock
#: cannot be told apart.
SETTLED_AFTER = 2.0
#: Bytes of a key, certificate or assertion that are read: chains of certificates have some ten thousand.
MAX_FILE = 1_048_576
#: Device, inode, size, and the times of the inode's change and, last, of the last write, both in nanoseconds.
Stamp: TypeAlias = tuple[int, int, int, int, int]


def is_path(given: object) -> bool:
    """Whether it is the path of a file as text, or an object that gives one, such as the system can look for."""
    try:
        path = os.fspath(given)  # type: ignore[call-overload]
        os.fsencode(path)
    except (UnicodeEncodeError, TypeError):
        return False
    return isinstance(path, str) and path != "" and "\0" not in path


def file_stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """The stamp of a file, which differs after a change; None if the file cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of texts and paths alike
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns


def is_settled(stamp: Stamp) -> bool:
    """Whether the last write is long enough ago for the stamp to show the next one."""
    return time.time() - stamp[-1] / 1e9 > SETTLED_AFTER


class UnusableFileError(Exception):
    """Why the content of files is of no use; its text holds nothing of the content. Stays within the package."""


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that can be read again and again, at once: no pipe, no device, no more than ``MAX_FILE``.

    Raises ``UnusableFileError`` and ``OSError``.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnusableFileError("it is no regular file")
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise UnusableFileError(f"it has more than {MAX_FILE} bytes")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Open it. A pipe would be waited for until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class WatchedFiles(Generic[_T]):
    """Something made of one or several files, made anew once one of them has changed.

    ``make`` gets the contents and raises ``UnusableFileError`` where they are no good; what it made before is used
    then, since a rotation looks like that halfway: one file empty, half written, or not yet matching the other. The
    same holds while their file system hangs.
    """

    def __init__(
        self, paths: Iterable[str | os.PathLike[str]], make: Callable[[tuple[bytes, ...]], _T], what: str
    ) -> None:
        self.paths = tuple(Path(path) for path in paths)
        self._make = make
        self._what = what
        self._looks = Looks()
        self._looked_at = float("-inf")
        self._seen: tuple[Stamp | None, ...] | None = None
        self._settled = False
        self._contents: tuple[bytes, ...] | None = None
        self._made: _T | None = None
        #: What is wrong with the files, and what of it was logged.
        self._complaint: str | None = None
        self._logged: str | None = None

    def __repr__(self) -> str:
        return f"<{self._what} from {self._where}>"

    @property
    def _where(self) -> str:
        return " and ".join(repr(str(path)) for path in self.paths)

    def get(self, within: float | None = None) -> _T:
        """What the files hold now, or held last.

        ``within`` is the seconds that this caller has. Raises ``TokenRequestError`` where the files never held anything
        good, or were not read in time.
        """
        patience = FIRST_LOOK if self._made is None else NEXT_LOOK
        try:
            self._looks.take(None, self._look, within=patience, own=within)
        except CallersTimeError as error:
            if self._made is None:
                raise TokenRequestTimeout(f"the {self._what}, {self._where}: {error.strerror}") from None
            return self._made
        except TimeoutError as error:
            self._complaint = str(error.strerror)
            self._looked_at = time.monotonic()  # calls go on for a second before another one waits
        complaint = self._complaint  # before it is looked whether there is something good: a look may end in between
        if self._made is not None:
            self._log_complaint()
            return self._made
        raise TokenRequestError(f"the {self._what}, {self._where}: {complaint}")

    def recent(self, within: float | None = None) -> _T:
        """As ``get``; what they held a second ago at most will do."""
        if self._made is not None and 0.0 <= time.monotonic() - self._looked_at < LOOK_EVERY:
            return self._made
        return self.get(within)

    def stamp(self) -> tuple[Stamp | None, ...]:
        """The stamp of each file."""
        return tuple(map(file_stamp, self.paths))

    def _look(self) -> None:
        """Make it anew where the files have changed; by one thread at a time."""
        stamp = self.stamp()
        if self._made is None or not self._settled or stamp != self._seen:
            self._read(stamp)
        # By the look itself: the caller that began it may be gone.
        self._looked_at = time.monotonic()

    def _read(self, stamp: tuple[Stamp | None, ...]) -> None:
        contents: tuple[bytes, ...] | None = None
        try:
            contents = tuple(map(read_regular, self.paths))
            if contents != self._contents:
                if not all(content.strip() for content in contents):
                    raise UnusableFileError("empty")
                self._made = self._make(contents)
                self._contents = contents
            self._complaint = None
        except UnusableFileError as error:
            self._complaint = str(error)
        except OSError as error:
            self._complaint = error.strerror or "cannot be read"
        self._seen = stamp
        self._settled = all(found is None or is_settled(found) for found in stamp)

    def _log_complaint(self) -> None:
        """Say once what is wrong; in the caller's thread, which may hold the lock of a log handler: a signal's may."""
        complaint = self._complaint
        if complaint == self._logged:
            return
        self._logged = complaint
        if complaint is not None:
            logger.warning("the %s, %s: %s; going on with the last good one", self._what, self._where, complaint)
