"""What a user of the package would write for a server of these tests, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from requests_cc_token import AccessToken, AccessTokenManagement, TokenRequestParameters
from requests_cc_token.clock import Clock, SystemClock, Waitable

from .api import ProtectedApi
from .servers import RunningServer


class SteppingClock:
    """The machine's clock, with steps forward that a test makes."""

    def __init__(self) -> None:
        self._machine: Clock = SystemClock()
        self._stepped = 0.0

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._machine.monotonic() + self._stepped

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._machine.time() + self._stepped

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        """Wait for the event by the machine's clock."""
        return self._machine.wait(event, timeout)

    def step(self, seconds: float) -> None:
        """Let time pass."""
        self._stepped += seconds


@dataclass(frozen=True)
class Worker:
    """A management with one token client, and a session to the protected API."""

    management: AccessTokenManagement
    session: requests.Session
    clock: SteppingClock

    def token(self, parameters: TokenRequestParameters | None = None) -> AccessToken:
        """The token that the session would send."""
        return self.management.service.get_access_token(None, parameters)

    @property
    def token_requests(self) -> int:
        """How many were sent so far, for all parameters together."""
        return sum(line.requests for line in self.management.stats())


@contextmanager
def working(
    server: RunningServer, api: ProtectedApi, client_id: str, *, revoke_on_close: bool = False, **registration: Any
) -> Iterator[Worker]:
    """A worker whose token client is ``client_id``; by the token endpoint, unless ``issuer`` is given."""
    clock = SteppingClock()
    if "issuer" not in registration:
        registration.setdefault("token_endpoint", server.token_endpoint)
    with AccessTokenManagement(clock=clock, revoke_on_close=revoke_on_close) as management:
        management.configure_backchannel(verify=server.ca)
        management.add_client("worker", client_id=client_id, **registration)
        management.add_session("api", base_url=api.base_url)
        with management.make_session("api") as session:
            session.verify = server.ca
            yield Worker(management, session, clock)
