import orders


def test_the_token_is_sent(requests_mock):
    requests_mock.post(orders.LOGIN, json={"access_token": "abc", "token_type": "Bearer"})
    requests_mock.get(orders.API + "test", json=[{"type": "sub"}], request_headers={"Authorization": "Bearer abc"})
    assert orders.claims() == ["sub"]
    assert requests_mock.call_count == 2
