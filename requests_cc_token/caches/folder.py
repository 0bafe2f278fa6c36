"""A folder that is this user's alone, in a place where nobody else can put another one instead."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path


def make_private(path: Path) -> None:
    """Make the folder, and those above it that are missing, with mode 0700. What is there stays as it is.

    Raises ``OSError``.
    """
    missing = itertools.takewhile(lambda folder: not folder.exists(), (path, *path.parents))
    for folder in (*reversed(list(missing)), path):
        folder.mkdir(mode=0o700, exist_ok=True)


def fault_of(path: Path) -> str | None:
    """Why tokens must not be kept in this folder, and what to do; None where they may.

    It has to belong to this user and be closed to others. No folder above it, nor above what links lead to, may be one
    in which another user could replace it: those belong to this user or to root, and others may not write there unless
    it is sticky, as the folder for everybody's temporary files is. Raises ``OSError``.
    """
    if os.name != "posix":  # pragma: no cover - Windows has no such owners and modes
        return None
    us = os.geteuid()
    folder = path.stat()
    if folder.st_uid != us:
        return (
            f"the token folder {path} belongs to another user (uid {folder.st_uid}), who could read and replace "
            f"tokens; run this as that user, or give a folder of uid {us}"
        )
    mode = stat.S_IMODE(folder.st_mode)
    if mode & 0o077:
        return (
            f"the token folder {path} is open to other users (mode {mode:04o}); {_instead(path)}, "
            f"or close it: chmod 700 {path}"
        )
    return fault_above(path)


def fault_above(path: Path) -> str | None:
    """Why no folder for tokens may be made at this place, or be kept in it, as far as others could replace it.

    Folders that are missing are passed over: who makes them owns them. Raises ``OSError``.
    """
    if os.name != "posix":  # pragma: no cover - Windows has no such owners and modes
        return None
    us = os.geteuid()
    for place in dict.fromkeys((path, *path.parents, *path.resolve().parents)):
        try:
            status = place.lstat()
        except FileNotFoundError:
            continue
        if status.st_uid not in (us, 0):
            return (
                f"the token folder {path}: {place} belongs to another user (uid {status.st_uid}), who could put "
                f"another folder in its place; run this as that user, or give a folder "
                f"that only uid {us} and root can move"
            )
        replaceable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
        if replaceable and not stat.S_ISLNK(status.st_mode):
            return (
                f"the token folder {path}: other users may write to {place} (mode {stat.S_IMODE(status.st_mode):04o}) "
                f"and put another folder in its place; give a folder elsewhere, or: chmod go-w {place}"
            )
    return None


def strangers_in(path: Path) -> str | None:
    """What another user keeps in the folder, and what to do; None where there is nothing. Raises ``OSError``."""
    if os.name != "posix":  # pragma: no cover - Windows has no such owners
        return None
    us = os.geteuid()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_uid != us:
                return f"the token folder {path} holds {entry.name!r} of another user; {_instead(path)}"
    return None


def _instead(path: Path) -> str:
    return f"give the token cache a folder of its own, such as {path / 'tokens'}"
