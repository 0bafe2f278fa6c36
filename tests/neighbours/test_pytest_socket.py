"""pytest-socket: a test suite that forbids sockets sees no socket of ours where its mocks answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytest_runs import run_pytest
from tests.test_testing_plugin import by_name

from .conftest import needed

pytestmark = pytest.mark.neighbours

SUITE = """
import pytest, responses
from tests.neighbours.worker import WAYS, Place

@pytest.mark.parametrize("name", WAYS)
@responses.activate
def test_a_worker(name):
    place = Place()
    responses.post(place.token_endpoint, json={"access_token": "t", "token_type": "Bearer"})
    responses.get(place.base_url + "test", body="answered")
    with WAYS[name](place) as worker:
        assert worker.call().text == "answered"
"""


def test_no_socket_is_opened(tmp_path: Path) -> None:
    """``--disable-socket`` refuses each of them."""
    needed("pytest-socket")
    (tmp_path / "test_suite.py").write_text(SUITE)
    done = run_pytest(tmp_path, "--disable-socket", "test_suite.py")
    assert "5 passed" in done.stdout, done.stdout


FAKES = """
from requests_cc_token import session_for

def test_a_worker(token_service, fake_api):
    options = {"client_id": token_service.client_id, "client_secret": token_service.client_secret}
    with session_for(fake_api.base_url, token_endpoint=token_service.token_endpoint, **options) as session:
        assert session.get("orders").ok
    token_service.assert_requests(1)
"""


def test_the_fakes_need_loopback(tmp_path: Path) -> None:
    """``--allow-hosts=127.0.0.1`` is what the fixtures ``token_service`` and ``fake_api`` need."""
    needed("pytest-socket")
    (tmp_path / "test_suite.py").write_text(FAKES)
    done = run_pytest(tmp_path, *by_name(), "--allow-hosts=127.0.0.1", "test_suite.py")
    assert "1 passed" in done.stdout, done.stdout
