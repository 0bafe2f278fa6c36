"""requests-mock: token request and API call are answered by the mock, and nothing reaches the network."""

from __future__ import annotations

import pytest
import requests

from requests_cc_token import TokenRequestError

from .conftest import Way, needed
from .worker import Place, by_make_session, by_mount

pytestmark = pytest.mark.neighbours


def test_a_global_mocker_answers_both(way: Way) -> None:
    """What is sent is answered. It replaces the adapters of a session; one of the user's own asks for no token then."""
    needed("requests-mock")
    import requests_mock

    place = Place()
    with way(place) as worker, requests_mock.Mocker() as mock:
        mock.post(place.token_endpoint, json={"access_token": "mocked", "token_type": "Bearer", "expires_in": 60})
        mock.get(place.base_url + "test", text="answered")
        assert [worker.call().text for _ in range(3)] == ["answered"] * 3
        asked = [request.method for request in mock.request_history]
        is_lost = type(worker.session) is requests.Session and place.base_url in worker.session.adapters
        assert asked == (["GET"] * 3 if is_lost else ["POST", "GET", "GET", "GET"])
        carried = {request.headers.get("Authorization") for request in mock.request_history if request.method == "GET"}
        assert carried == ({None} if is_lost else {"Bearer mocked"})


def test_a_token_service_that_is_not_mocked() -> None:
    """The error says whose token request found no answer, and what the mock says of it."""
    needed("requests-mock")
    import requests_mock

    place = Place()
    with by_make_session(place) as worker, requests_mock.Mocker() as mock:
        mock.get(place.base_url + "test", text="answered")
        with pytest.raises(TokenRequestError, match=r"token client 'worker': .*connect/token.*No mock address"):
            worker.call()


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
