"""What the documentation says runs, as it is printed.

Each page is one program: its ``python`` blocks, unchanged, in order, in a process and a folder of their own.

* The hosts of the examples are real to that process: an https proxy on loopback (``HTTPS_PROXY``) leads all of them to
  the embedded token service and API, under a certificate of an authority made for the run (``REQUESTS_CA_BUNDLE``).
  Both are how requests is told about proxies and authorities anywhere; no line of the examples is changed.
* A block that begins with a comment naming a file (``# worker.toml``) is that file.
* A ``toml`` block, named or not, is a configuration that loads. Its absolute paths are below the test's own folder.
* ``export NAME=value`` in an ``sh`` block holds for the page.
* ``<!-- not executed: why -->`` above a block leaves it out, ``<!-- executed with: module -->`` where there is no such
  module; tests/hosts runs those with it.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
import select
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
import requests
import trustme
from cryptography.fernet import Fernet

import requests_cc_token
from benchmarks import pictures
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.loopback import LoopbackServer
from requests_cc_token.demo.token_service import TokenRequest, TokenService

from .redis_server import RedisServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SAMPLES = DOCS / "samples"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

#: The hosts that examples may name.
HOSTS = ("demo.duendesoftware.com", "example.com", "*.example.com")
#: The clients that examples may use: id, secret, scopes.
CLIENTS = (("m2m.short", "secret", "api read write"), ("worker", "secret", "api read write"))
#: Seconds after which a program of the docs is taken to hang.
PATIENCE = 60


# The world that the examples live in


class World:
    """The token service, the API, and the proxy through which a process takes them for the hosts of the examples."""

    def __init__(self, folder: Path) -> None:
        self.tokens = TokenService()
        self.api = ProtectedApi(self.tokens)
        for client_id, secret, scopes in CLIENTS:
            self.tokens.add_client(client_id, secret, scopes=scopes)
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS).configure_cert(context)
        self.ca_bundle = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_bundle))
        self.web = LoopbackServer(self._answer, ssl_context=context)
        self.proxy = _Proxy(self.web.port)
        threading.Thread(target=self.proxy.serve_forever, args=(0.02,), daemon=True).start()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        """Endpoints of the token service are known by their path; whatever the API does not have, it echoes."""
        path = environ["PATH_INFO"]
        if path.endswith("/token"):
            environ["PATH_INFO"] = "/connect/token"
        elif not path.startswith(("/connect/", "/.well-known/")):
            if not path.startswith("/api/"):
                environ["PATH_INFO"] = "/api/echo"
            return self.api._app(environ, start_response)
        return self.tokens._app(environ, start_response)

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """The environment of a process that is to take the hosts of the examples for real."""
        kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
        kept.pop("REQUESTS_CC_TOKEN_CONFIG", None)
        return {
            **kept,
            "HOME": str(home),
            "HTTPS_PROXY": f"http://127.0.0.1:{self.proxy.server_address[1]}",
            "REQUESTS_CA_BUNDLE": str(self.ca_bundle),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "M2M_SECRET": "secret",
            **more,
        }

    def close(self) -> None:
        self.proxy.shutdown()
        self.proxy.server_close()
        for server in (self.web, self.api, self.tokens):
            server.close()


class _Proxy(socketserver.ThreadingTCPServer):
    """An https proxy (RFC 9110 section 9.3.6) for which every host is the same port on loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        self.port = port
        #: The hosts that were asked for.
        self.hosts: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Tunnel)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that end break their connections."""


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Proxy
    # What the client sends after its CONNECT must not be read ahead into a buffer.
    rbufsize = 0

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        if method != b"CONNECT":
            self.wfile.write(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n")
            return
        self.server.hosts.add(target.decode().rpartition(":")[0])
        with socket.create_connection(("127.0.0.1", self.server.port)) as web:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            other = {self.connection: web, web: self.connection}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    piece = ready.recv(65536)
                    if not piece:
                        return
                    other[ready].sendall(piece)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture
def token_requests(world: World) -> list[TokenRequest]:
    """The token requests of this test."""
    world.tokens.requests.clear()
    return world.tokens.requests


# Pages


@dataclass
class Page:
    """What is to be run of one page."""

    #: The program: as many lines as the page has, so that a traceback names the page's lines.
    program: str = ""
    files: dict[str, str] = field(default_factory=dict)
    #: The ``toml`` blocks, by the lines at which they begin.
    configurations: dict[int, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


FENCE = re.compile(
    r"(?P<skip>^<!-- not executed: \S[^\n]*-->\n+)?(?:^<!-- executed with: (?P<needs>[\w.]+) -->\n+)?"
    r"^```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def read_page(path: Path) -> Page:
    page = Page()
    text = path.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in FENCE.finditer(text):
        body = block["body"]
        named = re.match(r"# ([\w/.-]+\.\w+)\n", body)
        first = text.count("\n", 0, block.start("body"))
        if block["skip"] or (block["needs"] and not _is_installed(block["needs"])):
            continue
        if block["language"] == "toml":
            page.configurations[first + 1] = body
        if named:
            page.files[named[1]] = body
        elif block["language"] == "python":
            lines[first : first + body.count("\n")] = body.splitlines()
        elif block["language"] == "sh":
            page.environment.update(re.findall(r"^export (\w+)=(\S+)$", body, re.MULTILINE))
    page.program = "\n".join(lines) + "\n"
    return page


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # Not even the package that it is in.
        return False


def runnable() -> list[Path]:
    return [path for path in PAGES if read_page(path).program.strip()]


def run(program: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the docs; a warning in it is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", *program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("path", runnable(), ids=lambda path: path.name)
def test_the_code_of_a_page_runs_as_printed(path: Path, world: World, tmp_path: Path) -> None:
    """The python blocks of a page, executed in order, end without an error."""
    page = read_page(path)
    for name, content in page.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    program = tmp_path / path.with_suffix(".py").name
    program.write_text(page.program, encoding="utf-8")

    done = run([str(program)], tmp_path, world.environment(tmp_path, **page.environment))

    assert done.returncode == 0, f"{path.name} (the line numbers are the page's):\n{done.stdout}{done.stderr}"


def configurations() -> list[Any]:
    found = [(path, line, body) for path in PAGES for line, body in read_page(path).configurations.items()]
    return [pytest.param(body, id=f"{path.name}:{line}") for path, line, body in found]


@pytest.mark.parametrize("toml", configurations())
def test_a_configuration_loads_as_printed(
    toml: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A toml block is a configuration whose secrets are found where it says; loading it sends nothing."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{world.proxy.server_address[1]}")
    world.proxy.hosts.clear()
    # A key too, so that it may be that of a cache.
    secret = Fernet.generate_key().decode()
    monkeypatch.setenv("M2M_SECRET", secret)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")
    toml = re.sub(r'(?<=["/])/(?=(?:run|var)/)', f"{tmp_path}/", toml)
    for name in re.findall(r'\bfile = "([^"]+)"', toml):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"{secret}\n", encoding="utf-8")
    path = tmp_path / "worker.toml"
    path.write_text(toml, encoding="utf-8")

    with requests_cc_token.AccessTokenManagement.from_config(path) as management:
        for client in management.clients.values():
            assert client.client_secret is not None
            assert client.client_secret.read() == secret
        assert management.clients or "[cache]" in toml
    assert world.proxy.hosts == set()


def test_every_server_has_a_configuration() -> None:
    """Each server of docs/servers.md has one block that loads."""
    page = (DOCS / "servers.md").read_text(encoding="utf-8")
    tested = re.findall(r"^(?:Tested|Not tested)\b", page, re.MULTILINE)
    assert len(read_page(DOCS / "servers.md").configurations) == len(tested) == 7


def test_a_page_that_is_wrong_fails(world: World, tmp_path: Path) -> None:
    """An error in a block of a page is found, and the traceback names the page's line."""
    path = tmp_path / "page.md"
    path.write_text("Text.\n\n```python\nimport requests_cc_token\n\nrequests_cc_token.no_such_name\n```\n")
    program = tmp_path / "page.py"
    program.write_text(read_page(path).program)

    done = run([str(program)], tmp_path, world.environment(tmp_path))

    assert done.returncode == 1
    assert "line 6" in done.stderr


def test_readme_and_quickstart_have_code() -> None:
    """The pages that a newcomer reads first are among those that are run."""
    assert {"README.md", "quickstart.md", "configuration.md"} <= {path.name for path in runnable()}


def test_links_lead_somewhere() -> None:
    """Every relative link of README and the docs is a file, and its anchor a heading."""
    dead = []
    for path in [*PAGES, *(ROOT / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"))]:
        prose = FENCE.sub("", path.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose):
            name, _, anchor = target.partition("#")
            linked = (path.parent / name).resolve() if name else path
            if not linked.exists() or (anchor and anchor not in _anchors(linked)):
                dead.append(f"{path.name}: {target}")
    assert dead == []


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_drawing_is_as_the_command_draws_it(name: str) -> None:
    """The drawings of the docs are what ``python -m benchmarks.pictures`` writes, and a page shows each."""
    assert (DOCS / "_static" / name).read_text(encoding="utf-8") == pictures.PICTURES[name]()
    assert any(f"_static/{name}" in path.read_text(encoding="utf-8") for path in [*PAGES, DOCS / "conf.py"])


@pytest.mark.parametrize("plot", ["outage", "scale", "performance-peers", "performance-environment"])
def test_a_plot_has_the_ground_of_its_page(plot: str) -> None:
    """It has none of its own and no black letters, so it is legible on a light page and on a dark one."""
    drawn = (DOCS / "_static" / f"{plot}.svg").read_text(encoding="utf-8")
    assert re.findall("fill: (?:#ffffff|white)", drawn) == []
    letters = re.findall("<text [^>]*>", drawn)
    assert letters
    assert [each for each in letters if "fill: #" not in each or "fill: #000000" in each] == []


def test_the_reference_names_every_public_name_once() -> None:
    """docs/api.md documents exactly what requests_cc_token exports."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto\w+:: (\w+)(?:\(\))?$", text, re.MULTILINE)
    assert sorted(documented) == sorted(requests_cc_token.__all__)


# Samples


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with the samples, to run them in."""
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@contextlib.contextmanager
def started(program: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process whose output can be followed; it does not outlive the test, and a hang of it fails the test."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *program],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for the end, which must be a clean one; the rest of the output."""
    assert process.stdout is not None
    rest = process.stdout.read()
    assert process.wait() == 0, rest
    return rest


def follow(output: IO[str] | None, pattern: str) -> re.Match[str]:
    """Read lines until one matches."""
    assert output is not None
    seen = ""
    for line in output:
        seen += line
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line matches {pattern!r}:\n{seen}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_worker_works_until_it_is_told_to_stop(
    world: World, samples: Path, token_requests: list[TokenRequest], number: signal.Signals
) -> None:
    """The worker calls the API with one token again and again, and ends cleanly on a signal, amid its pause."""
    environment = world.environment(samples, WORKER_INTERVAL="0.01")
    with started(["worker.py"], samples, environment) as worker:
        for _ in range(3):
            follow(worker.stdout, 'API response: .*"m2m.short"')
        worker.send_signal(number)
        rest = ended(worker)
    assert rest.splitlines()[-1].endswith("Worker stopped")
    assert "Traceback" not in rest
    assert len(token_requests) == 1


def test_the_worker_outlives_an_outage(world: World, samples: Path) -> None:
    """While the API and the token service are down the worker says so, and goes on when they are back."""
    environment = world.environment(samples, WORKER_INTERVAL="0.01")
    world.api.fail_always(503)
    try:
        with started(["worker.py"], samples, environment) as worker:
            follow(worker.stdout, "WARNING No answer: 503")
            world.api.recover()
            follow(worker.stdout, "INFO API response")
            worker.terminate()
            ended(worker)
    finally:
        world.api.recover()


def test_the_threaded_worker_needs_one_token(world: World, samples: Path, token_requests: list[TokenRequest]) -> None:
    """Thirty-two threads of the sample upload everything, with one token request among them."""
    done = run(["threaded_worker.py"], samples, world.environment(samples))

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{sum(range(200))} bytes uploaded\n"
    assert len(token_requests) == 1


def test_three_lines_change_in_the_legacy_script(world: World, samples: Path) -> None:
    """The script before and after differs by three new lines at most, and both print the same report."""
    before_lines, after_lines = (
        (SAMPLES / f"legacy_{name}.py").read_text(encoding="utf-8").splitlines() for name in ("before", "after")
    )
    changes = [line for line in difflib.ndiff(before_lines, after_lines) if line[2:].strip() and '"""' not in line]
    assert [line[0] for line in changes if line[0] in "+-"].count("+") == 3
    assert [line[0] for line in changes if line[0] in "+-"].count("-") == 2

    token = requests.post(
        world.tokens.token_endpoint, auth=("m2m.short", "secret"), data={"grant_type": "client_credentials"}, timeout=10
    ).json()["access_token"]
    before = run(["legacy_before.py"], samples, world.environment(samples, API_TOKEN=token))
    after = run(["legacy_after.py"], samples, world.environment(samples))
    assert (before.returncode, after.returncode) == (0, 0), before.stderr + after.stderr

    def report(text: str) -> list[str]:
        # Apart from what differs between any two tokens: when, and for which scope, they were issued.
        return [line for line in text.splitlines() if line.split()[0] not in ("iat", "nbf", "exp", "scope")]

    assert report(before.stdout) == report(after.stdout) != []


def test_the_legacy_script_fails_as_it_always_did(world: World, samples: Path) -> None:
    """Without a token the script says so in its own words and ends with its own exit code."""
    done = run(["legacy_after.py"], samples, world.environment(samples, M2M_SECRET="wrong"))

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("no report tonight:")
    assert "wrong" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_flask_application_shares_one_token(
    world: World, samples: Path, token_requests: list[TokenRequest]
) -> None:
    """Requests to the Flask sample, served by Flask's own server, are answered from the API with one token."""
    program = ["-m", "flask", "--app", "flask_app.py", "run", "--port", "0"]
    with started(program, samples, world.environment(samples)) as server:
        url = follow(server.stdout, r"Running on (http://127\.0\.0\.1:\d+)")[1]
        # The proxy of the environment is for the process under test.
        with requests.Session() as browser:
            browser.trust_env = False
            for _ in range(3):
                answer = browser.get(f"{url}/claims", timeout=PATIENCE)
                assert answer.status_code == 200, answer.text
                assert {"type": "client_id", "value": "m2m.short"} in answer.json()
            assert len(token_requests) == 1
            world.api.fail_next(503)
            assert browser.get(f"{url}/claims", timeout=PATIENCE).status_code == 502


def test_the_django_site_shares_one_token(world: World, samples: Path, token_requests: list[TokenRequest]) -> None:
    """Requests to the Django sample are answered from the API with one token."""
    (samples / "ask.py").write_text(
        "from django_site import application\n"
        "from django.test import Client\n"
        "for _ in range(3):\n"
        "    answer = Client().get('/claims')\n"
        "    assert answer.status_code == 200, answer.content\n"
        "    assert {'type': 'client_id', 'value': 'm2m.short'} in answer.json()\n"
    )
    done = run(["ask.py"], samples, world.environment(samples))

    assert done.returncode == 0, done.stderr
    assert len(token_requests) == 1


def test_two_pods_are_ready_and_share_one_token(
    world: World, samples: Path, token_requests: list[TokenRequest]
) -> None:
    """pod.py answers the readiness probe and a scrape, shares its token by Redis, and ends cleanly at SIGTERM."""
    secrets = samples / "secrets"
    secrets.mkdir(mode=0o700)
    (samples / "pod.toml").write_text(
        (SAMPLES / "pod.toml").read_text(encoding="utf-8").replace("/run/secrets/worker", str(secrets)),
        encoding="utf-8",
    )
    with RedisServer() as redis, requests.Session() as probe:
        probe.trust_env = False
        contents = {
            "client-secret": "secret", "redis-url": redis.url, "token-cache-key": Fernet.generate_key().decode(),
        }  # fmt: skip
        for name, content in contents.items():
            (secrets / name).write_text(f"{content}\n", encoding="utf-8")
        environment = world.environment(
            samples, REQUESTS_CC_TOKEN_CONFIG=str(samples / "pod.toml"), STATUS_PORT="0", WORKER_INTERVAL="0.01"
        )
        for _ in range(2):
            with started(["pod.py"], samples, environment) as pod:
                port = follow(pod.stdout, r"Status on port (\d+)")[1]
                ready = probe.get(f"http://127.0.0.1:{port}/ready", timeout=PATIENCE)
                assert (ready.status_code, ready.json()) == (200, {"identityserver": "fine"})
                scraped = probe.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).text
                assert 'requests_cc_token_requests_total{audience="",client="identityserver"' in scraped
                pod.terminate()
                assert "Worker stopped" in ended(pod)
    assert len(token_requests) == 1


def test_a_pod_without_a_token_is_not_ready(world: World, samples: Path) -> None:
    """/ready answers 503 while the token service refuses; the process goes on."""
    configuration = (SAMPLES / "worker.toml").read_text(encoding="utf-8")
    (samples / "pod.toml").write_text(configuration, encoding="utf-8")
    environment = world.environment(
        samples, REQUESTS_CC_TOKEN_CONFIG="pod.toml", STATUS_PORT="0", M2M_SECRET="wrong", WORKER_INTERVAL="0.01"
    )
    with requests.Session() as probe, started(["pod.py"], samples, environment) as pod:
        probe.trust_env = False
        follow(pod.stdout, "Not ready: .*invalid_client")
        port = follow(pod.stdout, r"Status on port (\d+)")[1]
        ready = probe.get(f"http://127.0.0.1:{port}/ready", timeout=PATIENCE)
        assert (ready.status_code, ready.json()) == (503, {"identityserver": "failing"})
        pod.terminate()
        ended(pod)


def test_the_manifest_of_the_pod_is_about_its_program_and_its_files() -> None:
    """Port, paths and files of pod.yaml are those of pod.py and pod.toml; the page's Secret has the same files."""
    manifest, program, configuration = (
        (SAMPLES / f"pod.{kind}").read_text(encoding="utf-8") for kind in ("yaml", "py", "toml")
    )
    page = (DOCS / "kubernetes.md").read_text(encoding="utf-8")
    assert "containerPort: 8000" in manifest
    assert '"STATUS_PORT", "8000"' in program
    assert "path: /ready, port: status" in manifest
    assert {Path(name).parent.as_posix() for name in re.findall(r'file = "([^"]+)"', configuration)} == {
        re.findall(r"name: secrets, mountPath: ([^,]+),", manifest)[0]
    }
    made = set(re.findall(r"--from-file=([\w-]+)(?:\s|$)", page, re.MULTILINE))
    assert made == {Path(name).name for name in re.findall(r'file = "([^"]+)"', configuration)}


def test_every_sample_is_run() -> None:
    """Each program among the samples is named by a test."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    unused = [path.name for path in SAMPLES.glob("*.py") if not re.search(rf"\b{path.stem}\b", text)]
    assert unused == []
