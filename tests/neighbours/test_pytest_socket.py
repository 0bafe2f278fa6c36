"""pytest-socket: a test suite that forbids sockets sees no socket of ours where its mocks answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, needed

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
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--disable-socket", "test_suite.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "5 passed" in done.stdout, done.stdout
