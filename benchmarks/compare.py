"""What each peer does in the same ten situations, over real sockets: ``python -m benchmarks.compare``.

Prints a table in Markdown; README has it. A peer that is not installed is left out.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from . import peers

#: Seconds that the token service takes, so that threads that ask at once are seen to.
DELAY = 0.3
THREADS = 32
#: Seconds after which a call counts as one that waits for ever.
PATIENCE = 40
CALLS = 10

MAKERS: dict[str, peers.Maker] = {
    "requests_cc_token": peers.requests_cc_token,
    "requests-oauthlib": peers.requests_oauthlib,
    "Authlib": peers.authlib,
    "requests-oauth2client": peers.requests_oauth2client,
}


class World(ThreadingHTTPServer):
    """A token service and an API on loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        #: Seconds that tokens live; 0 is an answer with status 500.
        self.lifetime = 3600
        self.token_requests = 0
        #: What the token service answers instead of tokens: its next statuses, or one for ever.
        self.next_statuses: list[int] = []
        self.status = 200
        #: Set, the token service accepts requests and does not answer.
        self.hangs = threading.Event()
        self.over = threading.Event()
        #: Whether the API leads to another path of its host, and whether a token came there.
        self.redirects = False
        self.followed_with_token = False
        self.revoked: set[str] = set()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def next_token(self) -> str:
        with self.lock:
            self.token_requests += 1
            return f"t{self.token_requests}"


class Handler(BaseHTTPRequestHandler):
    server: World
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lifetime, token_value = self.server.lifetime, self.server.next_token()
        if self.server.hangs.is_set():
            self.server.over.wait()
            return
        time.sleep(DELAY)
        status = self.server.next_statuses.pop(0) if self.server.next_statuses else self.server.status
        if status != 200:
            self.answer(status, {"error": "invalid_client"} if status == 401 else {})
            return
        token = {"access_token": token_value, "token_type": "Bearer", "expires_in": lifetime}
        self.answer(200 if lifetime else 500, token if lifetime else {})

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").partition(" ")[2]
        if self.path == "/elsewhere":
            self.server.followed_with_token = bool(token)
            self.answer(200, {})
        elif self.server.redirects:
            self.answer(302, {})
        else:
            self.answer(401 if not token or token in self.server.revoked else 200, {})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server has
        """Say nothing."""


def works(call: peers.Call) -> bool:
    """Whether a call is answered with 200."""
    try:
        return bool(call().status_code == 200)
    except Exception:  # noqa: BLE001, RUF100 - peers raise what they like
        return False


def expired_in_threads(world: World, call: peers.Call) -> str:
    """The token has expired, and 32 threads call at once."""
    expire(world)
    return in_threads(world, call)


def revoked_in_threads(world: World, call: peers.Call) -> str:
    """The token is revoked, and 32 threads call at once."""
    revoke(world)
    return in_threads(world, call)


def expire(world: World) -> None:
    time.sleep(2.2)  # one peer rounds the second of the end
    world.lifetime = 3600


def revoke(world: World) -> None:
    world.revoked = {f"t{number}" for number in range(world.token_requests + 1)}


def in_threads(world: World, call: peers.Call) -> str:
    before, results = world.token_requests, [False] * THREADS

    def run(number: int) -> None:
        results[number] = works(call)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = results.count(False)
    return asked(world.token_requests - before) + (f", {failed} failed calls" if failed else "")


def asked(requests: int) -> str:
    return f"{requests} token request{'s' * (requests != 1)}"


def revoked(world: World, call: peers.Call) -> str:
    """The token is revoked; the API answers 401."""
    revoke(world)
    return "200, with a new token" if works(call) else "the 401"


def short_lived(world: World, call: peers.Call) -> str:
    """Tokens live for 30 seconds; ten calls in a row."""
    for _ in range(CALLS - 1):
        works(call)
    return asked(world.token_requests)


def outage(world: World, call: peers.Call) -> str:
    """The token has 50 seconds left, and the token service answers 500; ten calls."""
    world.lifetime = 0
    failed = [works(call) for _ in range(CALLS)].count(False)
    return f"{failed} failed"


def blip(world: World, call: peers.Call) -> str:
    """The token has expired, and the token service answers 503 once."""
    expire(world)
    world.next_statuses = [503]
    return "200" if works(call) else "an error"


def locked_out(world: World, call: peers.Call) -> str:
    """The token has expired, and the token service does not know the client any more; ten calls."""
    expire(world)
    world.status, before = 401, world.token_requests
    for _ in range(CALLS):
        works(call)
    return asked(world.token_requests - before)


def hanging(world: World, call: peers.Call) -> str:
    """The token has expired, and the token service accepts connections and answers nothing."""
    expire(world)
    world.hangs.set()
    thread = threading.Thread(target=works, args=(call,), daemon=True)
    begun = time.monotonic()
    thread.start()
    thread.join(PATIENCE)
    took = time.monotonic() - begun
    if thread.is_alive():
        return f"still waits after {PATIENCE} s"
    return "an error at once" if took < 1 else f"an error after {took:.0f} s"


def redirected(world: World, call: peers.Call) -> str:
    """The API leads to a path of its host that is not the API's."""
    world.redirects = True
    works(call)
    return "the token goes along" if world.followed_with_token else "the token stays"


def kind_of_error(world: World, call: peers.Call) -> str:
    """The token has expired, and the token service answers 500: what is raised."""
    expire(world)
    world.status = 500
    try:
        call()
    except Exception as error:
        return "yes" if isinstance(error, requests.RequestException) else f"no, `{type(error).__name__}`"
    return "nothing is raised"


SITUATIONS: dict[str, tuple[int, Callable[[World, peers.Call], str]]] = {
    f"the token has expired, {THREADS} threads call": (1, expired_in_threads),
    "the token was revoked, the API says 401": (3600, revoked),
    f"tokens live 30 s, {CALLS} calls": (30, short_lived),
    f"the token service is down, the token has 50 s left, {CALLS} calls": (50, outage),
    f"the token was revoked, {THREADS} threads call": (3600, revoked_in_threads),
    "the token has expired, the token service says 503 once": (1, blip),
    f"the token has expired, the token service says `invalid_client`, {CALLS} calls": (1, locked_out),
    "the token has expired, the token service does not answer": (1, hanging),
    "the API redirects to another path of its host": (3600, redirected),
    "without a token, is the error a `requests.RequestException`": (1, kind_of_error),
}


def cell(maker: peers.Maker, lifetime: int, measure: Callable[[World, peers.Call], str]) -> str:
    world = World()
    world.lifetime = lifetime
    try:
        address = f"http://127.0.0.1:{world.server_address[1]}"
        call, _ = maker(f"{address}/api/test", f"{address}/token")
        works(call)
        return measure(world, call)
    finally:
        world.over.set()
        world.shutdown()
        world.server_close()


def main() -> int:
    """Print the table."""
    table: dict[str, list[str]] = {}
    for name, maker in MAKERS.items():
        try:
            table[name] = [cell(maker, *situation) for situation in SITUATIONS.values()]
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
    print("| " + " | ".join(["", *table]) + " |")
    print("|" + "---|" * (len(table) + 1))
    for number, situation in enumerate(SITUATIONS):
        print("| " + " | ".join([situation, *(cells[number] for cells in table.values())]) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
