"""mocket: token request and API call are answered by the mock, and nothing reaches the network."""

from __future__ import annotations

import json

import pytest

from .conftest import Way, needed
from .worker import Place

pytestmark = [
    pytest.mark.neighbours,
    # It leaves sockets of its own open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_both_are_answered(way: Way) -> None:
    """One token request for several calls, over its sockets."""
    needed("mocket")
    from mocket import Mocket, Mocketizer
    from mocket.mockhttp import Entry

    place = Place()
    with Mocketizer(strict_mode=True), way(place) as worker:
        token = {"access_token": "mocked", "token_type": "Bearer", "expires_in": 60}
        Entry.single_register(
            Entry.POST, place.token_endpoint, json.dumps(token), headers={"Content-Type": "application/json"}
        )
        Entry.single_register(Entry.GET, place.base_url + "test", "answered")
        assert [worker.call().text for _ in range(3)] == ["answered"] * 3
        asked = [request.method for request in Mocket.request_list()]
        assert asked == ["POST", "GET", "GET", "GET"]
