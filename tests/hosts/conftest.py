"""Token service and API on loopback, and what the tests of hosts share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from requests_cc_token.demo.loopback import LoopbackServer
from requests_cc_token.demo.token_service import TokenService
from tests.neighbours.conftest import ROOT, Services, services  # noqa: F401 - a fixture
from tests.neighbours.worker import SECRET

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: From a request to media type and body.
Answer = Callable[["WSGIEnvironment"], tuple[str, bytes]]


class Api(LoopbackServer):
    """An API of another shape than the embedded one: what it answers to a request with a valid token."""

    def __init__(self, tokens: TokenService, answer: Answer) -> None:
        self._tokens = tokens
        self._answered_by = answer
        #: The path of each request, and whether its token was good.
        self.requests: list[tuple[str, bool]] = []
        super().__init__(self._wsgi)

    def _wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        good = scheme == "Bearer" and self._tokens.find_token(value) is not None
        self.requests.append((environ["PATH_INFO"], good))
        if not good:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
            return []
        media_type, answer = self._answered_by({**environ, "body": body})
        start_response("200 OK", [("Content-Type", media_type), ("Content-Length", str(len(answer)))])
        return [answer]


def recipe(heading: str) -> dict[str, Any]:
    """What the Python code below a heading of the page about hosts defines."""
    page = (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None, heading
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL):
        exec(code, names)
    return names


@pytest.fixture
def config(services: Services, tmp_path: Path) -> Path:  # noqa: F811 - the fixture
    """A configuration file, with a store that processes share."""
    path = tmp_path / "worker.toml"
    path.write_text(
        f"""
        cache = {{ url = "{(tmp_path / "tokens").as_uri()}" }}
        [clients.worker]
        token_endpoint = "{services.tokens.token_endpoint}"
        client_id = "worker"
        client_secret = "{SECRET}"
        [sessions.erp]
        base_url = "{services.api.base_url}"
        """,
        encoding="utf-8",
    )
    return path
