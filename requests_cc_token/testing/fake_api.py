"""An API on loopback that takes the tokens of a token service for tests (RFC 6750)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .fake_server import FakeServer, HttpRequest
from .steering import Answer, answer_of


class TokenFinder(Protocol):
    """What an API asks a token service for: `FakeTokenService`, or one of your own."""

    def find_token(self, value: str) -> object | None:
        """The token of that value while it is valid; None for any other."""


@dataclass(frozen=True)
class ApiRequest(HttpRequest):
    """A request as it arrived."""

    #: The token that it carried; None where it carried none.
    token: str | None

    def __str__(self) -> str:
        return f"{self.method} {self.path} with {self.token or 'no token'}"


class FakeApi(FakeServer[ApiRequest]):
    """An API for tests. It answers from the moment it is made until `close`; a context manager.

    A request without a valid token of ``token_service`` gets a 401. Any other one gets what `respond` said for its
    path, else a JSON object with its method, path, query and body. ``requests`` holds each request that came,
    authorized or not. ``base_url`` is what goes into ``add_session(base_url=...)``.

    To steer it: `fail_next`, `fail_always` and `recover`; `delay` (seconds) and `hold`; `stop` and `start`.
    """

    _called = "the API"

    def __init__(self, token_service: TokenFinder, *, port: int = 0) -> None:
        if not callable(getattr(token_service, "find_token", None)):
            raise TypeError(f"token_service must have find_token(value); {token_service!r} has not")
        self._token_service = token_service
        self._responses: dict[str, Answer] = {}
        super().__init__(port=port)
        #: The address of the API, with a final slash.
        self.base_url = f"{self.origin}/"

    def respond(self, path: str, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer authorized requests to this path with this from now on, whatever their method.

        ``body`` is sent as it is where it is ``str`` or ``bytes``, as JSON otherwise.
        """
        headers = dict(headers or {})
        if not isinstance(body, (str, bytes)):
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        self._responses["/" + path.lstrip("/")] = answer_of(status, body, headers)

    def _answer(self, request: HttpRequest) -> Answer:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        token = value if scheme.lower() == "bearer" else None
        self._record(ApiRequest(request.method, request.path, request.query, request.headers, request.body, token))
        scripted = self._scripted_answer()
        if scripted is not None:
            return scripted
        if token is None:
            # No error code for a request without a token (RFC 6750 section 3.1).
            return answer_of(401, {"error": "no token"}, {"WWW-Authenticate": 'Bearer realm="fake"'})
        if self._token_service.find_token(token) is None:
            challenge = 'Bearer realm="fake", error="invalid_token"'
            return answer_of(401, {"error": "invalid_token"}, {"WWW-Authenticate": challenge})
        return self._responses.get(request.path) or _echo(request)


def _echo(request: HttpRequest) -> Answer:
    body = request.body.decode("utf-8", "replace")
    return answer_of(200, {"method": request.method, "path": request.path, "query": request.query, "body": body})
