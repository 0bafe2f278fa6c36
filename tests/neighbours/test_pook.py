"""pook: token request and API call are answered by the mock, and nothing reaches the network."""

from __future__ import annotations

import pytest

from .conftest import Way, needed
from .worker import Place

pytestmark = pytest.mark.neighbours


def test_both_are_answered(way: Way) -> None:
    """One token request for several calls."""
    needed("pook")
    import pook

    place = Place()
    with pook.use(), way(place) as worker:
        token = pook.post(place.token_endpoint).times(9).reply(200)
        token.json({"access_token": "mocked", "token_type": "Bearer", "expires_in": 60})
        call = pook.get(place.base_url + "test").header("Authorization", "Bearer mocked").times(9)
        call.reply(200).body("answered")
        assert [worker.call().text for _ in range(3)] == ["answered"] * 3
        assert call.total_matches == 3
