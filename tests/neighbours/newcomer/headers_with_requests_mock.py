import orders
import pytest
import requests_mock


@pytest.fixture(autouse=True)
def login(requests_mock):
    requests_mock.post(orders.LOGIN, [{"json": {"access_token": t, "token_type": "Bearer"}} for t in ("abc", "def")])


def test_last_request(requests_mock):
    requests_mock.get(orders.API + "test", json=[{"type": "sub"}])
    assert orders.claims() == ["sub"]
    assert requests_mock.last_request.headers["Authorization"] == "Bearer abc"
    assert requests_mock.call_count == 2


def test_matched_by_header(requests_mock):
    requests_mock.get(orders.API + "test", json=[{"type": "sub"}], request_headers={"Authorization": "Bearer abc"})
    assert orders.claims() == ["sub"]


def test_expired_token_is_renewed(requests_mock):
    requests_mock.get(orders.API + "test", status_code=401)
    requests_mock.get(orders.API + "test", json=[{"type": "sub"}], request_headers={"Authorization": "Bearer def"})
    assert orders.claims() == ["sub"]
    calls = [r.headers["Authorization"] for r in requests_mock.request_history if r.method == "GET"]
    assert calls == ["Bearer abc", "Bearer def"]


def test_nested():
    with requests_mock.Mocker(real_http=True) as outer, requests_mock.Mocker(real_http=True) as inner:
        outer.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer"})
        inner.get(orders.API + "test", json=[{"type": "sub"}], request_headers={"Authorization": "Bearer abc"})
        assert orders.claims() == ["sub"]
