import json

import orders
import pytest
import requests
from mocket import Mocket, Mocketizer, mocketize
from mocket.mockhttp import Entry


@mocketize
def test_decorator():
    Entry.single_register(
        Entry.POST,
        orders.LOGIN,
        body=json.dumps({"access_token": "abc", "token_type": "Bearer", "expires_in": 60}),
        headers={"content-type": "application/json"},
    )
    Entry.single_register(
        Entry.GET, orders.API + "test", body='[{"type": "sub"}]', headers={"content-type": "application/json"}
    )
    assert orders.claims() == ["sub"]
    assert Mocket.last_request().headers["authorization"] == "Bearer abc"


def test_context_manager():
    with Mocketizer(strict_mode=True):
        Entry.single_register(Entry.POST, orders.LOGIN, body='{"access_token": "abc", "token_type": "Bearer"}')
        Entry.single_register(Entry.GET, orders.API + "test", status=500)
        with pytest.raises(requests.HTTPError):
            orders.claims()
