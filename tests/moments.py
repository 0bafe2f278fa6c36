"""Moments at which a test steps in: just before a function of ``os`` does its work.

What another process does between two steps of ours is played there, in the same order each time.

Not by the interpreter's audit hooks, which would see everything: a hook stays until the interpreter ends, and on
CPython before 3.12 a thread that starts while a tool such as coverage.py traces dies, now and then, when there is a
hook written in Python (the tracer of another thread is then found half installed).
"""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def intercepted(name: str, before: Callable[..., object]) -> Iterator[None]:
    """Within the block, ``before`` is called with the arguments of each call of that function of ``os``."""
    original = getattr(os, name)

    def function(*arguments: Any, **options: Any) -> Any:
        before(*arguments)
        return original(*arguments, **options)

    # pathlib of Python 3.10 has looked some of the functions up already.
    places = [p for p in (os, getattr(pathlib, "_normal_accessor", None)) if getattr(p, name, None) is original]
    for place in places:
        setattr(place, name, function)
    try:
        yield
    finally:
        for place in places:
            setattr(place, name, original)


class _Moment:
    """What to do at the first calls with an argument of that ending."""

    def __init__(self, ending: str, action: Callable[[], object], times: int) -> None:
        self._ending = ending
        self._action = action
        self._times = times
        #: Whether this thread acts: what the action does is no moment.
        self._acting = threading.local()
        self.came = 0

    def __call__(self, *arguments: Any) -> None:
        """Act, if this is one."""
        if self.came >= self._times or getattr(self._acting, "now", False):
            return
        if any(str(argument).endswith(self._ending) for argument in arguments):
            self.came += 1
            self._acting.now = True
            try:
                self._action()
            finally:
                self._acting.now = False


@contextmanager
def just_before(name: str, ending: str, action: Callable[[], object], times: int = 1) -> Iterator[None]:
    """Run the action just before the first ``times`` calls of that function with an argument of that ending.

    All of them must come.
    """
    moment = _Moment(ending, action, times)
    with intercepted(name, moment):
        yield
    assert moment.came == times, f"{moment.came} of {times} times: {name} of ...{ending}"
