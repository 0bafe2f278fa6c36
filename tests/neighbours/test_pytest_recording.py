"""pytest-recording: a test suite of the user's, recorded once and replayed with the network blocked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytest_runs import run_pytest

from .conftest import Services, needed
from .worker import as_environment

pytestmark = pytest.mark.neighbours

SUITE = """
import json, os, pytest
from tests.neighbours.worker import WAYS, Place

@pytest.mark.vcr
@pytest.mark.parametrize("name", WAYS)
def test_a_worker(name):
    with WAYS[name](Place(**json.loads(os.environ["PLACE"]))) as worker:
        assert [worker.call().status_code for _ in range(2)] == [200, 200]
"""


def test_recorded_once_and_replayed(services: Services, tmp_path: Path) -> None:
    """With a plain session and with ours; the second time nothing is sent."""
    needed("pytest-recording")
    (tmp_path / "test_suite.py").write_text(SUITE)
    for options in (["--record-mode=once"], ["--record-mode=none", "--block-network"]):
        done = run_pytest(tmp_path, *options, "test_suite.py", environment={"PLACE": as_environment(services.place)})
        assert done.returncode == 0, done.stdout
        assert "5 passed" in done.stdout
        assert services.counted == (5, 10)
