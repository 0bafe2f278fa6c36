import orders
import pytest


@pytest.fixture(scope="module")
def vcr_config():
    return {"filter_headers": ["authorization"], "filter_post_data_parameters": ["client_secret"]}


@pytest.mark.vcr
def test_marked():
    assert "client_id" in orders.claims()


@pytest.mark.default_cassette("named.yaml")
@pytest.mark.vcr
def test_named():
    assert "client_id" in orders.claims()
