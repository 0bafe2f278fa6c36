"""Forks at the moment at which fetches end, over and over: ``python -m tests.fork_storm --forks 10000``.

Each round fetches a token anew, forks at once, and lets the child fetch one. Counts the children that freeze. The token
service is in another process than the one that forks: its own threads use OpenSSL too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from requests_cc_token import AccessTokenManagement, DPoPKey, PrivateKeyJwt
from requests_cc_token.authentication.signing_key import generated

from .scripted_server import ScriptedServer, token_answer
from .strict_service import Authority

#: Seconds after which a child counts as frozen; others need milliseconds.
FROZEN_AFTER = 10
#: Seconds after its token within which a fetch's thread is gone; the forks are spread over them.
LATEST = 0.0005

KINDS = ("dpop-es256", "private-key-jwt-es256", "private-key-jwt-rs256", "https", "https-dpop-es256")


def options_of(kind: str) -> dict[str, Any]:
    """What a client of this kind proves itself by."""
    options: dict[str, Any] = {}
    if kind.endswith("dpop-es256"):
        options["dpop"] = DPoPKey.generate("ES256")
    if kind.startswith("private-key-jwt"):
        options["auth"] = PrivateKeyJwt(generated(kind.rpartition("-")[2].upper(), "the storm's key"))
    else:
        options["client_secret"] = "T41NT-secret"
    return options


def forking(kind: str, token_endpoint: str, authority: str | bool, forks: int, busy: int) -> int:
    """Fetch and fork; how many of the children froze. ``busy`` threads fetch meanwhile, whatever happens."""
    management = AccessTokenManagement()
    management.configure_backchannel(verify=authority)
    names = ["worker", *(f"busy {number}" for number in range(busy))]
    for name in names:
        # Of another scope each, so that none has the token of another one.
        management.add_client(
            name, token_endpoint=token_endpoint, client_id="m2m", scope=name.replace(" ", "-"), **options_of(kind)
        )

    def fetch(name: str) -> str:
        management.service.delete_access_token(name)
        return management.service.get_access_token(name).value

    over = threading.Event()

    def keep_fetching(name: str) -> None:
        while not over.is_set():
            fetch(name)

    threads = [threading.Thread(target=keep_fetching, args=(name,), daemon=True) for name in names[1:]]
    for thread in threads:
        thread.start()
    frozen = 0
    moments = random.Random(0)
    for _ in range(forks):
        fetch("worker")
        # The moment at which a thread is past its last line of Python is some tens of microseconds long.
        time.sleep(moments.uniform(0.0, LATEST))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.alarm(FROZEN_AFTER)
                code = 0 if fetch("worker") else 2
            finally:
                os._exit(code)
        frozen += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    over.set()
    for thread in threads:
        thread.join()
    return frozen


def storm(kind: str, forks: int, busy: int = 0) -> int:
    """How many of so many children froze."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        tls = authority.server_context() if kind.startswith("https") else None
        kind_of_token = "DPoP" if kind.endswith("dpop-es256") else "Bearer"
        with ScriptedServer(default=token_answer("T41NT-token", token_type=kind_of_token), tls=tls) as server:
            ca = authority.file if tls is not None else ""
            arguments = [kind, server.token_endpoint, str(ca), str(forks), str(busy)]
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "tests.fork_storm", "--here", json.dumps(arguments)],
                capture_output=True,
                text=True,
                check=False,
                cwd=Path(__file__).resolve().parent.parent,
            )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fork_storm", description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="kind", help=", ".join(KINDS))
    parser.add_argument("--forks", type=int, default=10_000)
    parser.add_argument("--busy", type=int, default=0, help="threads that fetch at the moments of the forks")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here is not None:
        kind, token_endpoint, authority, forks, busy = json.loads(given.here)
        sys.stdout.write(f"{forking(kind, token_endpoint, authority or True, int(forks), int(busy))}\n")
        return
    for kind in given.kinds:
        sys.stdout.write(f"{kind}: {storm(kind, given.forks, given.busy)} of {given.forks} children froze\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
