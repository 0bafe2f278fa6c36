"""gunicorn with ``--preload`` and uWSGI: sessions made before the workers are forked, first tokens got after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from .conftest import PATIENCE, ROOT, Services, needed
from .worker import SECRET, as_environment

pytestmark = pytest.mark.neighbours

APPLICATION = """
import json, os
from tests.neighbours.worker import WAYS, Place

place = Place(**json.loads(os.environ["PLACE"]))
ways = {name: way(place) for name, way in WAYS.items()}
workers = {name: way.__enter__() for name, way in ways.items()}
for worker in workers.values():
    worker.call()

def application(environ, start_response):
    statuses = [worker.call().status_code for worker in workers.values()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {statuses}".encode()]
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(command: list[str], folder: Path, services: Services, port: int) -> Iterator[str]:
    """The server, once it answers."""
    (folder / "application.py").write_text(APPLICATION)
    environment = {**os.environ, "PLACE": as_environment(services.place), "PYTHONPATH": f"{ROOT}:{folder}"}
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}/"

    def listens() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        assert server.poll() is None, log.read_text()
        return False

    try:
        until(listens)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.mark.parametrize("kind", ["gunicorn", "uwsgi"])
def test_sessions_of_the_parent(services: Services, tmp_path: Path, kind: str) -> None:
    """Both workers use the sessions and the tokens that were there before they were forked."""
    needed("gunicorn" if kind == "gunicorn" else "pyuwsgi")
    port = free_port()
    here = Path(sys.executable).parent
    commands = {
        "gunicorn": [
            *(sys.executable, "-m", "gunicorn", "--preload", "--workers=2", f"--bind=127.0.0.1:{port}"),
            *("--no-control-socket", "application"),
        ],
        "uwsgi": [
            *(shutil.which("uwsgi", path=str(here)) or "uwsgi", f"--http-socket=127.0.0.1:{port}", "--processes=2"),
            *("--enable-threads", "--master", "--module=application", f"--home={here.parent}", "--die-on-term"),
        ],
    }
    with serving(commands[kind], tmp_path, services, port) as url:
        answers = [requests.get(url, timeout=PATIENCE).text.partition(" ") for _ in range(8)]
    assert {text for _, _, text in answers} == {"[200, 200, 200, 200, 200]"}
    # One token for each way, from before the fork.
    assert services.counted[0] == 5


@pytest.fixture
def site(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Django site of the docs with its ``gunicorn.conf.py``, as they are, and a configuration for the services."""
    for name in ("django_site.py", "gunicorn_conf.py"):
        shutil.copy(ROOT / "docs" / "samples" / name, tmp_path)
    (tmp_path / "worker.toml").write_text(
        f"""
        [clients.worker]
        token_endpoint = "{services.tokens.token_endpoint}"
        client_id = "worker"
        client_secret = {{ env = "M2M_SECRET" }}
        [backchannel]
        max_tries = 1
        [sessions.client]
        base_url = "{services.api.base_url}"
        """
    )
    monkeypatch.setenv("M2M_SECRET", SECRET)
    return tmp_path


def gunicorn(port: int, *more: str) -> list[str]:
    """The site under gunicorn, with two workers."""
    needed("gunicorn")
    return [
        *(sys.executable, "-m", "gunicorn", "--config=gunicorn_conf.py", "--workers=2", f"--bind=127.0.0.1:{port}"),
        *("--no-control-socket", *more, "django_site:application"),
    ]


@pytest.mark.parametrize("options", [["--preload"], []])
def test_each_worker_has_its_token_before_the_first_request(
    services: Services, site: Path, options: list[str]
) -> None:
    """By ``post_worker_init``, whether the site is loaded before the fork or after it; no request asks for one."""
    port = free_port()
    with serving(gunicorn(port, *options), site, services, port) as url:
        services.tokens.wait_for_requests(2, PATIENCE)
        assert services.counted == (2, 0)
        assert [requests.get(f"{url}claims", timeout=PATIENCE).status_code for _ in range(8)] == [200] * 8
    assert services.counted == (2, 8)


@pytest.mark.parametrize("options", [["--preload"], []])
def test_the_settings_of_a_site_of_several_files_are_known(services: Services, site: Path, options: list[str]) -> None:
    """Its ``wsgi.py`` says which module they are, and the first token is asked for after that."""
    text = (site / "django_site.py").read_text()
    assert "from_config(settings.API_CONFIG)" in text
    (site / "django_site.py").write_text(
        text.replace("from_config(settings.API_CONFIG)", "from_config(__import__('os').environ['NAMED_BY_WSGI'])")
    )
    (site / "wsgi.py").write_text(
        "import os\nos.environ['NAMED_BY_WSGI'] = 'worker.toml'\nfrom django_site import application as application\n"
    )
    port = free_port()
    command = [*gunicorn(port, *options)[:-1], "wsgi:application"]
    with serving(command, site, services, port):
        services.tokens.wait_for_requests(2, PATIENCE)


def test_a_worker_without_a_token_asks_again(services: Services, site: Path) -> None:
    """A token service that is out of order while the workers start is logged, and ends nothing."""
    services.tokens.fail_always(503)
    port = free_port()
    with serving(gunicorn(port, "--preload"), site, services, port) as url:
        until(lambda: (site / "log").read_text().count("no token yet") == 2)
        services.tokens.recover()
        # Once the pause after the failure is over.
        until(lambda: requests.get(f"{url}claims", timeout=PATIENCE).ok)


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    for _ in range(PATIENCE * 10):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")
