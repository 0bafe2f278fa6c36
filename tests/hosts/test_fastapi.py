"""FastAPI: the readiness endpoint of the page on metrics and traces, called as a server calls it (ASGI)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from requests_cc_token import TokenRequestError
from tests.neighbours.conftest import ROOT, Services, needed

pytestmark = pytest.mark.hosts


def called(app: Any, path: str) -> tuple[int, Any]:
    """Status and JSON of the answer to a GET."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    start, *bodies = sent
    return start["status"], json.loads(b"".join(body["body"] for body in bodies))


def test_the_readiness_endpoint_of_the_page(services: Services) -> None:
    """Ready while a token is there or none was needed yet; not once none can be had."""
    needed("fastapi")
    page = (ROOT / "docs" / "metrics-and-traces.md").read_text(encoding="utf-8")
    (code,) = (c for c in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "FastAPI" in c)
    with services.place.management() as management:
        names: dict[str, Any] = {"management": management}
        exec(code, names)
        assert called(names["api"], "/ready") == (200, {"worker": "fine"})
        management.warm_up()
        assert called(names["api"], "/ready") == (200, {"worker": "fine"})
        management.service.delete_access_token("worker")
        services.tokens.fail_next(503)
        with pytest.raises(TokenRequestError):
            management.warm_up()
        assert called(names["api"], "/ready") == (503, {"worker": "failing"})
