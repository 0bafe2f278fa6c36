"""``demo``: a worker that is watched at its work."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import click
from click.core import ParameterSource

from requests_cc_token.config import CONFIG_VARIABLE
from requests_cc_token.demo.worker import DEFAULT_CALLS, DEFAULT_INTERVAL, Line, Summary, Worker, printable
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.management import AccessTokenManagement

from .options import option
from .outcome import INTERRUPTED, Exit

_STYLES = {"ok": "green", "error": "red", "token": "cyan"}


def _said_before() -> str | None:
    """The configuration that was named before the command, on the command line and not by the environment."""
    outer = click.get_current_context().parent
    if outer is None or outer.get_parameter_source("config") is not ParameterSource.COMMANDLINE:
        return None
    config: str | None = outer.params.get("config")
    return config


@click.command()
@option("--calls", type=click.IntRange(min=1), default=DEFAULT_CALLS, show_default=True, help="Calls to make.")
@option("--forever", is_flag=True, help="Call until Ctrl-C.")
@option(
    "--interval",
    type=click.FloatRange(min=0),
    default=DEFAULT_INTERVAL,
    show_default=True,
    help="Seconds between the starts of two calls.",
)
@option(
    "--config",
    metavar="FILE",
    default=_said_before,
    help=f"A TOML file: work against your own services. {CONFIG_VARIABLE} does not count here, so that a demo never "
    "calls them by surprise.",
)
@option("--session", metavar="NAME", help="The session to use, if the configuration has several.")
@option("--path", default="test", show_default=True, help="What to get, relative to the base URL of the session.")
def demo(calls: int, forever: bool, interval: float, config: str | None, session: str | None, path: str) -> int:
    """Run a worker that calls a protected API, and watch its tokens come and go.

    Without --config, a token service and an API start on this machine for the time of the demo.

    Exit code 0 if every call succeeded, 1 if one failed. Ctrl-C ends the worker after the call under way, which is
    code 0 with --forever and 130 without; a second one ends it at once.
    """
    with contextlib.ExitStack() as stack:
        if config is None:
            from requests_cc_token.demo.embedded import embedded

            management, tokens, api = stack.enter_context(embedded())
            about = f"token service {tokens.token_endpoint}, API {api.base_url}"
        else:
            management = stack.enter_context(AccessTokenManagement.from_config(config))
            about = f"services of {config}"
        name = session_name(management, session)
        base_url, _ = management.sessions[name]
        output = _Output()
        output.note(about)
        output.note(f"session {name!r} calls {base_url}{path}")
        run = _Run(management, name, calls=None if forever else calls, interval=interval, path=path)
        summary = run.to_its_end(output)
        if summary is not None:
            output.summary(summary)
    if run.interrupted and not forever:
        return INTERRUPTED
    return Exit.FAILED if summary is None or summary.failed else Exit.FINE


def session_name(management: AccessTokenManagement, name: str | None) -> str:
    """The session that is meant: the named one, else the only one. Raises ``ConfigurationError``."""
    names = sorted(management.sessions)
    if name in names:
        return name
    listed = ", ".join(map(repr, names)) or "none"
    if name is not None:
        raise ConfigurationError(f"no session is named {name!r}; the configuration has {listed}")
    if len(names) != 1:
        raise ConfigurationError(f"choose a session with --session; the configuration has {listed}")
    return names[0]


class _Run:
    """A worker in a thread of its own, and its lines in ours.

    In a thread because an interrupt then never lands amid a call: the worker is told, and comes to its end. Its lines
    are printed here because a broken pipe then ends the program, not the thread in which a token was renewed.
    """

    def __init__(self, management: AccessTokenManagement, session: str, **options: Any) -> None:
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._worker = Worker(management, session, log=self._lines.put, **options)
        self._summary: Summary | None = None
        #: Whether Ctrl-C or SIGTERM ended it.
        self.interrupted = False

    def to_its_end(self, output: _Output) -> Summary | None:
        """Work until done or interrupted, once; the summary, None where the worker failed and said why."""
        threading.Thread(target=self._work, name="worker", daemon=True).start()
        try:
            with _sigterm_interrupts():
                try:
                    self._show(output)
                except KeyboardInterrupt:
                    self.interrupted = True
                    self._worker.stop.set()
                    output.note("stopping after the call under way; Ctrl-C again stops at once")
                    self._show(output)
        finally:
            self._worker.stop.set()
        return self._summary

    def _work(self) -> None:
        try:
            self._summary = self._worker.run()
        finally:
            self._lines.put(None)

    def _show(self, output: _Output) -> None:
        for line in iter(self._lines.get, None):
            output.line(line)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Output:
    """The demo's lines on standard output, with colours on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        # Answers and errors are foreign text: neither markup nor to be cut to a width.
        self._console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)

    def line(self, line: Line) -> None:
        local = datetime.fromtimestamp(line.time, timezone.utc).astimezone()
        moment = local.strftime("%H:%M:%S.") + f"{local.microsecond // 1000:03}"
        self._console.print(f"{moment}  {line.text}", style=_STYLES[line.kind])

    def note(self, text: str) -> None:
        self._console.print(printable(text), style="dim")

    def summary(self, summary: Summary) -> None:
        self._console.print(
            f"{_counted(summary.calls, 'call')}: {summary.ok} ok, {summary.failed} failed; "
            f"{_counted(summary.token_requests, 'token request')}, "
            f"{_counted(summary.renewed, 'renewal')} in the background",
            style="bold",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
