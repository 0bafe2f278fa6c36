"""The pytest plugin: its fixtures in a test suite of a user's, each in a pytest of its own."""

from __future__ import annotations

import configparser
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from .pytest_runs import run_pytest

ROOT = Path(__file__).parent.parent
PLUGIN = "pytest_requests_cc_token"

#: A module of the user's, as it is in production.
WORKER = """
from requests_cc_token import AccessTokenManagement

def make(token_endpoint, base_url, **options):
    management = AccessTokenManagement(**options)
    management.add_client("worker", token_endpoint=token_endpoint, client_id="worker", client_secret="secret")
    management.add_session("api", base_url=base_url)
    return management.make_session("api")
"""


def run_with_plugin(folder: Path, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest over these files, with the plugin."""
    for name, text in {"worker": WORKER, **files}.items():
        (folder / f"{name}.py").write_text(text)
    return run_pytest(folder, *by_name(), *options)


def by_name() -> list[str]:
    """How pytest loads the plugin in an environment that was installed before there was an entry point."""
    installed = any(point.value == PLUGIN for point in importlib.metadata.entry_points(group="pytest11"))
    return [] if installed else ["-p", PLUGIN]


def test_the_distribution_names_it() -> None:
    """setup.cfg has the entry point, and the module that it names is packed."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert config["options.entry_points"]["pytest11"].split() == ["requests_cc_token", "=", PLUGIN]
    assert config["options"]["py_modules"] == PLUGIN
    assert (ROOT / f"{PLUGIN}.py").exists()


def test_the_fixtures_are_there(tmp_path: Path) -> None:
    """A test needs no import for them, and the clock that it moves expires the token for worker and API."""
    done = run_with_plugin(
        tmp_path,
        test_worker="""
import worker

def test_a_job(token_service, token_clock, fake_api):
    fake_api.respond("orders", ["one"])
    session = worker.make(token_service.token_endpoint, fake_api.base_url, clock=token_clock)
    assert session.get("orders").json() == ["one"]
    token_service.assert_requests(1)
    token_clock.advance(3600)
    token_service.fail_next(503, times=2)
    assert session.get("orders").ok
    token_service.assert_requests(4)

def test_another_job(token_service, fake_api):
    assert (token_service.requests, fake_api.requests) == ([], [])
""",
    )
    assert "2 passed" in done.stdout, done.stdout


def test_a_failed_assertion_says_what_was_sent(tmp_path: Path) -> None:
    """The report shows the test's line and the token requests, and no line of ours."""
    done = run_with_plugin(
        tmp_path,
        test_worker="""
import worker

def test_a_job(token_service, fake_api):
    worker.make(token_service.token_endpoint, fake_api.base_url).get("orders")
    token_service.assert_requests(2)
""",
    )
    assert "1 failed" in done.stdout
    assert ">   " in done.stdout
    assert "    token_service.assert_requests(2)" in done.stdout
    assert "AssertionError: the token service got 1 requests, not 2:" in done.stdout
    assert "1. worker (client_secret_basic) grant_type=client_credentials: 200" in done.stdout
    assert "steering.py" not in done.stdout


def test_fixtures_of_the_users_win(tmp_path: Path) -> None:
    """A fixture of the same name in a module or a conftest.py takes the place of ours, and fake_api uses it."""
    done = run_with_plugin(
        tmp_path,
        conftest="""
import pytest

@pytest.fixture
def token_service():
    return "his"
""",
        test_worker="""
import pytest

@pytest.fixture
def fake_api():
    return "hers"

def test_both(token_service, fake_api):
    assert (token_service, fake_api) == ("his", "hers")
""",
        test_api="""
def test_ours_with_his(fake_api):
    pass
""",
    )
    assert "1 passed, 1 error" in done.stdout
    assert "TypeError: token_service must have find_token(value); 'his' has not" in done.stdout


def test_who_does_not_use_it_sees_nothing(tmp_path: Path) -> None:
    """A run without the fixtures imports neither the package nor requests, and switches nothing."""
    done = run_with_plugin(
        tmp_path,
        "-W",
        "error",
        test_nothing="""
import sys

def test_nothing(request):
    assert request.config.pluginmanager.is_registered(sys.modules["pytest_requests_cc_token"])
    assert not {"requests", "requests_cc_token", "urllib3"} & set(sys.modules)
""",
    )
    assert "1 passed" in done.stdout, done.stdout


def test_it_costs_the_start_next_to_nothing() -> None:
    """Once pytest is there, importing the plugin takes a small part of what importing pytest took."""
    program = (
        "import time; a = time.process_time(); import pytest; b = time.process_time(); "
        f"import {PLUGIN}; c = time.process_time(); print((c - b) / (b - a))"
    )
    run = [sys.executable, "-c", program]
    ratios = [
        float(subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout)
        for _ in range(3)
    ]
    assert min(ratios) < 0.05, ratios


def test_its_fixtures_are_documented() -> None:
    """The page about tests names each fixture."""
    page = (ROOT / "docs" / "testing-your-worker.md").read_text(encoding="utf-8")
    for name in ("token_service", "token_clock", "fake_api", "with no_waiting()"):
        assert f"`{name}" in page
