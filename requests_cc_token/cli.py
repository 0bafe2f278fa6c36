"""The command line: a demo, a token for scripts, a look at a configuration.

No secret is ever an argument, and none is printed but the token of ``token``.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .config import CONFIG_VARIABLE
from .demo.worker import DEFAULT_CALLS, DEFAULT_INTERVAL, Line, Summary, Worker, printable
from .exceptions import CCTokenError, ConfigurationError
from .management import AccessTokenManagement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .clients import ClientCredentialsClient

PROGRAM = "requests-cc-token"

#: The exit code of a program that Ctrl-C ended before it was done: 128 and the number of the signal.
INTERRUPTED = 128 + signal.SIGINT

_STYLES = {"ok": "green", "error": "red", "token": "cyan"}


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Errors are one line on standard error.

    Raises ``ImportError`` where an extra is missing that the command needs.
    """
    # Without a handler, Python prints warnings of libraries on its own, beside the one line that is to be there.
    logging.getLogger("requests_cc_token").addHandler(logging.NullHandler())
    try:
        code = commands.main(arguments, PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (CCTokenError, OSError) as error:
        click.echo(f"{PROGRAM}: {printable(str(error))}", err=True)
        return 1
    return code if isinstance(code, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def commands() -> None:
    """Client-credentials access tokens for requests."""


# token


@commands.command()
@click.argument("name", required=False)
@click.option("--header", is_flag=True, help="Print the whole header line, for curl -H and the like.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the token at most.")
@click.option("--config", metavar="FILE", envvar=CONFIG_VARIABLE, show_envvar=True, help="The TOML file.")
def token(name: str | None, header: bool, timeout: float | None, config: str | None) -> None:
    """Print an access token of the token client NAME.

    NAME may be left out while there is one token client.
    """
    with _management(config) as management:
        issued = management.service.get_access_token(name, timeout=timeout)
    click.echo(f"Authorization: {issued.authorization}" if header else issued.value)


# check


@commands.command()
@click.option("--config", metavar="FILE", envvar=CONFIG_VARIABLE, show_envvar=True, help="The TOML file.")
def check(config: str | None) -> None:
    """Check a configuration and list its token clients and sessions.

    Nothing is sent. Secrets are read, to see that they are there, and not shown.
    """
    with _management(config) as management:
        for client in management.clients.values():
            click.echo(printable(_described(client)))
        for name, (base_url, client_name) in management.sessions.items():
            management.make_session(name).close()
            uses = "the only client" if client_name is None else f"client {client_name}"
            click.echo(printable(f"session {name}: {base_url}, {uses}"))


def _described(client: ClientCredentialsClient) -> str:
    facts = [f"client {client.name}: {client.token_endpoint or client.issuer}", f"id {client.client_id}"]
    facts.append(client.auth.method)
    if client.client_secret is not None:
        client.client_secret.read()
        facts.append(f"secret from {client.client_secret.description}")
    facts.append(f"scope {' '.join(client.scope)}" if client.scope else "no scope")
    return ", ".join(facts)


def _management(config: str | None) -> AccessTokenManagement:
    if not config:
        raise ConfigurationError(f"no configuration; give --config FILE, or set {CONFIG_VARIABLE} to its path")
    return AccessTokenManagement.from_config(config)


# demo


@commands.command()
@click.option("--calls", type=click.IntRange(min=1), default=DEFAULT_CALLS, show_default=True, help="Calls to make.")
@click.option("--forever", is_flag=True, help="Call until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0),
    default=DEFAULT_INTERVAL,
    show_default=True,
    help="Seconds between the starts of two calls.",
)
@click.option(
    "--config",
    metavar="FILE",
    help=f"A TOML file: work against your own services. {CONFIG_VARIABLE} does not count here, so that a demo never "
    "calls them by surprise.",
)
@click.option("--session", metavar="NAME", help="The session to use, if the configuration has several.")
@click.option(
    "--path", default="test", show_default=True, help="What to get, relative to the base URL of the session."
)
def demo(calls: int, forever: bool, interval: float, config: str | None, session: str | None, path: str) -> int:
    """Run a worker that calls a protected API, and watch its tokens come and go.

    Without --config, a token service and an API start on this machine for the time of the demo.

    Exit code 0 if every call succeeded, 1 if one failed. Ctrl-C ends the worker after the call under way, which is
    code 0 with --forever and 130 without; a second one ends it at once.
    """
    with contextlib.ExitStack() as stack:
        if config is None:
            from .demo.embedded import embedded

            management, tokens, api = stack.enter_context(embedded())
            about = f"token service {tokens.token_endpoint}, API {api.base_url}"
        else:
            management = stack.enter_context(AccessTokenManagement.from_config(config))
            about = f"services of {config}"
        name = _session_name(management, session)
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
    return 1 if summary is None or summary.failed else 0


def _session_name(management: AccessTokenManagement, name: str | None) -> str:
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
