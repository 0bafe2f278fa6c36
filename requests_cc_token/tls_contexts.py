"""The one way in which TLS contexts are made, and how they follow the files that they are made of.

A context takes further authorities but never gives one up, so one that outlives its CA bundle goes on trusting an
authority that was withdrawn. Here a context is made anew once a file of it has changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from requests.utils import DEFAULT_CA_BUNDLE_PATH, extract_zipped_paths
from urllib3.util.ssl_ import create_urllib3_context

from .events import logger
from .forks import renew_after_fork
from .watched_files import Stamp, file_stamp, is_settled

#: Ways to verify servers that are remembered at most: far more than one program has.
MAX_CONTEXTS = 64

#: The stamp of a file, or those of a folder and of what is in it.
_State: TypeAlias = tuple[Stamp | None, ...]


class _Made(NamedTuple):
    """A context, and what the files were like of which it was made."""

    context: ssl.SSLContext
    states: tuple[_State, ...]
    digest: bytes
    #: Whether the next change of a file will show in its stamp.
    is_settled: bool


class FollowedContext:
    """A TLS context that is made anew once one of its files, or of the files in its folders, has changed.

    ``make`` raises ``OSError`` (an ``ssl.SSLError`` is one) where the files are no good; the context from before is
    used then, since a rotation looks like that halfway, and one warning says so. Safe in threads; a forked child makes
    its own, since a thread that the child does not have may hold a lock within the context.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], paths: Iterable[str | os.PathLike[str]], what: str) -> None:
        self._make = make
        self._paths = tuple(os.fspath(path) for path in paths)
        self._what = what
        self._lock = threading.Lock()
        self._made: _Made | None = None
        renew_after_fork(self)

    def get(self) -> ssl.SSLContext:
        """The context for the next connection: the same object while the files do not change.

        Raises the ``OSError`` of ``make`` where the files never were any good.
        """
        states = tuple(map(_state_of, self._paths))
        made = self._made
        if made is not None and made.is_settled and made.states == states:
            return made.context
        with self._lock:
            return self._renewed(states)

    def _renewed(self, states: tuple[_State, ...]) -> ssl.SSLContext:
        known = self._made
        settled = all(stamp is None or is_settled(stamp) for state in states for stamp in state)
        try:
            digest = _digest(self._paths)
            same = known is not None and known.digest == digest
            context = known.context if known is not None and same else self._make()
        except OSError as error:
            if known is None:
                raise
            if known.states != states:
                reason = error.strerror or error
                logger.warning("%s: %s; going on with what was read before", self._what, reason)
            context, digest = known.context, known.digest
        self._made = _Made(context, states, digest, settled)
        return context

    def after_fork_in_child(self) -> None:
        """Start anew: a thread that the child does not have may hold the lock, or one within the context."""
        self._lock = threading.Lock()
        self._made = None


class TLSContexts:
    """TLS contexts by ``verify`` as ``requests`` has it: True, False, or the path of a CA bundle or folder.

    ``base`` makes what they have in common: urllib3's own defaults, and a client certificate where there is one. An
    authority of one channel is not trusted on another one, so each ``verify`` has its own.
    """

    def __init__(self, base: Callable[[], ssl.SSLContext] = create_urllib3_context) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._followed: OrderedDict[bool | str, FollowedContext] = OrderedDict()
        renew_after_fork(self)

    def get(self, verify: bool | str) -> ssl.SSLContext:
        """The context for the next connection; its authorities are in it. Raises ``OSError`` as ``requests`` does."""
        with self._lock:
            followed = self._followed.get(verify)
            if followed is None:
                followed = self._followed[verify] = self._following(verify)
                if len(self._followed) > MAX_CONTEXTS:
                    self._followed.popitem(last=False)
            else:
                self._followed.move_to_end(verify)
        return followed.get()

    def _following(self, verify: bool | str) -> FollowedContext:
        if verify is False:
            return FollowedContext(self._unverified, (), "TLS")
        place = extract_zipped_paths(DEFAULT_CA_BUNDLE_PATH) if verify is True else verify

        def verified() -> ssl.SSLContext:
            if not os.path.exists(place):  # noqa: PTH110 - as text, which it is
                raise OSError(f"Could not find a suitable TLS CA certificate bundle, invalid path: {place}")
            in_folder = os.path.isdir(place)  # noqa: PTH112
            if not in_folder and not os.path.isfile(place):  # noqa: PTH113
                # A pipe can be read once, and would be waited for until somebody writes to it.
                raise OSError(errno.EINVAL, "it is no regular file", place)
            context = self._base()
            context.load_verify_locations(None if in_folder else place, place if in_folder else None)
            return context

        return FollowedContext(verified, (place,), f"the CA bundle {place!r}")

    def _unverified(self) -> ssl.SSLContext:
        context = self._base()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def after_fork_in_child(self) -> None:
        """Start anew: a thread that the child does not have may hold the lock."""
        self._lock = threading.Lock()
        self._followed = OrderedDict()


def _state_of(path: str) -> _State:
    """What differs once the file, or one in the folder, has changed."""
    own = file_stamp(path)
    try:
        return own, *(file_stamp(entry) for entry in sorted(entry.path for entry in os.scandir(path)))
    except OSError:
        return (own,)  # a file


def _digest(paths: Iterable[str]) -> bytes:
    """A hash of the contents, to tell a file that was only written anew from one that is another."""
    digest = hashlib.blake2b()
    for path in map(Path, paths):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            try:
                content = file.read_bytes() if file.is_file() else b""
            except OSError:
                content = b""  # gone: what makes the context says so where it matters
            digest.update(b"%d %d " % (len(str(file)), len(content)) + os.fsencode(file) + content)
    return digest.digest()
