"""The operators' page says what the command does."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from requests_cc_token import AccessTokenManagement
from requests_cc_token.cli import app
from requests_cc_token.cli.outcome import Exit
from requests_cc_token.testing import FakeApi, FakeTokenService, ManualClock

from .failures import FAILURES, blocks
from .scripted_server import PATIENCE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_each_command_has_a_row() -> None:
    """And no other is there."""
    assert {name.split()[0] for name in re.findall(r"^\| `([^`]+)`", section("Commands"), re.MULTILINE)} == set(
        app.commands.commands
    )


def test_each_exit_code_has_a_row() -> None:
    """And no other is there."""
    assert list(map(int, re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE))) == sorted(map(int, Exit))


@pytest.mark.parametrize("text", re.findall(r"^\| `([^`]+)` \|", section("What `check --live` says"), re.MULTILINE))
def test_what_check_live_says_is_said(text: str) -> None:
    """Each text of the table is one of the command's own."""
    folder = ROOT / "requests_cc_token" / "cli"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert text in sources


@pytest.mark.parametrize(("title", "printed"), blocks(PAGE), ids=[title for title, _ in blocks(PAGE)])
def test_what_the_page_prints_is_what_the_command_prints(title: str, printed: str, tmp_path: Path) -> None:
    """Each failure of the page is made, and output and exit code are as printed but for ports and times.

    ``python -m tests.failures`` writes them anew.
    """
    (failure,) = [failure for failure in FAILURES if failure.title == title]
    with failure.scene(tmp_path) as scene:
        assert printed == scene.session()
    assert f"\n{failure.exit_code}\n" in printed


def test_the_page_walks_through_eleven_failures() -> None:
    """Each under its heading, with what the command prints."""
    titles = [title for title, _ in blocks(PAGE)]
    assert len(titles) == len(set(titles)) == 11
    assert titles == re.findall(r"^### (.+)$", section("Eleven failures"), re.MULTILINE)


@pytest.fixture
def night() -> Iterator[tuple[FakeTokenService, FakeApi]]:
    with FakeTokenService() as tokens, FakeApi(tokens) as api:
        yield tokens, api


def test_the_log_of_a_night_is_what_such_a_night_logs(
    night: tuple[FakeTokenService, FakeApi], caplog: pytest.LogCaptureFixture
) -> None:
    """An outage over the end of a token, then a revocation: the page's lines, at its times, but for the pauses."""
    printed = section("From the log alone").partition("```text\n")[2].partition("```")[0].splitlines()
    tokens, api = night
    happens = {"01:03:45": lambda: tokens.fail_always(503), "01:17:05": tokens.recover, "02:02:40": tokens.revoke_all}
    clock = ManualClock()
    management = AccessTokenManagement(clock=clock)
    management.configure_backchannel(max_tries=1)
    management.add_client(
        "erp", token_endpoint=tokens.token_endpoint, client_id=tokens.client_id, client_secret=tokens.client_secret
    )
    management.add_session("erp", base_url=api.base_url)
    caplog.set_level(logging.INFO, logger="requests_cc_token")
    logged: list[str] = []
    now = 0
    with management, management.make_session("erp") as session:
        for moment in dict.fromkeys(line.split()[0] for line in printed):
            hours, minutes, seconds = map(int, moment.split(":"))
            then = hours * 3600 + minutes * 60 + seconds
            clock.advance(then - now)
            now = then
            happens.get(moment, lambda: None)()
            caplog.clear()
            with suppress(requests.RequestException):
                session.get("orders")
            until = time.monotonic() + PATIENCE
            # A renewal in the background logs in its own thread.
            while len(caplog.records) < sum(line.startswith(moment) for line in printed):
                assert time.monotonic() < until, moment
            logged += [f"{moment} {record.levelname} {record.getMessage()}" for record in caplog.records]

    shown = [line.replace(tokens.token_endpoint, "https://login.example.com/token") for line in logged]
    pause = re.compile(r"next try in [\d.]+ s")
    assert [pause.sub("", line) for line in shown] == [pause.sub("", line) for line in printed]
