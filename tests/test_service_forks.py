"""Forked children and the end of the interpreter, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from requests_cc_token import AccessTokenManagement, TokenRequestError
from requests_cc_token.events import TokenEvent
from requests_cc_token.slots import MAX_HANGING
from requests_cc_token.testing import ManualClock

from .fetch_threads import FetchThreads
from .scripted_server import PATIENCE, Request, ScriptedServer, answer, gated, hang, token_answer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform"),
    # Forking while threads run is what these tests are about.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]

#: Forks of the marathon in a usual run; ``FORKS=10000`` runs the full one.
FORKS = int(os.environ.get("FORKS", "100"))


def in_child(call: Callable[[], Any]) -> int:
    """Fork, call, and give the child's pid; the child exits 0 if the call returned a true value."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(20)  # a child that hangs is killed, and its exit status says so
            code = 0 if call() else 2
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(default=token_answer("t")) as server:
        yield server


@pytest.fixture
def management(server: ScriptedServer) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement() as management:
        management.add_client(
            "worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret="T41NT-secret"
        )
        management.add_session("api", base_url=server.url + "api/")
        yield management


def test_r3_a_child_uses_the_token_it_inherited(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """Warm before the fork: the children need no token request of their own."""
    management.service.get_access_token()
    pids = [in_child(lambda: management.service.get_access_token().value == "t") for _ in range(5)]
    assert [exit_code(pid) for pid in pids] == [0] * 5
    assert len(server.requests) == 1


def test_r3_a_fork_during_a_fetch_does_not_hang_the_child(
    server: ScriptedServer, management: AccessTokenManagement
) -> None:
    """The parent's flight is nobody's in the child: it starts its own."""
    release = threading.Event()
    server.script.append(gated(release, token_answer("parent")))
    tokens: list[str] = []
    caller = threading.Thread(target=lambda: tokens.append(management.service.get_access_token().value))
    caller.start()
    server.wait_for_requests(1)
    assert exit_code(in_child(lambda: management.service.get_access_token().value == "t")) == 0
    release.set()
    caller.join(PATIENCE)
    assert tokens == ["parent"]


def test_r3_what_the_service_of_a_child_does(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """After a fork a held lock and a fetch under way are forgotten: the next call has a fetch of its own."""
    release = threading.Event()
    server.script.append(gated(release, token_answer("parent")))
    tokens: list[str] = []
    caller = threading.Thread(target=lambda: tokens.append(management.service.get_access_token().value))
    caller.start()
    server.wait_for_requests(1)
    with management.service._guard._lock:
        management.service.after_fork_in_child()
        assert management.service.get_access_token().value == "t"
    release.set()
    caller.join(PATIENCE)
    assert tokens == ["parent"]
    assert len(server.requests) == 2


def test_r3_fetches_that_hang_in_the_parent_do_not_count_in_the_child(server: ScriptedServer) -> None:
    """As many as may hang at once: the child has none of their threads, so it has a token."""
    release, entered = threading.Event(), threading.Semaphore(0)

    def subscriber(event: TokenEvent) -> None:
        if event.kind == "requested" and not release.is_set():
            entered.release()
            release.wait(PATIENCE)

    def call() -> None:
        with pytest.raises(TokenRequestError):
            ours.service.get_access_token()

    clock = ManualClock()
    ours = AccessTokenManagement(clock=clock)
    ours.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
    ours.subscribe(subscriber)
    for _ in range(MAX_HANGING):
        caller = threading.Thread(target=call)
        caller.start()
        assert entered.acquire(timeout=PATIENCE)
        clock.advance(ours.service._source.max_time + 1)
        caller.join(PATIENCE)
    with pytest.raises(TokenRequestError, match="hang and none has ended"):
        ours.service.get_access_token()

    def child() -> bool:
        release.set()
        assert ours.stats()[0].in_flight == 0
        return ours.service.get_access_token().value == "t"

    assert exit_code(in_child(child)) == 0
    release.set()
    FetchThreads.current.join("w")
    ours.close()


def test_r3_a_fork_while_every_lock_is_held_does_not_hang_the_child(
    server: ScriptedServer, management: AccessTokenManagement
) -> None:
    """Locks held by other threads at the moment of the fork are new in the child."""
    service, cache = cast("Any", management.service), cast("Any", management._cache)
    locks = [service._guard._lock, service._backchannel.servers._lock, cache._lock, management._registry._dropping]
    session = management.make_session("api")
    server.respond = lambda request: None if request.method == "POST" else answer(200, b"ok")
    for lock in locks:
        lock.acquire()
    try:
        pid = in_child(lambda: session.get("x").text == "ok")
    finally:
        for lock in locks:
            lock.release()
    assert exit_code(pid) == 0


def test_r3_no_socket_is_shared_with_the_parent(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """A child opens connections of its own, to the API and to the token service."""
    server.respond = lambda request: None if request.method == "POST" else answer(200, b"ok")
    session = management.make_session("api")
    assert session.get("x").text == "ok"
    before = server.connections

    def child() -> bool:
        management.service.delete_access_token()
        return session.get("x").text == "ok"

    assert exit_code(in_child(child)) == 0
    assert server.connections == before + 2
    assert session.get("x").text == "ok", "the parent's connection still serves it"
    assert server.connections == before + 2


def run_script(text: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "SECRET": "T41NT"},
    )


SETUP = """
    import sys, threading
    from requests_cc_token import AccessTokenManagement
    management = AccessTokenManagement()
    management.add_client("w", token_endpoint=sys.argv[1], client_id="m", client_secret={"env": "SECRET"})
"""


MANY_FORKS = """
    import os, signal
    FORKS = int(sys.argv[2])
    management.add_session("api", base_url=sys.argv[1].replace("/token", "/api/"))
    session = management.make_session("api")
    stop = threading.Event()
    failures = []

    def traffic():
        try:
            while not stop.is_set():
                management.service.delete_access_token()
                session.get("x")
        except BaseException as error:
            failures.append(error)

    def fork():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.alarm(20)  # a child that hangs is killed, and its exit status says so
                code = 0 if management.service.get_access_token().value else 2
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    threads = [threading.Thread(target=traffic, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = {fork() for _ in range(FORKS)}
    stop.set()
    for thread in threads:
        thread.join(30)
    print(codes, failures, any(thread.is_alive() for thread in threads))
    """


def test_r3_many_forks_under_traffic(server: ScriptedServer) -> None:
    """Threads fetch and call while the process forks again and again: no child hangs.

    In a process of its own: a fork of this one, which has run tests before, copies hundreds of megabytes.
    """
    numbers = iter(range(10**9))

    def respond(request: Request) -> Any:
        return token_answer(f"t{next(numbers)}", 3600) if request.method == "POST" else answer(200, b"ok")

    server.respond = respond
    done = run_script(SETUP + MANY_FORKS, server.token_endpoint, str(FORKS), timeout=max(240, FORKS))
    assert (done.returncode, done.stdout) == (0, "{0} [] False\n"), done.stderr


def test_r5_the_interpreter_ends_during_a_fetch(server: ScriptedServer) -> None:
    """A program whose main thread ends while a fetch hangs exits at once and says nothing on stderr."""
    server.default = hang
    done = run_script(
        SETUP
        + """
    from requests_cc_token import TokenRequestTimeout
    try:
        management.service.get_access_token(timeout=0.05)
    except TokenRequestTimeout:
        print("timeout")
    """,
        server.token_endpoint,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "timeout\n", "")


def test_r5_a_token_can_be_had_while_the_interpreter_ends(server: ScriptedServer) -> None:
    """An atexit function still gets a token, or a named error; nothing hangs and no traceback is printed."""
    done = run_script(
        """
    import atexit, sys
    def last_words():
        from requests_cc_token import CCTokenError
        try:
            print(management.service.get_access_token().value)
        except CCTokenError as error:
            print(type(error).__name__)
    atexit.register(last_words)
    """
        + SETUP,
        server.token_endpoint,
    )
    assert done.returncode == 0
    assert done.stdout in ("t\n", "TokenRequestError\n", "TokenEndpointConnectionError\n")
    assert done.stderr == ""


BARE = """
    import os, pwd, sys, tempfile, _thread, threading

    def nobody(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    def no_thread(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    pwd.getpwuid = nobody
    for name in ("HOME", "XDG_CACHE_HOME", "NETRC"):
        os.environ.pop(name, None)
    from requests_cc_token import AccessTokenManagement, ConfigurationError, FileTokenCache
    try:
        FileTokenCache()
    except ConfigurationError as error:
        print("no home" in str(error))
    with tempfile.TemporaryDirectory() as folder:
        management = AccessTokenManagement(cache=FileTokenCache(folder, timeout=30))
        management.add_client("w", token_endpoint=sys.argv[1], client_id="m", client_secret={"env": "SECRET"})
        _thread.start_new_thread = threading._start_new_thread = no_thread
        threading._start_joinable_thread = no_thread
        print(management.service.get_access_token().value)
"""


def test_f50_a_process_that_has_next_to_nothing(server: ScriptedServer) -> None:
    """Neither home nor passwd entry nor a thread to be had: a named error for the default store, and a token."""
    done = run_script(BARE, server.token_endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nt\n", "")


def test_r5_the_interpreter_ends_during_a_background_renewal(server: ScriptedServer) -> None:
    """A renewal nobody waits for does not keep the process, and its end is silent."""
    server.script.append(token_answer("t", 3600, refresh_in=0.001))
    server.default = hang
    done = run_script(
        SETUP
        + """
    first = management.service.get_access_token()
    while not any(t.name == "requests_cc_token w" for t in threading.enumerate()):
        management.service.get_access_token()
    print("ends")
    """,
        server.token_endpoint,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


def test_an_interrupt_leaves_the_fetch_to_the_others(server: ScriptedServer) -> None:
    """Ctrl-C in a waiting main thread raises KeyboardInterrupt there at once, not after the fetch."""
    server.default = hang
    root = Path(__file__).resolve().parent.parent
    script = textwrap.dedent(SETUP) + textwrap.dedent(
        """
        try:
            management.service.get_access_token()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, server.token_endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "SECRET": "T41NT"},
    )
    server.wait_for_requests(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
