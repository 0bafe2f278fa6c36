import json

import httpretty
import orders
import pytest
import requests


@httpretty.activate(verbose=True, allow_net_connect=False)
def test_one():
    httpretty.register_uri(
        httpretty.POST, orders.LOGIN, body='{"access_token": "abc", "token_type": "Bearer", "expires_in": 60}'
    )
    httpretty.register_uri(httpretty.GET, orders.API + "test", body='[{"type": "sub"}]')
    assert orders.claims() == ["sub"]
    assert httpretty.last_request().headers["Authorization"] == "Bearer abc"


def test_error():
    with httpretty.enabled(allow_net_connect=False):
        token = {"access_token": "abc", "token_type": "Bearer"}
        httpretty.register_uri(httpretty.POST, orders.LOGIN, json.dumps(token), content_type="application/json")
        httpretty.register_uri(httpretty.GET, orders.API + "test", status=500)
        with pytest.raises(requests.HTTPError):
            orders.claims()
