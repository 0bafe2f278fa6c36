"""What setup.cfg and README say about the package is so."""

from __future__ import annotations

import configparser
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def setup_py() -> Any:
    """The module setup.py, which sets nothing up when it is imported."""
    spec = importlib.util.spec_from_file_location("setup_of_the_package", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES, PICTURES = "https://forge.example/blob/v1/", "https://forge.example/raw/v1/"


def targets(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]*)\)", text)


def test_with_an_address_readme_leads_there(setup_py: Any) -> None:
    """Each link of the long description is absolute: those to files, with their anchors, and the pictures."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = setup_py.long_description(readme, FILES, PICTURES)
    assert len(targets(text)) == len(targets(readme))
    assert [target for target in targets(text) if not target.startswith("https://")] == []
    assert f"[Quickstart]({FILES}docs/quickstart.md)" in text
    assert f"]({PICTURES}docs/_static/demo.svg)" in text


def test_without_an_address_readme_leads_nowhere_dead(setup_py: Any) -> None:
    """What would be a dead link or picture is not there; the words are, and links to elsewhere."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = setup_py.long_description(readme)
    assert "Quickstart" in text
    assert "demo.svg" not in text
    assert targets(text) == [target for target in targets(readme) if target.startswith("https://")] != []


def test_links_are_told_from_what_is_none(setup_py: Any) -> None:
    """A link within the page, one to elsewhere and brackets in code stay as they are."""
    text = "[a](#b) [c](https://d.example/e) `f[0](g)`\n```python\nf[0](g)\n```\n"
    more = "![h](i.svg) [`j`](k.md#l)"
    absolute = f"{text}![h]({PICTURES}i.svg) [`j`]({FILES}k.md#l)"
    assert setup_py.long_description(text + more, FILES, PICTURES) == absolute
    assert setup_py.long_description(text + more) == f"{text} `j`"


def test_the_addresses_name_the_version(setup_py: Any, setup_cfg: configparser.RawConfigParser) -> None:
    """So the links of a release lead to what was released; both are given, or none is."""
    found = setup_py.addresses()
    assert set(found) == {"files", "pictures"}
    assert bool(found["files"]) == bool(found["pictures"])
    for address in filter(None, found.values()):
        assert setup_cfg["metadata"]["version"] in address
        assert address.endswith("/")
