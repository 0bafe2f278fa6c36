"""What each peer does in the same ten situations, over real sockets: ``python -m benchmarks.compare``.

Prints tables in Markdown; README has them. A peer that is not installed is left out. Duende.AccessTokenManagement is of
.NET, so what it does is read in its source instead, and each of its cells is a link to the place.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    "google-auth": peers.google_service_account,
    "MSAL with requests": peers.msal_with_requests,
}
#: Duende.AccessTokenManagement: what was read in the source of version 4.2.0, with its defaults, and where.
DUENDE = "Duende (.NET)"
_SOURCE = "https://github.com/DuendeSoftware/foss/blob/atm-4.2.0/access-token-management/src/AccessTokenManagement/"
_WITHOUT = f"{_SOURCE}AccessTokenRequestHandler.cs#L39-L45"
_EXPIRED = f"{_SOURCE}Internal/ClientCredentialsTokenManager.cs#L83-L100"
_ONE_AT_A_TIME = f"{_SOURCE}Internal/ClientCredentialsTokenManager.cs#L42-L63"
_ONCE_MORE = f"{_SOURCE}Internal/Resiliency.cs#L34-L78"
_TIMEOUT = "https://learn.microsoft.com/dotnet/api/system.net.http.httpclient.timeout"
_REDIRECTS = "https://learn.microsoft.com/dotnet/api/system.net.http.httpclienthandler.allowautoredirect"


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
    return f"{world.token_requests - before}" + (f"; {failed} calls fail" if failed else "")


def revoked(world: World, call: peers.Call) -> str:
    """The token is revoked; the API answers 401."""
    revoke(world)
    return "200, with a new token" if works(call) else "the 401"


def short_lived(world: World, call: peers.Call) -> str:
    """Tokens live for 30 seconds; ten calls in a row."""
    for _ in range(CALLS - 1):
        works(call)
    return f"{world.token_requests}"


def outage(world: World, call: peers.Call) -> str:
    """The token has 50 seconds left, and the token service answers 500; ten calls."""
    world.lifetime = 0
    failed = [works(call) for _ in range(CALLS)].count(False)
    return f"{failed} calls fail" if failed else "no call fails"


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
    return f"{world.token_requests - before}"


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


@dataclass(frozen=True)
class Situation:
    """A column of a table."""

    what: str
    #: Seconds that the first token lives.
    lifetime: int
    measure: Callable[[World, peers.Call], str]
    #: What was read of Duende.AccessTokenManagement, and where.
    duende: tuple[str, str]


#: By the question, which heads the first column.
TABLES: Mapping[str, tuple[Situation, ...]] = {
    "token requests, when": (
        Situation(f"the token has expired, {THREADS} threads call", 1, expired_in_threads, ("1", _ONE_AT_A_TIME)),
        Situation(f"it was revoked, {THREADS} threads call", 3600, revoked_in_threads, ("1 or more", _ONCE_MORE)),
        Situation(f"tokens live 30 s, {CALLS} calls", 30, short_lived, ("11", _EXPIRED)),
        Situation(f"the answer is `invalid_client`, {CALLS} calls", 1, locked_out, ("20", _ONCE_MORE)),
    ),
    "a call, when the token service": (
        Situation("says 503 once, the token has expired", 1, blip, ("200, the second time", _ONCE_MORE)),
        Situation(f"is down, the token has 50 s left, {CALLS} calls", 50, outage, ("10 calls fail", _WITHOUT)),
        Situation("does not answer, the token has expired", 1, hanging, ("an error after 100 s", _TIMEOUT)),
    ),
    "a call, when": (
        Situation("the API says 401, the token was revoked", 3600, revoked, ("200, with a new token", _ONCE_MORE)),
        Situation("the API redirects to another path of its host", 3600, redirected, ("the token stays", _REDIRECTS)),
        Situation(
            "there is no token: is the error a `requests.RequestException`",
            1,
            kind_of_error,
            ("no error: it is sent without a token", _WITHOUT),
        ),
    ),
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


def table(question: str, rows: Mapping[str, list[str]]) -> str:
    """A table in Markdown: a column for each situation, a row for each system."""
    columns = [situation.what for situation in TABLES[question]]
    lines = [[question, *columns], ["---"] * (len(columns) + 1), *([name, *cells] for name, cells in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(question: str) -> list[str]:
    """The row of what was read and not measured."""
    return [f"[{said}]({where})" for said, where in (situation.duende for situation in TABLES[question])]


def main() -> int:
    """Print the tables."""
    for question, situations in TABLES.items():
        rows: dict[str, list[str]] = {}
        for name, maker in MAKERS.items():
            try:
                rows[name] = [cell(maker, each.lifetime, each.measure) for each in situations]
            except ImportError as error:
                print(f"{name}: {error}", file=sys.stderr)
        print(table(question, {**rows, DUENDE: read(question)}), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
