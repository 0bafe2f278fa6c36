"""``demo``: a worker that is watched at its work."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import click
from click.core import ParameterSource

from requests_cc_token.config import CONFIG_VARIABLE
from requests_cc_token.demo.worker import DEFAULT_CALLS, DEFAULT_INTERVAL, Line, Summary, Worker
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.management import AccessTokenManagement

from .demo_output import Output
from .options import Common, Seconds, option, typed
from .outcome import INTERRUPTED, Exit

#: Stands among the worker's lines for Ctrl-C or SIGTERM.
_INTERRUPT = object()


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
    type=Seconds(min=0),
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
@option("--json", is_flag=True, help="Print each line as a JSON object, and what was done as the last one.")
@option("--svg", type=click.Path(dir_okay=False), help="Write what was seen to this file, as a picture.")
@click.pass_obj
def demo(
    common: Common,
    calls: int,
    forever: bool,
    interval: float,
    config: str | None,
    session: str | None,
    path: str,
    json: bool,
    svg: str | None,
) -> int:
    """Run a worker that calls a protected API, and watch its tokens come and go.

    Without --config, a token service and an API start on this machine for the time of the demo. On a terminal the life
    of each token is a bar that runs out. With -q before the command, calls that fail and the last line are all that is
    printed.

    Exit code 0 if every call succeeded, 1 if one failed. Ctrl-C ends the worker after the call under way, which is
    code 0 with --forever and 130 without; a second one ends it at once.
    """
    if forever and typed("calls"):
        raise click.UsageError("--calls and --forever exclude each other")
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
        output = stack.enter_context(Output(as_json=json, svg=svg, quiet=common.verbosity < 0))
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

    Its lines are printed here because a broken pipe then ends the program, not the thread in which a token was renewed.
    """

    def __init__(self, management: AccessTokenManagement, session: str, **options: Any) -> None:
        #: The worker's lines; None at its end, and `_INTERRUPT` for each Ctrl-C.
        self._lines: queue.SimpleQueue[Line | object | None] = queue.SimpleQueue()
        self._worker = Worker(management, session, log=self._lines.put, **options)
        self._summary: Summary | None = None
        self._interrupts = 0
        #: Whether Ctrl-C or SIGTERM ended it.
        self.interrupted = False

    def to_its_end(self, output: Output) -> Summary | None:
        """Work until done or interrupted, once; the summary, None where the worker failed and said why.

        Raises ``KeyboardInterrupt`` at a second interrupt.
        """
        # Before the worker begins: an interrupt may come with its first line.
        with _interrupts_call(self._interrupt):
            thread = threading.Thread(target=self._work, name="worker", daemon=True)
            thread.start()
            try:
                self._show(output)
                # Where an error ended it, Python is about to show that, and would not once this program has ended.
                thread.join()
            finally:
                self._worker.stop.set()
        return self._summary

    def _interrupt(self, number: int, _frame: object) -> None:
        """Note an interrupt. Raises nothing, since it comes amid whatever this thread does at that moment."""
        self._interrupts += 1
        self._lines.put(_INTERRUPT)
        if self._interrupts > 1:
            # Should this thread be stuck in printing, a third one ends it there.
            signal.signal(number, signal.default_int_handler)

    def _work(self) -> None:
        try:
            self._summary = self._worker.run()
        finally:
            self._lines.put(None)

    def _show(self, output: Output) -> None:
        for line in iter(self._lines.get, None):
            if self._interrupts > 1:
                raise KeyboardInterrupt
            if isinstance(line, Line):
                output.line(line)
            else:
                self.interrupted = True
                self._worker.stop.set()
                output.note("stopping after the call under way; Ctrl-C again stops at once")


@contextlib.contextmanager
def _interrupts_call(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call the handler, unless they are ignored, as by a job in the background of a script."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
