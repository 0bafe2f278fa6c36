"""The threads of this package: how one starts, and that a fork waits for those that are ending.

What OpenSSL keeps for a thread, after a TLS connection or a signature, it gives back when the thread ends: after the
thread's last line of Python, and under a lock. A child that is forked at that moment has the lock taken by a thread
that it does not have, and stops at its next signature or connection. So a fork waits until the threads that have done
their work are gone.
"""

from __future__ import annotations

import _thread
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable

#: Seconds that a fork waits at most. Threads end within microseconds; on a machine where processors are scarce, later.
END_WITHIN = 1.0
#: Seconds between two looks whether a thread is gone.
_STEP = 0.0005

#: The threads that have done their work, by the numbers that the system knows them by.
_ending: set[int] = set()


def start_thread(work: Callable[[], object], name: str) -> None:
    """Run the work in a thread of its own, with the context variables of the caller.

    Returns without waiting for the thread to begin, which ``threading.Thread.start`` does without a bound: where memory
    runs out, a thread may die before it has told that it began. Raises ``RuntimeError`` or ``MemoryError`` where no
    thread can be had: the machine is out of them, the interpreter is shutting down, or it is an isolated
    subinterpreter.
    """
    # Raises RuntimeError in interpreters that allow no daemon threads (isolated subinterpreters).
    threading.Thread(daemon=True)
    context = contextvars.copy_context()

    def begin() -> None:  # pragma: no cover - the tracer that counts is set in here
        # _thread.start_new_thread leaves out what threading.Thread does: debuggers and coverage trace the thread, and
        # log records carry its name.
        if (trace := threading.gettrace()) is not None:
            sys.settrace(trace)
        if (profile := threading.getprofile()) is not None:
            sys.setprofile(profile)
        thread = threading.current_thread()
        thread.name = name
        try:
            context.run(work)
        except Exception:
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), thread)))
        finally:
            note_end()

    _thread.start_new_thread(begin, ())


def note_end() -> None:
    """Note that this thread has done its work; called last."""
    if sys.platform != "linux":  # pragma: no cover - elsewhere nobody can tell when it is gone
        return
    for thread in _ending.copy():
        if not _is_there(thread):
            _ending.discard(thread)
    _ending.add(threading.get_native_id())


def wait_for_ends() -> None:
    """Wait until the threads that have done their work are gone; called before a fork, in the thread that forks."""
    until = time.monotonic() + END_WITHIN
    for thread in _ending.copy():
        # One that forks at its own end does not wait for itself.
        while thread != threading.get_native_id() and _is_there(thread) and time.monotonic() < until:
            time.sleep(_STEP)
        _ending.discard(thread)


def _is_there(thread: int) -> bool:
    return os.path.exists(f"/proc/self/task/{thread}")  # noqa: PTH110 - pathlib would cost more than the look


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=wait_for_ends)
