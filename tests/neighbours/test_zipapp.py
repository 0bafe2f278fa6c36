"""zipapp: a worker and the package in one file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from .conftest import ROOT, Services
from .worker import WAYS, as_environment

pytestmark = pytest.mark.neighbours


def test_the_package_from_a_zip_file(services: Services, tmp_path: Path) -> None:
    """It is imported from there, and all ways work."""
    content = tmp_path / "content"
    shutil.copytree(ROOT / "requests_cc_token", content / "requests_cc_token", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "tests/neighbours/worker.py", content / "worker.py")
    (content / "__main__.py").write_text(
        "import requests_cc_token, worker\nassert '.pyz' in requests_cc_token.__file__\nworker.main()\n"
    )
    zipapp.create_archive(content, tmp_path / "worker.pyz")
    done = subprocess.run(
        [sys.executable, "worker.pyz"],
        cwd=tmp_path,
        env={"PLACE": as_environment(services.place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert services.counted[0] == len(WAYS)
