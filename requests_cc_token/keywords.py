"""The keywords of functions, said once: for type checkers, and for whoever misspells one."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from .exceptions import ConfigurationError

__all__ = ["Unpack", "did_you_mean", "refuse_unknown", "refuse_unknown_keys"]

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
    """Raise ``TypeError``, as Python does, for a keyword that there is not."""
    for name in given:
        if name not in known:
            raise TypeError(f"{what} has no keyword {name!r}{did_you_mean(name, known)}")


def refuse_unknown_keys(given: Iterable[object], known: Collection[str], what: str) -> None:
    """Raise ``ConfigurationError`` for a key of a table that there is not."""
    for key in given:
        if key not in known:
            raise ConfigurationError(
                f"{what} has no {ascii(key)[:40]}; known are {', '.join(known) or 'none'}"
                f"{did_you_mean(str(key), known)}"
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put behind a message about a misspelt name, or nothing where no known name is like it."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
