"""PyInstaller: a worker frozen into a folder, and into one file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Services, configuration, needed
from .worker import CALLS, WAYS, as_environment

pytestmark = pytest.mark.neighbours

#: A worker whose client is described by a file too, so that what only that needs is missed where it is missing.
PROGRAM = """
import os, sys
import requests_cc_token
import worker
assert getattr(sys, "frozen", False) and requests_cc_token.__file__.startswith(sys._MEIPASS)
requests_cc_token.configure(os.environ["CONFIG"])
assert requests_cc_token.make_session("erp").get("test").status_code == 200
for name in requests_cc_token.__all__:
    getattr(requests_cc_token, name)
worker.main()
"""


#: Both shapes of one analysis, which is what takes the time.
SPEC = """
analysis = Analysis(["program.py"], pathex=[ROOT], excludes=["cryptography", "joserfc", "redis"])
pure = PYZ(analysis.pure)
EXE(pure, analysis.scripts, analysis.binaries, analysis.datas, name="one-file")
starter = EXE(pure, analysis.scripts, exclude_binaries=True, name="starter")
COLLECT(starter, analysis.binaries, analysis.datas, name="folder")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that PyInstaller leaves."""
    needed("pyinstaller")
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "worker.py").write_bytes((ROOT / "tests/neighbours/worker.py").read_bytes())
    (folder / "program.spec").write_text(SPEC.replace("ROOT", repr(str(ROOT))))
    done = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=WARN", "program.spec"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "dist"


@pytest.mark.parametrize("program", ["folder/starter", "one-file"])
def test_a_frozen_worker(services: Services, built: Path, tmp_path: Path, program: str) -> None:
    """What is imported late is in it: every public name, a configuration file with its store, and all ways to call."""
    config = configuration(services, tmp_path)
    done = subprocess.run(
        [built / program],
        cwd=tmp_path,
        env={"PLACE": as_environment(services.place), "CONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [200] * CALLS for name in WAYS}
    assert services.counted == (len(WAYS) + 1, CALLS * len(WAYS) + 1)
