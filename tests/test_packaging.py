"""What setup.cfg and README say about the package is so."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import requests_cc_token

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "requests_cc_token"


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def names(requirements: str) -> list[str]:
    """The distributions that requirements name, lower case."""
    lines = (line.split("#")[0].strip() for line in requirements.splitlines())
    return [re.split(r"[\[<>=;\s]", line)[0].lower() for line in lines if line]


def test_the_version_is_the_same_everywhere(setup_cfg: configparser.RawConfigParser) -> None:
    """setup.cfg and the module name one version."""
    assert setup_cfg["metadata"]["version"] == requests_cc_token.__version__


def test_the_core_has_four_requirements(setup_cfg: configparser.RawConfigParser) -> None:
    """Whatever is heavier is an extra."""
    core = set(names(setup_cfg["options"]["install_requires"]))
    assert core == {"requests", "urllib3", "cachetools", "backoff", "python-backoff", "tomli"}


def test_requirements_of_users_have_floors_only(setup_cfg: configparser.RawConfigParser) -> None:
    """The script that pins the floors understands every requirement that users install."""
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "floors.py"), "/dev/stdout"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pinned = {line.partition("==")[0].lower() for line in done.stdout.splitlines()}
    extras = setup_cfg["options.extras_require"]
    wanted = names(setup_cfg["options"]["install_requires"])
    for extra in ("cli", "demo", "jose", "file", "redis", "encryption", "ambient", "prometheus", "otel"):
        wanted += names(extras[extra])
    assert pinned == set(wanted) - {"requests_cc_token"}


def test_messages_name_extras_that_exist(setup_cfg: configparser.RawConfigParser) -> None:
    """Every extra that a message or a page tells to install is in setup.cfg."""
    texts = [*PACKAGE.rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = set()
    for path in texts:
        named.update(re.findall(r"requests_cc_token\[([a-z]+)\]", path.read_text(encoding="utf-8")))
    assert named <= set(setup_cfg["options.extras_require"])
    assert "demo" in named


def test_importing_the_package_imports_nothing_optional() -> None:
    """What belongs to an extra is imported by who uses it."""
    optional = ["click", "rich", "flask", "authlib", "joserfc", "cryptography", "filelock", "platformdirs", "redis"]
    program = f"import sys, requests_cc_token; print([name for name in {optional} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_readme_begins_with_the_two_commands() -> None:
    """The first sh block runs the demo, the second one the tests, and both make their environment."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    for block, last in zip(blocks[:2], ("requests-cc-token demo", "python -m pytest --quiet"), strict=True):
        lines = block.splitlines()
        assert lines[0] == "python3 -m venv .venv"
        assert lines[-1] == f".venv/bin/{last}"
