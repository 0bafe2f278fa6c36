"""Moments at which a test steps in: just before a function of ``os`` does its work, or at a line of a trace.

What another process does between two steps of ours is played there, in the same order each time.

Not by the interpreter's audit hooks, which would see everything: a hook stays until the interpreter ends, and on
CPython before 3.12 a thread that starts while a tool such as coverage.py traces dies, now and then, when there is a
hook written in Python (the tracer of another thread is then found half installed).
"""

from __future__ import annotations

import ast
import dis
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
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


def a_signal_may_come(frame: FrameType) -> bool:
    """Whether a signal's handler can raise where a trace has come to, which is the start of a line.

    Python looks for signals after calls, at jumps back and as a function begins. A block of ``with`` ends on the line
    of the ``with`` once more, and none of these is between its last step and ``__exit__``; nor is a ``try:``, which
    does nothing, ever interrupted. A trace that raises there passes ``__exit__`` by and leaves a lock taken for ever,
    which no interrupt does.
    """
    code = frame.f_code
    if code.co_code[frame.f_lasti] == dis.opmap["NOP"]:
        return False
    if frame.f_lineno not in _lines_of_with(code.co_filename):
        return True
    return frame.f_lasti == _beginnings(code)[frame.f_lineno]


@functools.cache
def _lines_of_with(file: str) -> frozenset[int]:
    """The lines on which a ``with`` takes something, and lets go of it."""
    blocks = [node for node in ast.walk(ast.parse(pathlib.Path(file).read_bytes())) if isinstance(node, ast.With)]
    return frozenset(line for with_ in blocks for line in [with_.lineno, *(i.context_expr.lineno for i in with_.items)])


@functools.cache
def _beginnings(code: CodeType) -> dict[int, int]:
    """Where the instructions of each line begin: those that leave a ``with`` come after those that enter it."""
    offsets: dict[int, int] = {}
    for offset, line in dis.findlinestarts(code):
        if line is not None:
            offsets.setdefault(line, offset)
    return offsets
