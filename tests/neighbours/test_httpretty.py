"""HTTPretty: token request and API call are answered by the mock, and nothing reaches the network."""

from __future__ import annotations

import json

import pytest

from .conftest import Way, needed
from .worker import Place

pytestmark = pytest.mark.neighbours


def test_both_are_answered(way: Way) -> None:
    """One token request for several calls, over its sockets."""
    needed("httpretty", urllib3_below=(2, 3))
    import httpretty

    place = Place("http://127.0.0.1:8001/connect/token", "http://127.0.0.1:8002/api/")
    with httpretty.enabled(allow_net_connect=False), way(place) as worker:
        token = {"access_token": "mocked", "token_type": "Bearer", "expires_in": 60}
        httpretty.register_uri(httpretty.POST, place.token_endpoint, json.dumps(token), content_type="application/json")
        httpretty.register_uri(httpretty.GET, place.base_url + "test", "answered")
        assert [worker.call().text for _ in range(3)] == ["answered"] * 3
        assert len(httpretty.latest_requests()) >= 4
