"""What ``demo`` shows: a line for whatever happens, and the life of each token as a bar that runs out."""

from __future__ import annotations

import contextlib
import io
import json
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from requests_cc_token.demo.worker import Line, Summary, printable

#: Columns of a bar, and of a picture: what the embedded API answers fits on a line.
BAR_WIDTH, PICTURE_WIDTH = 20, 126
#: Columns of a terminal from which on lines have bars: beside one, fewer leave the text hardly any room, or none.
LEAST_WIDTH = 72

#: The share of a token's life that is left when its renewal begins, or a little later.
_RENEWAL = 0.2
_STYLES = {"ok": "green", "error": "red", "token": "cyan"}

#: Black, red, green, yellow, blue, magenta, cyan, white: legible on the picture's own ground, whatever page it is on.
_COLOURS = [(96, 104, 112), (255, 130, 120), (125, 205, 130), (235, 190, 90), (130, 175, 255)]
_COLOURS += [(215, 160, 255), (110, 205, 215), (230, 237, 243)]
_THEME = TerminalTheme((22, 27, 34), (230, 237, 243), _COLOURS)
#: The variables are rich's; its own format loads a font from elsewhere.
_SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>A worker calls an API; its token runs out and is renewed</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Output:
    """The demo's lines on standard output, or in JSON, and in a picture.

    On a terminal that is wide enough, and in the picture, each line has the bar of its moment; on the terminal the last
    line is a bar that runs out while nothing else happens. Where it is quiet, calls that fail and the summary are all
    that is printed; the picture has everything. A context manager.
    """

    def __init__(self, *, as_json: bool = False, svg: str | None = None, quiet: bool = False) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._svg = svg
        # Answers and errors are foreign text: neither markup nor to be cut to a width.
        self._console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._picture = Console(
            record=True, file=io.StringIO(), width=PICTURE_WIDTH, force_terminal=True, color_system="truecolor"
        )
        is_wide = self._console.is_terminal and self._console.width >= LEAST_WIDTH
        self._has_bars = is_wide and not as_json and not quiet
        #: When the token came, and for how many seconds it was usable then.
        self._life: tuple[float, float] | None = None
        self._until_the_end = contextlib.ExitStack()

    def __enter__(self) -> Output:
        if self._has_bars:
            live = Live(
                get_renderable=lambda: self._row(Line(time.time(), "token", "")),
                console=self._console,
                refresh_per_second=10,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._until_the_end.enter_context(live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._until_the_end.close()
        if self._svg is not None:
            picture = self._picture.export_svg(
                title="requests-cc-token demo", theme=_THEME, code_format=_SVG, unique_id="demo"
            )
            Path(self._svg).write_text(picture, encoding="utf-8")

    def line(self, line: Line) -> None:
        """Show a line of the worker's, and what it says of the token's life."""
        if line.event is not None and line.event.kind in ("obtained", "renewed"):
            self._life = line.time, line.event.expires_in or 0.0
        elif line.event is not None and line.event.kind == "rejected":
            self._life = None
        if not self._quiet or line.kind == "error":
            self._print(line)
        self._picture.print(self._row(line))

    def _print(self, line: Line) -> None:
        if self._as_json:
            click.echo(json.dumps({"time": line.time, "kind": line.kind, "text": line.text}))
        elif self._has_bars:
            self._console.print(self._row(line))
        else:
            self._console.print(f"{_moment(line)}  {line.text}", style=_STYLES[line.kind])

    def note(self, text: str) -> None:
        """Show what the demo itself has to say."""
        if self._quiet:
            pass
        elif self._as_json:
            click.echo(json.dumps({"time": time.time(), "kind": "note", "text": printable(text)}))
        else:
            self._console.print(printable(text), style="dim")
        self._picture.print(Text(printable(text)))

    def summary(self, summary: Summary) -> None:
        """Show what was done."""
        text = (
            f"{_counted(summary.calls, 'call')}: {summary.ok} ok, {summary.failed} failed; "
            f"{_counted(summary.token_requests, 'token request')}, "
            f"{_counted(summary.renewed, 'renewal')} in the background"
        )
        if self._as_json:
            click.echo(json.dumps(asdict(summary)))
        else:
            self._console.print(text, style="bold")
        self._picture.print(Text(text, style="bold"))

    def _row(self, line: Line) -> Table:
        """A line with the bar of its moment."""
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(no_wrap=True)
        row.add_column(width=BAR_WIDTH)
        row.add_column(width=6, justify="right")
        row.add_column(overflow="fold")
        came, lifetime = self._life or (line.time, 0.0)
        left = max(0.0, came + lifetime - line.time)
        style = "green" if left > _RENEWAL * lifetime else "yellow"
        bar = ProgressBar(total=lifetime or 1.0, completed=left, complete_style=style, finished_style=style)
        seconds = "" if self._life is None else f"{left:.1f} s"
        row.add_row(_moment(line), bar, seconds, Text(line.text, style=_STYLES[line.kind]))
        return row


def _moment(line: Line) -> str:
    local = datetime.fromtimestamp(line.time, timezone.utc).astimezone()
    return local.strftime("%H:%M:%S.") + f"{local.microsecond // 1000:03}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
