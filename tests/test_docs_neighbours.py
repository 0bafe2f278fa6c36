"""The table of the page "Beside other libraries" and the tests of neighbours name each other."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "beside-other-libraries.md"


def test_each_library_of_the_table_has_its_tests_and_the_other_way_round() -> None:
    """No file of ``tests/neighbours`` is missing in the table, and none of the table's is missing there."""
    named = set(re.findall(r"`(test_\w+\.py)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {path.name for path in (TESTS / "neighbours").glob("test_*.py")}


def test_each_host_of_the_page_has_a_test() -> None:
    """The pages about jobs, SDKs and shells name each of ``tests/hosts``."""
    pages = (TESTS.parent / "docs" / f"{name}.md" for name in ("jobs", "sdks", "shells"))
    page = "".join(path.read_text(encoding="utf-8") for path in pages).lower()
    for path in (TESTS / "hosts").glob("test_*.py"):
        words = path.stem.removeprefix("test_").split("_")
        assert all(word in page for word in words), path.name


def test_each_library_is_installed_by_its_environment() -> None:
    """What a test needs is among the ``deps`` of an environment of ``tox.ini``, so that no test is skipped in all."""
    installed = (TESTS.parent / "tox.ini").read_text(encoding="utf-8")
    for path in (*(TESTS / "neighbours").glob("test_*.py"), *(TESTS / "hosts").glob("test_*.py")):
        for name in re.findall(r'needed\(f?"([\w-]+)', path.read_text(encoding="utf-8")):
            assert re.search(rf"^ +{name}", installed, re.MULTILINE) or name in ELSEWHERE, (path.name, name)


#: What comes with the extra ``test``, and with niquests.
ELSEWHERE = {"responses", "urllib3-future"}
