"""Services on loopback, workers of every way, and programs in processes of their own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .worker import CALLS, SECRET, WAYS, Place, Worker, as_environment

ROOT = Path(__file__).parents[2]

#: Seconds after which a program is taken to hang.
PATIENCE = 90

#: From a place to a worker there.
Way = Callable[..., AbstractContextManager[Worker]]


@pytest.fixture(params=WAYS, autouse=False)
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to call an API, the control first."""
    found: Way = WAYS[request.param]
    return found


@dataclass
class Services:
    """A token service and an API on loopback."""

    tokens: TokenService
    api: ProtectedApi

    @property
    def place(self) -> Place:
        """Where they are."""
        return Place(self.tokens.token_endpoint, self.api.base_url)

    @property
    def counted(self) -> tuple[int, int]:
        """Requests that reached the token service and the API."""
        return len(self.tokens.requests), len(self.api.requests)

    def close(self) -> None:
        """Nobody is there any more."""
        self.api.close()
        self.tokens.close()


@pytest.fixture
def services() -> Iterator[Services]:
    """The real thing, in this process."""
    with TokenService() as tokens, ProtectedApi(tokens) as api:
        tokens.add_client("worker", SECRET, scopes="api")
        yield Services(tokens, api)


def configuration(services: Services, folder: Path) -> Path:
    """A configuration file in the folder, with a store that processes share."""
    path = folder / "worker.toml"
    path.write_text(
        f"""
        cache = {{ url = "{(folder / "tokens").as_uri()}" }}
        [clients.worker]
        token_endpoint = "{services.tokens.token_endpoint}"
        client_id = "worker"
        client_secret = "{SECRET}"
        [sessions.erp]
        base_url = "{services.api.base_url}"
        """,
        encoding="utf-8",
    )
    return path


def run(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints, in a process of its own; its errors are the test's."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-1000:]
    return done.stdout


def check_every_way(services: Services, prelude: str, **environment: str) -> str:
    """Where ``prelude`` ran first, each way makes its calls with one token request; what the program printed."""
    printed = run(
        f"{prelude}\nfrom tests.neighbours.worker import main\nmain()",
        PLACE=as_environment(services.place),
        **environment,
    )
    lines = [line for line in printed.splitlines() if line.startswith('{"plain"')]
    outcome: dict[str, Any] = json.loads(lines[-1])
    assert outcome == {name: [200] * CALLS for name in WAYS}
    assert services.counted == (len(WAYS), CALLS * len(WAYS))
    return printed


def needed(distribution: str, *, urllib3_below: tuple[int, int] | None = None) -> None:
    """Skip the test, by the library's name, where it is not installed or works with older versions of urllib3 only."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed here")
    found = tuple(map(int, importlib.metadata.version("urllib3").split(".")[:2]))
    if urllib3_below is not None and found >= urllib3_below:
        pytest.skip(f"{distribution} needs urllib3 below {urllib3_below}: see tox -e neighbours-older")
