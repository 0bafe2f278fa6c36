"""The samples of a fleet as they stand: a cron job, a Celery worker."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .fleet.processes import PATIENCE, ROOT, process
from .redis_server import RedisServer

SAMPLES = ROOT / "docs" / "samples"
#: Starts of the cron job, and tasks for Celery.
RUNS, TASKS = 50, 24


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with TokenService() as tokens:
        tokens.add_client("m2m.short", "secret", scopes="api")
        yield tokens


@pytest.fixture
def api(tokens: TokenService) -> Iterator[ProtectedApi]:
    with ProtectedApi(tokens) as api:
        yield api


def test_a_cron_job_needs_one_token(tokens: TokenService, api: ProtectedApi, tmp_path: Path) -> None:
    """A script started fifty times, each time a new process, causes one token request."""
    config = (SAMPLES / "cron.toml").read_text(encoding="utf-8")
    for printed, here in (
        ("file:///var/lib/worker/tokens", (tmp_path / "tokens").as_uri()),
        ("https://demo.identityserver.io/connect/token", tokens.token_endpoint),
        ("https://demo.identityserver.io/api/", api.base_url),
    ):
        assert printed in config
        config = config.replace(printed, here)
    path = tmp_path / "cron.toml"
    path.write_text(config, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REQUESTS_CC_TOKEN_CONFIG": str(path),
        "M2M_SECRET": "secret",
    }
    for _ in range(RUNS):
        done = subprocess.run(
            [sys.executable, str(SAMPLES / "cron.py")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "m2m.short" in done.stdout
    assert len(api.requests) == RUNS
    assert len(tokens.requests) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork pool needs fork")
def test_a_celery_pool_shares_one_token(tokens: TokenService, api: ProtectedApi, tmp_path: Path) -> None:
    """A prefork pool whose processes live for one task each, with Redis as its broker, causes one token request."""
    if importlib.util.find_spec("celery") is None:
        pytest.skip("NO CELERY: pip install celery")
    shutil.copy(SAMPLES / "celery_worker.py", tmp_path)
    with RedisServer() as server:
        environment = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
            "REDIS_URL": server.url,
            "TOKEN_ENDPOINT": tokens.token_endpoint,
            "API_URL": api.base_url,
            "M2M_SECRET": "secret",
        }
        worker_arguments = ["-m", "celery", "-A", "celery_worker", "worker", "--pool", "prefork", "--concurrency", "4"]
        with (
            process(*worker_arguments, "--max-tasks-per-child", "1", environment=environment, cwd=tmp_path),
            process("-m", "tests.fleet.celery_client", str(TASKS), environment=environment) as client,
        ):
            answers = client.hear_all("answer", TASKS)
            assert client.wait() == 0
    assert all("m2m.short" in answer for answer in answers)
    assert len(api.requests) == TASKS
    assert len(tokens.requests) == 1
