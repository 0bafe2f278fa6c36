import unittest

import orders
import pytest
import requests
import requests_mock


def test_fixture(requests_mock):
    requests_mock.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer", "expires_in": 60})
    requests_mock.get(orders.API + "test", json=[{"type": "sub"}])
    assert orders.claims() == ["sub"]
    assert requests_mock.called
    assert requests_mock.last_request.url == orders.API + "test"


def test_context_manager():
    with requests_mock.Mocker() as m:
        m.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer"})
        m.get(orders.API + "test", status_code=500)
        with pytest.raises(requests.HTTPError):
            orders.claims()


@requests_mock.Mocker()
class TestDecorated(unittest.TestCase):
    def test_timeout(self, m):
        m.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer"})
        m.get(orders.API + "test", exc=requests.exceptions.ConnectTimeout)
        with pytest.raises(requests.ConnectTimeout):
            orders.claims()


def test_session_only():
    session = orders.make_session()
    with requests_mock.Mocker(session=session) as m:
        m.get(orders.API + "test", json=[{"type": "sub"}])
        assert orders.claims(session) == ["sub"]


def test_adapter():
    session = orders.make_session()
    adapter = requests_mock.Adapter()
    session.mount(orders.API, adapter)
    adapter.register_uri("GET", orders.API + "test", json=[{"type": "sub"}])
    assert orders.claims(session) == ["sub"]
