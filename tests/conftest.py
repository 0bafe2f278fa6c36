"""What the tests share: the embedded services, a management of them, and a machine without settings of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import requests_cc_token
from requests_cc_token import AccessTokenManagement
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest_conformance import pytest_collection_modifyitems, pytest_terminal_summary  # noqa: F401 - hooks
from .fetch_threads import fetch_threads as fetch_threads
from .scripted_server import ScriptedServer
from .skipping_clock import SkippingClock
from .taint import pytest_configure as pytest_configure

#: Has what form encoding changes and what it leaves alone.
SECRET = "T41NT+b c/d=%41&é~*"


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background ignores Ctrl-C for them, and so would the processes they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if sys.dont_write_bytecode:
    # Where no bytecode is wanted beside the sources, hundreds of processes would compile all of the package anew.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    del os.environ["PYTHONDONTWRITEBYTECODE"]


# How fast an example is made and tried depends on what else the machine does; everything else stays as Hypothesis has
# it, be it at a desk or in CI.
settings.register_profile("however busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("however busy")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite on all processors; whoever names a file or ``-n`` gets what was asked for.

    By one worker more than there are processors, for some tests wait for servers and processes. Neighbours among the
    tests stay together, so that what a module shares is made once: ``worksteal``.
    """
    option = config.option
    is_a_worker = "PYTEST_XDIST_WORKER" in os.environ
    if not is_a_worker and getattr(option, "numprocesses", 0) is None and not option.file_or_dir:
        option.numprocesses = int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or _processors() + 1)
        option.dist = "worksteal"


def _processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither proxies, CA settings nor credentials of the machine reach a test, nor what another test configured."""
    settings = {"requests_ca_bundle", "curl_ca_bundle", "requests_cc_token_config"}
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.lower() in settings:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.setattr(requests_cc_token._default, "management", None)


@pytest.fixture(autouse=True)
def files_are_looked_at_by_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests replace a file and call at once; workers look once in a second. The tests of that second have it back."""
    for module in ("service", "watched_files"):
        monkeypatch.setattr(f"requests_cc_token.{module}.LOOK_EVERY", 0.0)


@pytest.fixture
def token_service() -> Iterator[TokenService]:
    """The embedded token service, with the client ``worker``."""
    with TokenService() as service:
        service.add_client("worker", SECRET, scopes="api reports")
        yield service


@pytest.fixture
def api(token_service: TokenService) -> Iterator[ProtectedApi]:
    """The embedded API, which takes the tokens of ``token_service``."""
    with ProtectedApi(token_service) as api:
        yield api


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A token service that answers what the test tells it to."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def clock() -> SkippingClock:
    """A clock on which the waits between tries take no time."""
    return SkippingClock()


@pytest.fixture
def management(token_service: TokenService, clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    """A management with the client ``worker``."""
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        management.add_client(
            "worker", token_endpoint=token_service.token_endpoint, client_id="worker", client_secret=SECRET
        )
        yield management
