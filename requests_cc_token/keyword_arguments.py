"""Keyword arguments: what type checkers need to know them by, what a misspelt one is told, and the plain checks."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, TypeGuard

from .exceptions import ConfigurationError

__all__ = [
    "Unpack",
    "check_whole_number",
    "checked_flag",
    "checked_text",
    "did_you_mean",
    "is_encodable",
    "is_whole_number",
    "refuse_unknown",
    "refuse_unknown_keys",
]

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack
else:  # pragma: no cover - Python 3.10

    class Unpack:
        """Stands for ``typing.Unpack`` where Python has none, so that annotations can be evaluated."""

        def __class_getitem__(cls, options: type) -> type:
            return options


def refuse_unknown(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise ``TypeError``, as Python does, for an unknown keyword."""
    for name in given:
        if name not in known:
            raise TypeError(f"{what} has no keyword {name!r}{did_you_mean(name, known)}")


def refuse_unknown_keys(given: Iterable[object], known: Collection[str], what: str) -> None:
    """Raise ``ConfigurationError`` for an unknown key of a table."""
    for key in given:
        if key not in known:
            raise ConfigurationError(
                f"{what} has no {ascii(key)[:40]}; known are {', '.join(known) or 'none'}"
                f"{did_you_mean(str(key), known)}"
            )


def checked_flag(given: object, what: str) -> bool:
    """True or False. Raises ``ConfigurationError`` for anything else; ``what`` begins its message."""
    if not isinstance(given, bool):
        raise ConfigurationError(f"{what} must be true or false, not {type(given).__name__}")
    return given


def checked_text(given: object, what: str) -> str:
    """Printable text, not empty. Raises ``ConfigurationError`` for anything else; ``what`` begins its message."""
    if not (isinstance(given, str) and given and given.isprintable()):
        raise ConfigurationError(f"{what} must be printable text")
    return given


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry it; half a pair of surrogates, or a byte of the environment that is none, it cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def is_whole_number(value: object, least: int) -> TypeGuard[int]:
    """Whether it is a whole number, ``least`` or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_whole_number(value: object, what: str, least: int) -> None:
    """Raise ``ConfigurationError`` unless it is a whole number, ``least`` or more."""
    if not is_whole_number(value, least):
        raise ConfigurationError(f"{what} must be a whole number from {least} on")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put behind a message about a misspelt name, or nothing where no known name is like it."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
