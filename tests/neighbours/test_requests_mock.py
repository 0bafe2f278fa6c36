"""requests-mock: token request and API call are answered by the mock, and nothing reaches the network."""

from __future__ import annotations

import pytest

from requests_cc_token import AccessTokenAdapter

from .conftest import Way, needed
from .worker import Place, by_mount

pytestmark = pytest.mark.neighbours


def test_a_global_mocker_answers_both(way: Way) -> None:
    """What is sent is answered. It replaces the adapters of a session, ours as well, so there no token is asked for."""
    needed("requests-mock")
    import requests_mock

    place = Place()
    with way(place) as worker, requests_mock.Mocker() as mock:
        mock.post(place.token_endpoint, json={"access_token": "mocked", "token_type": "Bearer", "expires_in": 60})
        mock.get(place.base_url + "test", text="answered")
        assert [worker.call().text for _ in range(3)] == ["answered"] * 3
        asked = [request.method for request in mock.request_history]
        by_adapter = isinstance(worker.session.adapters.get(place.base_url), AccessTokenAdapter)
        assert asked == ["GET", "GET", "GET"] if by_adapter else ["POST", "GET", "GET", "GET"]


def test_the_token_alone() -> None:
    """A token that is asked for without a session is the mock's, and counted once."""
    needed("requests-mock")
    import requests_mock

    place = Place()
    with place.management() as management, requests_mock.Mocker() as mock:
        mock.post(place.token_endpoint, json={"access_token": "mocked", "token_type": "Bearer", "expires_in": 60})
        assert [management.service.get_access_token().value for _ in range(2)] == ["mocked"] * 2
        assert mock.call_count == 1


def test_its_adapter_as_the_inner_one() -> None:
    """An adapter of the mock sends in the place of ours, and sees the token."""
    needed("requests-mock")
    import requests_mock

    place, adapter = Place(), requests_mock.Adapter()
    adapter.register_uri("GET", place.base_url + "test", text="answered")
    with by_mount(place, inner=adapter) as worker, requests_mock.Mocker(session=None) as mock:
        mock.post(place.token_endpoint, json={"access_token": "mocked", "token_type": "Bearer"})
        mock.get(place.base_url + "test", real_http=True)
        assert worker.call().text == "answered"
        assert adapter.last_request.headers["Authorization"] == "Bearer mocked"
