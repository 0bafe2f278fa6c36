"""Moments at which a test steps in: just before the interpreter asks the system for something.

What another process does between two steps of ours is played there, in the same order each time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Moment:
    """An audit event that is waited for, and what to do at it."""

    def __init__(self, event: str, ending: str, action: Callable[[], object], times: int) -> None:
        self.event = event
        self.ending = ending
        self.action = action
        self.times = times
        self.came = 0


_awaited: list[_Moment] = []
#: Whether this thread acts: what the action does is no moment.
_acting = threading.local()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for moment in _awaited:
        if moment.event != event or moment.came >= moment.times or getattr(_acting, "now", False):
            continue
        if any(str(argument).endswith(moment.ending) for argument in arguments):
            moment.came += 1
            _acting.now = True
            try:
                moment.action()
            finally:
                _acting.now = False


_installed: list[bool] = []


@contextmanager
def just_before(event: str, ending: str, action: Callable[[], object], times: int = 1) -> Iterator[_Moment]:
    """Run the action just before each of the first ``times`` events with an argument of that ending; all must come.

    The events are those of the interpreter's audit table: ``open``, ``os.rename`` ...
    """
    if not _installed:
        # A hook stays for as long as the interpreter runs, so there is one, and not before it is needed.
        sys.addaudithook(_hook)
        _installed.append(True)
    moment = _Moment(event, ending, action, times)
    _awaited.append(moment)
    try:
        yield moment
    finally:
        _awaited.remove(moment)
    assert moment.came == times, f"{moment.came} of {times} times: {event} of ...{ending}"
