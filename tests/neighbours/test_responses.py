"""responses: token request and API call are answered by the mock, and nothing reaches the network."""

from __future__ import annotations

import pytest

from .conftest import Way, needed
from .worker import Place

pytestmark = pytest.mark.neighbours


def test_both_are_answered(way: Way) -> None:
    """One token request and one call each; all that was registered was asked for."""
    needed("responses")
    import responses

    place = Place()
    with way(place) as worker, responses.RequestsMock() as mock:
        mock.post(place.token_endpoint, json={"access_token": "mocked", "token_type": "Bearer", "expires_in": 60})
        mock.get(
            place.base_url + "test",
            body="answered",
            match=[responses.matchers.header_matcher({"Authorization": "Bearer mocked"})],
        )
        assert [worker.call().text for _ in range(3)] == ["answered"] * 3
        assert [call.request.method for call in mock.calls] == ["POST", "GET", "GET", "GET"]
