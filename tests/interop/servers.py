"""Starts and stops the foreign servers: child processes on loopback.

A server ends when its standard input does, so it ends too when the test process is killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from .registrations import Identity, keycloak_realm, oidc_provider_configuration

HERE = Path(__file__).parent
#: Seconds until oidc-provider must have said its address; it takes half a second on an idle machine.
OIDC_PROVIDER_DEADLINE = 60.0
#: Seconds until Keycloak must answer: it takes 15 on two idle cores and took 135 on two that eight others shared.
KEYCLOAK_DEADLINE = 300.0
#: Seconds between two looks at a server that is starting.
POLL = 0.25
#: Seconds that a server gets to end by itself before it is killed.
STOP_DEADLINE = 20.0
#: Keycloak's heap: enough for one small realm.
KEYCLOAK_HEAP = "-Xms64m -Xmx512m"
#: The oldest Java that Keycloak 26 starts on.
KEYCLOAK_JAVA = 17


#: Runs a command that does not look at its standard input itself, and stops it when that ends.
UNTIL_INPUT_ENDS = """
"$@" </dev/null & server=$!
{ { read -r _ <&3; kill -TERM $server; } & } 3<&0
wait $server; status=$?
kill $! 2>/dev/null
exit $status
"""


class UnavailableError(Exception):
    """The server cannot be had on this machine; the message says why and what to do."""


@dataclass(frozen=True)
class RunningServer:
    """An authorization server that is up.

    ``metadata`` is its discovery document; ``version`` is what it says itself.
    """

    name: str
    version: str
    issuer: str
    ca: str
    metadata: dict[str, Any]

    @property
    def token_endpoint(self) -> str:
        return str(self.metadata["token_endpoint"])


def installation_folder() -> Path:
    """Where ``.ci/interop-setup`` puts the servers."""
    if given := os.environ.get("REQUESTS_CC_TOKEN_INTEROP"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "requests_cc_token" / "interop"


def _installed(name: str) -> Path:
    place = installation_folder() / name
    if not place.is_dir():
        raise UnavailableError(f"{name} is not installed in {place.parent} (run .ci/interop-setup)")
    return place


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"there is no {name} on this machine")
    return found


def redis_executable(name: str) -> str:
    """The command that starts ``redis-server`` or ``valkey-server`` as the distribution packages it.

    Raises:
        UnavailableError: it is not installed.
    """
    command = _installed("redis") / name
    if not command.exists():
        raise UnavailableError(f"there was no {name} where .ci/interop-setup looked for it")
    return str(command)


def _java_major() -> int:
    said = subprocess.run(
        [_program("java"), "-version"], capture_output=True, text=True, timeout=60, check=False
    ).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match else 0


def _environment(**more: str) -> dict[str, str]:
    # Without proxies: everything that these servers talk to is on loopback.
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return {**kept, **more}


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _await(process: subprocess.Popen[bytes], log: Path, deadline: float, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if ready():
            return
        try:
            process.wait(POLL)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"the server ended with code {process.returncode} while starting:\n{_tail(log)}")
    raise RuntimeError(f"the server was not ready after {deadline:.0f} s:\n{_tail(log)}")


@contextmanager
def _child(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            # The group is the child's own: start_new_session made it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_DEADLINE)


def _metadata(issuer: str, ca: str) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(f"{issuer}/.well-known/openid-configuration", verify=ca, timeout=10)
    response.raise_for_status()
    document: dict[str, Any] = response.json()
    return document


@contextmanager
def oidc_provider(identity: Identity, folder: Path, workloads: str) -> Iterator[RunningServer]:
    """oidc-provider under Node, until the block ends.

    Raises:
        UnavailableError: Node or the installation is missing.
    """
    node, place = _program("node"), _installed("oidc-provider")
    configuration, log = folder / "oidc-provider.json", folder / "oidc-provider.log"
    configuration.touch(mode=0o600)
    configuration.write_text(json.dumps(oidc_provider_configuration(identity)))
    command = [node, str(HERE / "oidc_provider" / "server.mjs"), str(place), str(configuration)]
    with _child(command, log, _environment(NODE_ENV="production")) as process:
        said: dict[str, Any] = {}

        def ready() -> bool:
            for line in log.read_text(errors="replace").splitlines():
                if line.startswith('{"issuer"'):
                    said.update(json.loads(line))
                    return True
            return False

        _await(process, log, OIDC_PROVIDER_DEADLINE, ready)
        ca = str(identity.authority.file)
        yield RunningServer(
            "oidc-provider",
            f"{said['version']} (Node {said['node']})",
            said["issuer"],
            ca,
            _metadata(said["issuer"], ca),
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def keycloak(identity: Identity, folder: Path, workloads: str) -> Iterator[RunningServer]:
    """Keycloak under Java, with the realm ``interop``, until the block ends.

    It trusts the authority at ``workloads`` to vouch for workloads (service accounts, SPIFFE).
    The installation is shared and left as it is: this run has a home of its own, which links to the libraries.

    Raises:
        UnavailableError: Java, a recent enough one, or the installation is missing.
    """
    place = _installed("keycloak")
    java = _java_major()
    if java < KEYCLOAK_JAVA:
        raise UnavailableError(f"Java {java} is older than {KEYCLOAK_JAVA}, which Keycloak needs")
    bash = _program("bash")
    home, log = folder / "keycloak", folder / "keycloak.log"
    for part in ("bin", "conf", "data/import"):
        (home / part).mkdir(parents=True)
    for part in ("lib", "providers", "themes"):
        (home / part).symlink_to(place / part)
    for part in ("bin/kc.sh", "conf/cache-ispn.xml", "version.txt"):
        if (place / part).exists():
            shutil.copy(place / part, home / part)
    (home / "data" / "import" / "interop-realm.json").write_text(json.dumps(keycloak_realm(identity, workloads)))
    port = _free_port()
    base = f"https://localhost:{port}"
    command = [
        *(bash, "-c", UNTIL_INPUT_ENDS, "keycloak", bash),
        str(home / "bin" / "kc.sh"),
        "start",
        "--optimized",
        "--import-realm",
        "--http-host=127.0.0.1",
        f"--https-port={port}",
        f"--hostname={base}",
        f"--https-certificate-file={identity.server.cert_file}",
        f"--https-certificate-key-file={identity.server.key_file}",
        f"--truststore-paths={identity.authority.file}",
        "--cache=local",
        f"--log-level={os.environ.get('INTEROP_KEYCLOAK_LOG', 'INFO')}",
    ]
    issuer, ca = f"{base}/realms/interop", str(identity.authority.file)
    found: dict[str, Any] = {}

    def ready() -> bool:
        try:
            found.update(_metadata(issuer, ca))
        except requests.RequestException:
            return False
        return True

    (home / "tmp").mkdir()
    environment = _environment(JAVA_OPTS_KC_HEAP=KEYCLOAK_HEAP, JAVA_OPTS_APPEND=f"-Djava.io.tmpdir={home / 'tmp'}")
    with _child(command, log, environment) as process:
        _await(process, log, KEYCLOAK_DEADLINE, ready)
        version = (place / "version.txt").read_text().strip().rpartition(" ")[2]
        yield RunningServer("Keycloak", f"{version} (Java {java})", issuer, ca, found)
