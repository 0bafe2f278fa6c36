"""The samples of a fleet as they stand: a cron job, a Celery worker, Redis by Sentinel and as a cluster."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.testing import SharedTokenCacheContract

from .fleet.processes import PATIENCE, ROOT, process
from .pytest_runs import run_pytest
from .redis_groups import Cluster, Watched
from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it

SAMPLES = ROOT / "docs" / "samples"
#: Starts of the cron job, starts of the samples with a client of their own at most, and tasks for Celery.
RUNS, MOST_RUNS, TASKS = 5, 10, 12

Job = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with TokenService() as tokens:
        tokens.add_client("m2m.short", "secret", scopes="api")
        yield tokens


@pytest.fixture
def api(tokens: TokenService) -> Iterator[ProtectedApi]:
    with ProtectedApi(tokens) as api:
        yield api


@pytest.fixture
def job(tokens: TokenService, api: ProtectedApi, tmp_path: Path) -> Job:
    """Runs the cron job as a process of its own, with its secret in a file or as a credential of systemd."""
    config = (SAMPLES / "cron.toml").read_text(encoding="utf-8")
    for printed, here in (
        ('"file:///var/lib/worker/tokens"', f'"{(tmp_path / "tokens").as_uri()}"\ntimeout = {PATIENCE}'),
        ("/etc/worker/client-secret", str(tmp_path / "client-secret")),
        ("https://demo.duendesoftware.com/connect/token", tokens.token_endpoint),
        ("https://demo.duendesoftware.com/api/", api.base_url),
    ):
        assert printed in config
        config = config.replace(printed, here)
    secret = tmp_path / "client-secret"
    secret.touch(0o600)
    secret.write_text("secret\n", encoding="utf-8")
    unit = (SAMPLES / "cron.service").read_text(encoding="utf-8")
    (credential,) = re.findall(r"^LoadCredential=([^:]+):/etc/worker/client-secret$", unit, re.MULTILINE)
    of_a_credential = config.replace(f'file = "{secret}"', f'credential = "{credential}"')
    (tmp_path / "file.toml").write_text(config, encoding="utf-8")
    (tmp_path / "credential.toml").write_text(of_a_credential, encoding="utf-8")

    def run(kind: str) -> subprocess.CompletedProcess[str]:
        environment = {"REQUESTS_CC_TOKEN_CONFIG": str(tmp_path / f"{kind}.toml")}
        if kind == "credential":
            environment["CREDENTIALS_DIRECTORY"] = str(tmp_path)
        return subprocess.run(
            [sys.executable, str(SAMPLES / "cron.py")],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


@pytest.mark.parametrize("kind", ["file", "credential"])
def test_a_cron_job_needs_one_token(tokens: TokenService, api: ProtectedApi, job: Job, kind: str) -> None:
    """A script started again and again, each time a new process, causes one token request."""
    for _ in range(RUNS):
        done = job(kind)
        assert (done.returncode, done.stderr) == (0, "")
        assert "m2m.short" in done.stdout
    assert len(api.requests) == RUNS
    assert len(tokens.requests) == 1


def test_a_cron_job_says_whether_a_later_run_may_go_well(
    tokens: TokenService, api: ProtectedApi, job: Job, tmp_path: Path
) -> None:
    """Its exit code is 1 where the API answers with an error, 78 where the secret is refused, 75 in an outage."""
    api.stop()
    done = job("file")
    assert (done.returncode, done.stderr.splitlines()[0][:8]) == (1, "the API:")
    shutil.rmtree(tmp_path / "tokens")
    (tmp_path / "client-secret").write_text("another", encoding="utf-8")
    done = job("credential")
    assert (done.returncode, done.stdout) == (os.EX_CONFIG, "")
    assert "answered 401 invalid_client" in done.stderr
    place = urlsplit(tokens.token_endpoint)
    tokens.stop()
    with socket.socket() as held:  # or a server of another test may get the port, and answer
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((place.hostname, place.port))
        done = job("credential")
    assert (done.returncode, done.stdout) == (os.EX_TEMPFAIL, ""), done.stderr
    assert "could not be connected to" in done.stderr
    assert "Traceback" not in done.stderr


def check_shared(sample: str, store: dict[str, str], tokens: TokenService, api: ProtectedApi) -> None:
    """Each run of the sample is a process that calls the API; sooner or later one has the token of an earlier one.

    On a machine that is busy enough the store does not answer in time, and a run goes on with a token of its own.
    """
    environment = {
        "TOKEN_ENDPOINT": tokens.token_endpoint,
        "API_URL": api.base_url,
        "M2M_SECRET": "secret",
        **store,
    }
    for number in range(1, MOST_RUNS + 1):
        with process("-W", "error", str(SAMPLES / sample), environment=environment) as run:
            assert "m2m.short" in run.hear()
            assert run.wait() == 0
        assert len(api.requests) == number
        if len(tokens.requests) < number:
            return
    raise AssertionError(f"{MOST_RUNS} runs of {sample} shared no token")


def test_a_master_that_sentinels_name(tokens: TokenService, api: ProtectedApi) -> None:
    """Processes that ask Sentinels for the master share a token, though the Sentinel that is named first is gone."""
    with Watched() as store:
        addresses = " ".join(f"{host}:{port}" for host, port in store.addresses)
        store.sentinels[0].kill()
        check_shared("redis_sentinel.py", {"SENTINELS": addresses}, tokens, api)


def test_a_cluster(tokens: TokenService, api: ProtectedApi) -> None:
    """Processes that know two nodes of a cluster share a token, wherever in it that is."""
    with Cluster() as store:
        nodes = " ".join(f"127.0.0.1:{node.port}" for node in store.nodes[:2])
        check_shared("redis_cluster.py", {"REDIS_NODES": nodes}, tokens, api)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork pool needs fork")
def test_a_celery_pool_shares_one_token(tokens: TokenService, api: ProtectedApi, tmp_path: Path) -> None:
    """A prefork pool whose processes live for one task each, with Redis as its broker, causes one token request."""
    if importlib.util.find_spec("celery") is None:
        pytest.skip("NO CELERY: pip install celery")
    sample = (SAMPLES / "celery_worker.py").read_text(encoding="utf-8")
    assert "RedisTokenCache(redis_url)" in sample
    patient = sample.replace("RedisTokenCache(redis_url)", f"RedisTokenCache(redis_url, timeout={PATIENCE})")
    (tmp_path / "celery_worker.py").write_text(patient, encoding="utf-8")
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


def test_the_cache_over_sqlite_keeps_the_contract(tmp_path: Path) -> None:
    """The example of a shared cache of one's own passes the contract that stands in the same file, run by pytest."""
    sample = shutil.copy(SAMPLES / "sqlite_cache.py", tmp_path)
    done = run_pytest(tmp_path, "--rootdir", tmp_path, sample, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
    tests = [name for name in dir(SharedTokenCacheContract) if name.startswith("test_")]
    assert f"{len(tests) + 3} passed" in done.stdout
