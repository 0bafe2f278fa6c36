"""What ``demo`` shows: bars that run out on a terminal and in a picture, lines elsewhere, and JSON for programs."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from requests_cc_token.cli.app import run
from requests_cc_token.cli.demo_output import BAR_WIDTH, Output
from requests_cc_token.demo.worker import Line
from requests_cc_token.events import EventKind, TokenEvent

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "_static" / "demo.svg"

NOW = 1_700_000_000.0


def told(after: float, kind: EventKind, expires_in: float | None = None) -> Line:
    return Line(NOW + after, "token", kind, TokenEvent(kind, "erp", expires_in=expires_in))


def called(after: float) -> Line:
    return Line(NOW + after, "ok", "called")


def bar(output: Output, line: Line) -> tuple[int, str | None, str]:
    """How much of the bar is left, its colour, and how long that is, of a line as it is shown."""
    console = Console(width=120, color_system="truecolor", force_terminal=True)
    segments = list(console.render(output._row(line)))
    left = [s for s in segments if "━" in s.text and s.style and s.style.color and s.style.color.name != "grey23"]
    seconds = re.search(r"[\d.]+ s\b", "".join(segment.text for segment in segments))
    colour = next((segment.style.color.name for segment in left if segment.style and segment.style.color), None)
    return sum(len(s.text) for s in left), colour, seconds[0] if seconds else ""


def test_a_life_runs_out_and_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    """Full when the token comes, half at its half, of another colour towards its end, full again once renewed."""
    with Output() as output:
        assert bar(output, called(0)) == (0, None, "")
        output.line(told(0, "obtained", 10.0))
        assert bar(output, called(0)) == (BAR_WIDTH, "green", "10.0 s")
        assert bar(output, called(5)) == (BAR_WIDTH // 2, "green", "5.0 s")
        assert bar(output, called(9)) == (BAR_WIDTH // 10, "yellow", "1.0 s")
        assert bar(output, called(11)) == (0, None, "0.0 s")
        output.line(told(9, "served_stale", 1.0))
        assert bar(output, called(9)) == (BAR_WIDTH // 10, "yellow", "1.0 s")
        output.line(told(9.5, "renewed", 10.0))
        assert bar(output, called(9.5)) == (BAR_WIDTH, "green", "10.0 s")
        output.line(told(10, "rejected"))
        assert bar(output, called(10)) == (0, None, "")
    assert "━" not in capsys.readouterr().out


def test_on_a_terminal_each_line_has_its_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing of an answer is cut off."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with Output() as output:
        output.line(told(0, "obtained", 10.0))
        output.line(Line(NOW + 5, "ok", "an answer " * 12 + "and its end"))
    out = capsys.readouterr().out
    assert out.count("━") >= 2 * BAR_WIDTH - 2
    assert "10.0 s" in out
    assert "its end" in re.sub(r"\s+", " ", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out))


def test_a_narrow_terminal_has_no_bars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The text counts: beside a bar it would have no column left."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "44")
    with Output() as output:
        output.line(told(0, "obtained", 10.0))
        output.line(Line(NOW + 5, "ok", "an answer and its end"))
    out = capsys.readouterr().out
    assert "━" not in out
    assert "an answer and its end" in out


@pytest.mark.skipif(os.name != "posix", reason="a terminal is made with pty")
def test_a_real_terminal() -> None:
    """The program on a terminal of its own: bars, and the summary at the end; nothing on standard error."""
    import pty

    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "requests_cc_token", "demo", "--calls", "3", "--interval", "0.001"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(arguments, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65_536):
                seen += piece
        except OSError:
            pass  # how Linux says that the other side has closed
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(ours)
    assert process.returncode == 0
    assert "━" * BAR_WIDTH in seen.decode()
    assert "3 calls: 3 ok, 0 failed" in seen.decode()


def test_json_is_a_line_for_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each line is an object, and the last one says what was done; keys as documented."""
    assert run(["demo", "--calls", "2", "--interval", "0.001", "--json"]) == 0
    *lines, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert {tuple(line) for line in lines} == {("time", "kind", "text")}
    assert {line["kind"] for line in lines} == {"note", "token", "ok"}
    assert set(summary) == {"calls", "ok", "failed", "token_requests", "obtained", "renewed"}
    assert (summary["calls"], summary["ok"]) == (2, 2)


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_quiet_prints_failures_and_the_summary(
    as_json: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -q no call that went well is printed, no token, no bar and no word of the demo's; the picture has them."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    picture = tmp_path / "demo.svg"
    demo = ["-q", "demo", "--interval", "0.001", "--svg", str(picture), *as_json]
    assert run([*demo, "--calls", "2"]) == 0
    (summary,) = plain_lines(capsys.readouterr().out)
    assert "2" in summary
    assert "call 2: 200" in lines_of_calls(picture)
    assert run([*demo, "--calls", "1", "--path", "nowhere"]) == 1
    failure, summary = plain_lines(capsys.readouterr().out)
    assert "call 1: 404" in failure
    assert "━" not in failure


def plain_lines(printed: str) -> list[str]:
    """What a terminal shows, without colours: some versions of rich end theirs in the next line."""
    return re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()


def lines_of_calls(picture: Path) -> str:
    """The texts of a picture, as they follow each other."""
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return " ".join(html.unescape(text).replace("\xa0", " ") for text in texts)


# The picture


def lines_of(picture: str) -> set[str]:
    """The texts of a picture, without what differs from run to run: bars, times, ports."""
    matrix = picture.partition("-matrix\">")[2]
    found = re.findall(r"<text [^>]*>([^<]*)</text>", matrix)
    texts = {re.sub(r"\d+", "0", html.unescape(text).replace("\xa0", " ")).strip() for text in found}
    texts = {text.replace("requests,", "request,").replace("renewals", "renewal") for text in texts}
    return {text for text in texts if text and not set(text) <= set("━╸╺")}


def test_the_picture_is_what_was_seen(tmp_path: Path) -> None:
    """--svg writes the lines with their bars. The picture of the docs is such a one, of the embedded services.

    ``requests-cc-token demo --svg docs/_static/demo.svg`` makes it anew.
    """
    path = tmp_path / "demo.svg"
    assert run(["demo", "--calls", "3", "--interval", "0.001", "--svg", str(path)]) == 0
    fresh = lines_of(path.read_text(encoding="utf-8"))
    shown = lines_of(PICTURE.read_text(encoding="utf-8"))
    assert fresh <= shown
    assert {text.partition(",")[0] for text in shown - fresh} == {"token of 'worker' renewed in the background"}
    for page in (ROOT / "README.md", ROOT / "docs" / "quickstart.md"):
        assert "_static/demo.svg" in page.read_text(encoding="utf-8")


def test_the_picture_is_legible_and_loads_nothing() -> None:
    """Each colour has enough contrast to the picture's own ground (WCAG 2, 4.5 to 1), on whatever page it is."""
    picture = PICTURE.read_text(encoding="utf-8")
    assert ElementTree.fromstring(picture).get("viewBox")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1", "")
    assert "url(" not in picture.replace("url(#", "")
    ground = re.search(r'<rect fill="(#\w{6})"', picture)
    assert ground is not None
    styles = {colour for _, colour in re.findall(r"\.demo-r(\d+) \{ fill: (#\w{6})", picture)}
    # The part of a bar that is gone is there to be overlooked.
    legible = {colour for colour in styles if contrast(colour, ground[1]) >= 4.5}
    assert len(legible) >= 4
    assert len(styles - legible) == 1


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
