"""Token service and API on loopback, and what the tests of hosts share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import requests_cc_token
from requests_cc_token import AccessTokenManagement
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.loopback import LoopbackServer
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import ROOT, Services, configuration
from tests.neighbours.worker import SECRET

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Some hosts tell their makers that they were used.
os.environ.update(
    DO_NOT_TRACK="true", MLFLOW_DISABLE_TELEMETRY="true", RUNTIME__DLTHUB_TELEMETRY="false", SCARF_ANALYTICS="false"
)

#: From a request to media type and body.
Answer = Callable[["WSGIEnvironment"], tuple[str, bytes]]


class Api(LoopbackServer):
    """An API of another shape than the embedded one: what it answers to a request with a valid token."""

    def __init__(self, tokens: TokenService, answer: Answer, *, refusal: int = 401) -> None:
        self._tokens = tokens
        #: The status of a request without a good token, and whether every token is taken for a bad one.
        self.refusal = refusal
        self.refuse_always = False
        self._answered_by = answer
        #: The path of each request, and whether its token was good.
        self.requests: list[tuple[str, bool]] = []
        super().__init__(self._wsgi)

    def _wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        good = scheme == "Bearer" and self._tokens.find_token(value) is not None and not self.refuse_always
        self.requests.append((environ["PATH_INFO"], good))
        if not good:
            start_response(f"{self.refusal} Refused", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
            return []
        media_type, answer = self._answered_by({**environ, "body": body})
        start_response("200 OK", [("Content-Type", media_type), ("Content-Length", str(len(answer)))])
        return [answer]


def recipe(heading: str) -> dict[str, Any]:
    """What the Python code below a heading of the pages about jobs and SDKs defines."""
    page = "".join((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("jobs", "sdks"))
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None, heading
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL):
        exec(code, names)
    return names


@pytest.fixture
def clock() -> ManualClock:
    """The time of the token service, and of what is given it."""
    return ManualClock()


@pytest.fixture
def services(clock: ManualClock) -> Iterator[Services]:
    """The real thing, in this process; tokens expire by ``clock``."""
    with TokenService(clock=clock) as tokens, ProtectedApi(tokens) as api:
        tokens.add_client("worker", SECRET, scopes="api")
        yield Services(tokens, api)


@pytest.fixture
def management(services: Services, clock: ManualClock) -> Iterator[AccessTokenManagement]:
    """A management with the client and the session ``worker``, and the same clock."""
    with services.place.management(clock) as management:
        yield management


@pytest.fixture
def default_management(management: AccessTokenManagement) -> Iterator[AccessTokenManagement]:
    """The same as the module's default management, where bridges find it."""
    before = requests_cc_token._default.management
    yield requests_cc_token.configure(management)
    requests_cc_token._default.management = before


def expire(clock: ManualClock, tokens: TokenService) -> None:
    """Let every token expire that there is."""
    clock.advance((tokens.token_lifetime or 0) + 1)


def check_tokens(call: Callable[[], object], services: Services, clock: ManualClock, api: Api | None = None) -> None:
    """One token request for three calls, one once the token has expired in mid-job, one after a refusal by the API.

    ``call`` makes any number of API requests, one after the other. A token that has expired is renewed before the API
    sees it: no request of that call is refused. After a revocation one request is.
    """
    tokens, asked = services.tokens, services.api.requests if api is None else api.requests
    begun = len(asked)
    call()
    each = len(asked) - begun
    assert each > 0
    call()
    call()
    assert (len(tokens.requests), len(asked) - begun) == (1, 3 * each)
    expire(clock, tokens)
    call()
    assert (len(tokens.requests), len(asked) - begun) == (2, 4 * each)
    tokens.revoke_all()
    call()
    assert (len(tokens.requests), len(asked) - begun) == (3, 5 * each + 1)


def check_short_lived(call: Callable[[], object], services: Services) -> None:
    """Calls whose processes have a clock of their own renew tokens that live a second, as soon as they have expired.

    ``call`` succeeds each time; for the service, whose clock stands still, all tokens are good, so that nothing but
    their lifetime makes anybody ask for another.
    """
    services.tokens.token_lifetime = 1
    for _ in range(10_000):
        call()
        if len(services.tokens.requests) > 2:
            return
    raise AssertionError("no token was renewed")


@pytest.fixture
def config(services: Services, tmp_path: Path) -> Path:
    """A configuration file, with a store that processes share."""
    return configuration(services, tmp_path)
