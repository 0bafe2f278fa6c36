"""Moments at which a test steps in: just before a function of ``os`` does its work.

What another process does between two steps of ours is played there, in the same order each time.

Not by the interpreter's audit hooks, which would see everything: a hook stays until the interpreter ends, and on
CPython before 3.12 a thread that starts while a tool such as coverage.py traces dies, now and then, when there is a
hook written in Python (the tracer of another thread is then found half installed).
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def just_before(name: str, ending: str, action: Callable[[], object], times: int = 1) -> Iterator[None]:
    """Run the action just before the first ``times`` calls of that function with an argument of that ending.

    All of them must come.
    """
    original = getattr(os, name)
    came = 0

    def function(*arguments: Any, **options: Any) -> Any:
        nonlocal came
        if came < times and any(str(argument).endswith(ending) for argument in arguments):
            came += 1
            action()
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
    assert came == times, f"{came} of {times} times: {name} of ...{ending}"
