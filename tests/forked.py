"""Forked children in tests."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

#: Seconds after which a child that hangs is ended.
PATIENCE = 30


def fork() -> int:
    """``os.fork`` with a child that no coverage tool traces.

    The tool's own lock may be held by another thread at that moment, and nobody makes it anew in the child.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    pid = os.fork()
    if pid:
        sys.settrace(tracer)
    return pid


def in_child(check: Callable[[], object]) -> None:
    """Run the check in a forked child; its failure is ours, and so is its hanging."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        signal.alarm(PATIENCE)
        try:
            check()
            os.write(writing, b"fine")
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    assert said == "fine", said or "the child hung"
