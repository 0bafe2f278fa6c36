"""zipapp: a worker, the package and all that it needs in one file."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import ssl
import subprocess
import sys
import zipapp
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import ROOT, Services
from .worker import CALLS, SECRET, WAYS, as_environment

pytestmark = pytest.mark.neighbours

#: What the package requires, and what that requires.
NEEDS = (
    "backoff" if sys.version_info < (3, 14) else "python-backoff",
    "cachetools",
    "certifi",
    "charset-normalizer",
    "idna",
    "requests",
    "urllib3",
)

MAIN = """
import certifi, requests, requests_cc_token, worker
for module in (certifi, requests, requests_cc_token):
    assert "worker.pyz" in module.__file__, module.__file__
worker.main()
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom the world of this worker trusts, and nobody else."""
    return trustme.CA()


@pytest.fixture
def services(authority: trustme.CA) -> Iterator[Services]:
    """Token service and API on TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with (
        TokenService(ssl_context=context, hostname="localhost") as tokens,
        ProtectedApi(tokens, ssl_context=context, hostname="localhost") as api,
    ):
        tokens.add_client("worker", SECRET, scopes="api")
        yield Services(tokens, api)


def copy_pure_modules(name: str, target: Path) -> None:
    """Copy what a distribution installed, but for extension modules, which no zip file can hold."""
    for file in importlib.metadata.files(name) or ():
        if file.suffix in {".so", ".pyd", ".pyc"} or ".." in file.parts or ".dist-info" in file.parts[0]:
            continue
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.locate(), target / file)


def test_a_worker_in_one_zip_file(services: Services, authority: trustme.CA, tmp_path: Path) -> None:
    """Without any installed package beside it: all ways work, and TLS trusts the authorities of the file's certifi."""
    content = tmp_path / "content"
    for name in NEEDS:
        copy_pure_modules(name, content)
    shutil.copytree(ROOT / "requests_cc_token", content / "requests_cc_token", ignore=shutil.ignore_patterns("*.pyc"))
    authority.cert_pem.write_to_path(str(content / "certifi" / "cacert.pem"))
    shutil.copy(ROOT / "tests/neighbours/worker.py", content / "worker.py")
    (content / "__main__.py").write_text(MAIN)
    zipapp.create_archive(content, tmp_path / "worker.pyz")
    shutil.rmtree(content)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "worker.pyz"],
        cwd=tmp_path,
        env={"PLACE": as_environment(services.place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [200] * CALLS for name in WAYS}
    assert services.counted == (len(WAYS), CALLS * len(WAYS))
