"""Errors whose traceback, printed with its locals, shows no secret.

Crash reporters do print them. So a frame that holds a secret is emptied before an error leaves through it: the
places stay, and what was said stays.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

_C = TypeVar("_C", bound=Callable[..., Any])
_E = TypeVar("_E", bound=BaseException)


def without_locals(error: _E) -> _E:
    """The error, and the variables of the frames that it and its causes came through gone.

    What an error was raised ``from None`` for is gone as well, since such errors quote what they could not read: a
    ``TOMLDecodeError`` has the whole file, a ``UnicodeDecodeError`` the bytes. Frames that still run are left alone,
    and so is what the caller was handling when it called.
    """
    seen = {id(sys.exc_info()[1])}
    pending: list[Any] = [error]
    while pending:
        current = pending.pop()
        # urllib3's `reason` is an exception or a text.
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        pending += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        pending += current.args
        if current.__suppress_context__:
            current.__context__ = None
    return error


def sealed(function: _C) -> _C:
    """A decorator for what handles a secret: whatever leaves it, an interrupt too, shows no variable of its frames."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                failure = error
        except BaseException as interrupt:  # pragma: no cover - the test raises it by the trace that coverage needs
            # An interrupt while the error was being handled; the error is its __context__, frames included.
            failure = interrupt
        del args, kwargs
        raise without_locals(failure)

    return call  # type: ignore[return-value]
