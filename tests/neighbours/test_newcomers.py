"""Suites of a newcomer, who mocks as each library's documentation has it and has never heard of this package.

They are in ``newcomer/``, beside the worker that they test, and run in a pytest of their own.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.pytest_runs import run_pytest

from .conftest import PATIENCE, Services, needed
from .worker import SECRET

pytestmark = pytest.mark.neighbours

SUITES = Path(__file__).parent / "newcomer"

#: How the worker comes by its session.
WAYS = ("session_for", "make_session", "mount", "auth")

#: What an auth object cannot do under requests-mock. Where one session alone is mocked, its token request is not; and
#: while the mocker sends it holds a lock, which a renewal from a response hook, in the thread of a fetch, waits for.
NOT_BY_AUTH = ("session_only", "adapter"), ("expired_token_is_renewed",)

#: What the suites do not need, and what takes longer to load than they run.
WITHOUT_PLUGINS = ("-p", "no:ddtrace", "-p", "no:hypothesispytest", "-p", "no:xdist")


def run(folder: Path, suite: str, environment: dict[str, str], *options: str, without: tuple[str, ...] = ()) -> None:
    """All tests of the suite pass, or all but those named."""
    shutil.copytree(SUITES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    chosen = "-k", " and ".join(f"not test_{name}" for name in without)
    done = run_pytest(
        folder, *WITHOUT_PLUGINS, *options, f"{suite}.py", *chosen, environment=environment, timeout=PATIENCE
    )
    tests = (folder / f"{suite}.py").read_text().count("def test_") - len(without)
    assert f"{tests} passed" in done.stdout, done.stdout[-6000:]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("library", ["responses", "requests-mock", "httpretty", "mocket"])
def test_a_suite_that_mocks(library: str, way: str, tmp_path: Path) -> None:
    """Nobody is there; what the mock does not answer fails."""
    needed(library, urllib3_below=(2, 3) if library == "httpretty" else None)
    where = {"WAY": way}
    if library == "httpretty":
        where |= {"LOGIN_URL": "http://127.0.0.1:8001/connect/token", "API_URL": "http://127.0.0.1:8002/api/"}
    without = NOT_BY_AUTH[0] if (library, way) == ("requests-mock", "auth") else ()
    run(tmp_path, f"with_{library.replace('-', '_')}", where, without=without)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            way,
            marks=pytest.mark.xfail(
                way == "mount", reason="a session of the user's own, whose adapters the mocker replaces", strict=True
            ),
        )
        for way in WAYS
    ],
)
def test_requests_mock_sees_the_token(way: str, tmp_path: Path) -> None:
    """What is sent under a global mocker carries the token, and a refused one is renewed."""
    needed("requests-mock")
    run(tmp_path, "headers_with_requests_mock", {"WAY": way}, without=NOT_BY_AUTH[1] if way == "auth" else ())


@pytest.mark.parametrize(
    ("library", "options", "way"),
    [
        *(("vcrpy", [], way) for way in WAYS),
        *(("pytest-recording", ["--record-mode=once"], way) for way in WAYS),
        # It records one session, and so not the token request of an auth object that the session has.
        *(("betamax", [], way) for way in WAYS if way != "auth"),
    ],
)
def test_a_suite_that_records(
    library: str, options: list[str], way: str, services: Services, tmp_path: Path
) -> None:
    """It records once and passes again when nobody is there any more."""
    needed(library)
    suite = f"with_{library.replace('-', '_')}"
    where = {
        "LOGIN_URL": services.tokens.token_endpoint,
        "API_URL": services.api.base_url,
        "WORKER_SECRET": SECRET,
        "WAY": way,
    }
    run(tmp_path, suite, where, *options)
    services.close()
    run(tmp_path, suite, where, *(["--block-network"] if options else []))


def test_no_line_is_for_us() -> None:
    """The suites name neither this package nor anything of it; the worker alone does."""
    suites = sorted(SUITES.glob("*with_*.py"))
    assert len(suites) == 8
    for suite in suites:
        assert not re.search(r"cc_token|AccessToken|ClientCred|backchannel|inner=", suite.read_text())
