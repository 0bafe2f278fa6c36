"""Threads of the package: what comes along into one, and that no fork happens while one ends."""

from __future__ import annotations

import contextvars
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import threads
from requests_cc_token.threads import start_thread

from .fetch_threads import started
from .fork_storm import KINDS, storm
from .forked import fork, in_child
from .scripted_server import PATIENCE


class TestThread:
    def test_it_has_a_name_and_the_context_of_its_caller(self) -> None:
        """Logs say whose thread it is, and context variables reach what runs in it."""
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
        variable.set("blue")
        seen: list[str] = []
        look = lambda: seen.extend([threading.current_thread().name, variable.get()])  # noqa: E731
        over = started(look, "requests_cc_token x")
        assert over.wait(PATIENCE)
        assert seen == ["requests_cc_token x", "blue"]

    def test_debuggers_and_profilers_follow(self) -> None:
        """What is set for all threads is set for this one too."""
        called: list[str] = []

        def work() -> None:
            called.append("work")

        def trace(frame: Any, event: str, argument: Any) -> Any:
            called.append(f"traced {frame.f_code.co_name}")

        def profile(frame: Any, event: str, argument: Any) -> Any:
            called.append(f"profiled {event}")

        tracing, profiling = threading.gettrace(), threading.getprofile()
        threading.settrace(trace)
        threading.setprofile(profile)
        try:
            assert started(work).wait(PATIENCE)
        finally:
            threading.settrace(tracing)
            threading.setprofile(profiling)
        assert {"traced work", "work", "profiled call"} <= set(called)

    def test_an_exception_goes_where_those_of_threads_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``threading.excepthook`` gets it, with the thread's name."""
        told: list[Any] = []
        over = threading.Event()

        def hook(arguments: Any) -> None:
            told.append((arguments.exc_type, arguments.thread.name))
            over.set()

        monkeypatch.setattr(threading, "excepthook", hook)
        start_thread(lambda: 1 / 0, "requests_cc_token x")
        assert over.wait(PATIENCE)
        assert told == [(ZeroDivisionError, "requests_cc_token x")]


on_linux = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="elsewhere nobody can tell when a thread is gone"
)


class SlowEnd:
    """Makes threads take their time after their last line of Python, as one does that waits for OpenSSL's lock.

    By a key of the C library's own, whose destructor sleeps: no Python runs in it.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._key = ctypes.c_uint()
        destructor = ctypes.cast(self._library.usleep, ctypes.c_void_p)
        assert self._library.pthread_key_create(ctypes.byref(self._key), destructor) == 0

    def begin(self, seconds: float) -> None:
        """Have the thread that calls this end so slowly."""
        self._library.pthread_setspecific(self._key, ctypes.c_void_p(int(seconds * 1e6)))

    def close(self) -> None:
        self._library.pthread_key_delete(self._key)


@pytest.fixture
def slow_end() -> Iterator[SlowEnd]:
    slow = SlowEnd()
    yield slow
    slow.close()


def ending(work: Callable[[], object]) -> int:
    """Start a thread with this work; its number, once the work is done and the thread is about to end."""
    numbers: list[int] = []

    def noted() -> None:
        work()
        numbers.append(threading.get_native_id())

    start_thread(noted, "requests_cc_token of the test")
    until = time.monotonic() + PATIENCE
    while not numbers or numbers[0] not in threads._ending:
        assert time.monotonic() < until
        os.sched_yield()
    return numbers[0]


def is_there(thread: int) -> bool:
    return Path(f"/proc/self/task/{thread}").exists()


@on_linux
class TestFork:
    def test_it_waits_for_a_thread_that_ends(self, slow_end: SlowEnd) -> None:
        """A thread that has done its work is gone when the process forks, however long its end takes in C."""
        thread = ending(lambda: slow_end.begin(0.05))
        assert is_there(thread)
        pid = fork()
        if pid == 0:
            os._exit(0)
        assert not is_there(thread)
        assert os.waitpid(pid, 0)[1] == 0
        assert thread not in threads._ending

    def test_what_comes_before_a_fork_waits_for_it_too(self, slow_end: SlowEnd) -> None:
        """The wait by itself: it returns once the thread is gone, and has forgotten it."""
        thread = ending(lambda: slow_end.begin(0.3))
        assert is_there(thread)
        threads.wait_for_ends()
        assert not is_there(thread)
        assert thread not in threads._ending

    def test_a_thread_that_still_ends_stays_noted_when_another_one_ends(self) -> None:
        """The next fork waits for both."""
        noted, gate = threading.Event(), threading.Event()

        def work() -> None:
            threads.note_end()
            numbers.append(threading.get_native_id())
            noted.set()
            gate.wait(PATIENCE)

        numbers: list[int] = []
        over = started(work)
        assert noted.wait(PATIENCE)
        threads.note_end()
        here = threading.get_native_id()
        assert {numbers[0], here} <= threads._ending
        threads._ending.discard(here)
        gate.set()
        assert over.wait(PATIENCE)

    def test_it_does_not_wait_without_a_bound(self, slow_end: SlowEnd, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread whose end hangs in C holds a fork up for a while only, and the next fork not at all."""
        monkeypatch.setattr(threads, "END_WITHIN", 0.02)
        thread = ending(lambda: slow_end.begin(3.0))
        in_child(lambda: None)
        assert is_there(thread)
        monkeypatch.setattr(threads, "END_WITHIN", PATIENCE)
        began = time.monotonic()
        in_child(lambda: None)
        assert is_there(thread), f"waited for {time.monotonic() - began} s"

    def test_it_does_not_wait_for_threads_at_work(self) -> None:
        """A fetch under way holds no fork up."""
        gate = threading.Event()
        over = started(gate.wait)
        in_child(lambda: None)
        assert not over.is_set()
        gate.set()
        assert over.wait(PATIENCE)

    def test_a_thread_that_forks_at_its_own_end_does_not_wait_for_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a finalizer does there, for example."""
        monkeypatch.setattr(threads, "END_WITHIN", PATIENCE)
        took: list[float] = []

        def work() -> None:
            threads.note_end()
            began = time.monotonic()
            in_child(lambda: None)
            took.append(time.monotonic() - began)

        assert started(work).wait(2 * PATIENCE)
        assert took
        assert took[0] < PATIENCE

    def test_several_threads_may_fork_at_once(self) -> None:
        """None waits for another one that forks."""
        # In a process of its own, where filelock is not: it refuses a fork while another thread forks.
        forking = """
import os, threading, requests_cc_token.threads as threads

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

ended = threading.Event()
threads.start_thread(ended.set, "of the test")
ended.wait()
forking = [threading.Thread(target=fork) for _ in range(8)]
for thread in forking:
    thread.start()
for thread in forking:
    thread.join()
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", forking], timeout=PATIENCE, check=False)
        assert done.returncode == 0

    def test_what_is_noted_of_threads_does_not_grow(self) -> None:
        """A process that never forks keeps a number or two, however many fetches it makes."""
        for _ in range(20):
            thread = ending(lambda: None)
            until = time.monotonic() + PATIENCE
            while is_there(thread):
                assert time.monotonic() < until
        ending(lambda: None)
        assert len(threads._ending) <= 3

    @pytest.mark.parametrize("kind", KINDS)
    def test_a30_a_fork_at_the_end_of_a_fetch_leaves_no_child_behind(self, kind: str) -> None:
        """Signatures and TLS connections of fetches that have just ended freeze no child.

        ``python -m tests.fork_storm --forks 10000`` runs the whole of it.
        """
        assert storm(kind, int(os.environ.get("FORKS", "25"))) == 0
