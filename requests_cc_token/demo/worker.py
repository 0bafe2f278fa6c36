"""The worker: it calls one API in a loop, and says what happens to its tokens meanwhile.

Nothing here knows how a token comes about. The worker has a session, and listens to what the management tells.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from requests_cc_token.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests_cc_token.events import TokenEvent
    from requests_cc_token.management import AccessTokenManagement

#: Seconds between the starts of two calls. With tokens of `TOKEN_LIFETIME` the ninth call comes after the latest
#: soft expiry and before the hard one, so ten calls always show a renewal in the background.
DEFAULT_INTERVAL = 0.57

#: Seconds that the embedded token service's tokens live.
TOKEN_LIFETIME = 5

#: Calls that the worker makes unless told otherwise.
DEFAULT_CALLS = 10

#: Characters of an answer that a line shows.
_SHOWN = 72


@dataclass(frozen=True)
class Line:
    """One line of the worker's log."""

    #: Seconds since the epoch.
    time: float
    #: ``"ok"``, ``"error"`` or ``"token"``, for whoever gives it a colour.
    kind: str
    #: Printable characters only.
    text: str
    #: What happened, where the line is about a token.
    event: TokenEvent | None = None


@dataclass(frozen=True)
class Summary:
    """What the worker did."""

    calls: int
    #: Calls that were answered with a status below 400.
    ok: int
    failed: int
    #: Requests that were sent to the token service, retries included.
    token_requests: int
    #: Tokens for which a call had to wait.
    obtained: int
    #: Tokens that came in the background.
    renewed: int


class Worker:
    """Calls the session's API once per ``interval`` seconds, ``calls`` times or, with None, until `stop`.

    ``log`` is called with each `Line`, also from the thread that renews tokens. ``path`` is relative to the
    session's base URL. A call that fails is logged and counted, and the worker goes on.

    Raises ``UnknownClientError`` for a session that nobody registered.
    """

    def __init__(
        self,
        management: AccessTokenManagement,
        session: str,
        *,
        log: Callable[[Line], object],
        calls: int | None = DEFAULT_CALLS,
        interval: float = DEFAULT_INTERVAL,
        path: str = "test",
        clock: Clock | None = None,
    ) -> None:
        self._management = management
        self._session = management.make_session(session)
        self._log = log
        self._calls = calls
        self._interval = interval
        self._path = path
        self._clock = clock if clock is not None else SystemClock()
        self._events: Counter[str] = Counter()
        #: Set it from another thread, and the worker ends after the call under way.
        self.stop = threading.Event()

    def run(self) -> Summary:
        """Work, then tell what was done."""
        ok = done = 0
        sent_before = self._requests_sent()
        unsubscribe = self._management.subscribe(self._told)
        try:
            with self._session:
                due = self._clock.monotonic()
                while not self.stop.is_set():
                    done += 1
                    ok += self._call(done)
                    if done == self._calls:
                        break
                    # Starts are an interval apart; a call that takes longer delays the next, it is not made up for.
                    due = max(due + self._interval, self._clock.monotonic())
                    self._clock.wait(self.stop, max(0.0, due - self._clock.monotonic()))
        finally:
            unsubscribe()
        told, sent = self._events, self._requests_sent() - sent_before
        return Summary(done, ok, done - ok, sent, told["obtained"], told["renewed"])

    def _requests_sent(self) -> int:
        """To the token service, by this management. A try that finds no connection is an event, and sends none."""
        return sum(line.requests for line in self._management.stats())

    def _call(self, number: int) -> bool:
        try:
            response = self._session.get(self._path)
        except requests.RequestException as error:
            self._say("error", f"call {number}: {type(error).__name__}: {error}")
            return False
        self._say("ok" if response.ok else "error", f"call {number}: {response.status_code} {_gist(response)}")
        return response.ok

    def _told(self, event: TokenEvent) -> None:
        self._events[event.kind] += 1
        text = _SENTENCES[event.kind]
        if event.kind == "requested" and event.attempt is not None and event.attempt > 1:
            text += f", try {event.attempt}"
        if event.expires_in is not None:
            text += f", usable for {event.expires_in:.1f} s"
        if event.error is not None and event.kind != "requested":
            text += f": {event.error}"
        if event.wait is not None:
            text += f"; none is asked for within {event.wait:.1f} s"
        self._say("token", f"token of {event.client!r} {text}", event)

    def _say(self, kind: str, text: str, event: TokenEvent | None = None) -> None:
        self._log(Line(self._clock.time(), kind, printable(text), event))


_SENTENCES = {
    "requested": "requested",
    "obtained": "obtained",
    "renewed": "renewed in the background",
    "served_stale": "kept, because its renewal failed",
    "failed": "not to be had",
    "held_off": "not asked for, the last request failed",
    "timed_out": "not there in the time of the call",
    "rejected": "refused by the API",
    "insufficient_scope": "not enough for the API, which wants another scope",
}


def printable(text: str) -> str:
    """The text on one line, with what could steer a terminal replaced: answers and errors are foreign text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _gist(response: requests.Response) -> str:
    """The beginning of an answer; of a list of claims, as the sample APIs give it, what tells callers apart."""
    try:
        answer = response.json()
        claims = {claim["type"]: claim["value"] for claim in answer}
        text = json.dumps({name: claims[name] for name in ("client_id", "scope", "exp") if name in claims})
    except (ValueError, TypeError, KeyError):
        text = ""
    if text in ("", "{}"):
        text = response.text[: 4 * _SHOWN]
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
