"""The test suite of ``requests`` itself, run with our session class in the place of ``requests.Session``.

``python -m benchmarks.requests_suite PATH``, where PATH is a checkout of requests at the tag of the installed version,
with what its ``requirements-dev.txt`` names installed. Runs the suite three times: as it is, with the short ways alone,
and with the session class that ``make_session`` returns; prints the three results and each test that differs.

As a pytest plugin (``-p benchmarks.requests_suite``) it puts the class in place that ``SESSION_CLASS`` names.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import requests
import requests.sessions

from requests_cc_token.session import AccessTokenSession
from requests_cc_token.shortcuts.adapter import ShortcutAdapter, copy_with_header
from requests_cc_token.shortcuts.session import ShortcutSession

PROJECT = Path(__file__).parent.parent


class Copying(ShortcutAdapter):
    """Sends a copy of each request, as ``AccessTokenAdapter`` does: with a header that it has, for want of a token."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        name, value = next(((n, v) for n, v in request.headers.items() if isinstance(v, str)), ("Accept", "*/*"))
        response = super().send(copy_with_header(request, name, value), *args, **kwargs)
        response.request = request
        return response


class ShortSession(ShortcutSession):
    """A plain session that takes every short way, that of the adapter too."""

    def __init__(self) -> None:
        super().__init__()
        self.mount("https://", Copying())
        self.mount("http://", Copying())


class OurSession(AccessTokenSession):
    """The class of ``make_session``, made without arguments as the suite makes its sessions."""

    def __init__(self) -> None:
        super().__init__("http://localhost/", timeout=None)
        self.mount("https://", Copying())
        self.mount("http://", Copying())


CLASSES: dict[str, Any] = {"requests": None, "short ways": ShortSession, "make_session": OurSession}


def pytest_configure() -> None:
    """Put the class in place before the suite imports ``requests``."""
    replacement = CLASSES[os.environ.get("SESSION_CLASS", "requests")]
    if replacement is not None:
        requests.Session = requests.sessions.Session = replacement  # type: ignore[misc]


def run(suite: Path, name: str, arguments: list[str]) -> tuple[str, dict[str, str]]:
    """The last line of a run, and the outcome of each test that did not pass."""
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.requests_suite", "-q", "-rfEsx", "tests", *arguments]
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "SESSION_CLASS": name, "PYTHONPATH": path}
    ran = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines() or [ran.stderr]
    outcomes = {}
    for line in lines:
        found = re.match(r"(FAILED|ERROR|XFAIL) (\S+)(.*)", line)
        if found:
            outcomes[found[2]] = f"{found[1]}{found[3]}"
    return lines[-1], outcomes


def main() -> int:
    """Run the suite, compare, and say so; 0 if every class gives what ``requests.Session`` gives."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.requests_suite", description=__doc__.splitlines()[0])
    parser.add_argument("suite", type=Path, help="a checkout of requests at the installed version's tag")
    parser.add_argument("arguments", nargs="*", help="further arguments for pytest")
    options = parser.parse_args()
    print(f"requests {metadata.version('requests')}, Python {sys.version.split()[0]}")
    expected: dict[str, str] = {}
    differ = False
    for name in CLASSES:
        summary, outcomes = run(options.suite, name, options.arguments)
        print(f"{name:13} {summary}")
        if name == "requests":
            expected = outcomes
            continue
        for test in sorted(expected.keys() | outcomes.keys()):
            if expected.get(test, "passed").split()[0] != outcomes.get(test, "passed").split()[0]:
                differ = True
                print(f"  {test}: {outcomes.get(test, 'passed')} (requests.Session: {expected.get(test, 'passed')})")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
