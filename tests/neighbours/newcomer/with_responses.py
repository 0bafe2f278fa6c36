import orders
import pytest
import requests
import responses


@responses.activate
def test_simple():
    responses.add(responses.POST, orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer", "expires_in": 60})
    responses.add(responses.GET, orders.API + "test", json=[{"type": "sub"}], status=200)
    assert orders.claims() == ["sub"]
    assert len(responses.calls) == 2
    assert responses.calls[1].request.url == orders.API + "test"
    assert responses.calls[1].request.headers["Authorization"] == "Bearer abc"


@pytest.fixture
def mocked_responses():
    with responses.RequestsMock() as rsps:
        yield rsps


def test_api_error(mocked_responses):
    mocked_responses.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer"})
    mocked_responses.get(orders.API + "test", status=500)
    with pytest.raises(requests.HTTPError):
        orders.claims()


def test_login_down(mocked_responses):
    mocked_responses.post(orders.LOGIN, body=requests.ConnectionError("down"))
    with orders.make_session() as session, pytest.raises(requests.RequestException):
        session.get(orders.API + "test", timeout=0.2)


def test_expired_token_is_renewed(mocked_responses):
    for token in ("first", "second"):
        mocked_responses.post(orders.LOGIN, json={"access_token": token, "token_type": "Bearer"})
    mocked_responses.get(orders.API + "test", status=401)
    mocked_responses.get(
        orders.API + "test",
        json=[{"type": "sub"}],
        match=[responses.matchers.header_matcher({"Authorization": "Bearer second"})],
    )
    assert orders.claims() == ["sub"]


def test_unregistered_is_refused(mocked_responses):
    mocked_responses.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer"})
    with pytest.raises(requests.ConnectionError):
        orders.claims()
