"""``request``: an authenticated request from the shell."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Any

import click
import requests

from requests_cc_token.demo.worker import printable
from requests_cc_token.exceptions import TokenRequestError
from requests_cc_token.parameters import TOKEN_CHARACTERS

from .options import PROGRAM, Common, config_option, option
from .outcome import Exit, exit_code_of_status

#: Bytes that are taken from the connection at a time.
PIECE = 65_536


@click.command()
@click.argument("session")
@click.argument("path", default="")
@option("-X", "--method", help="The method; GET, or POST where there is a body.")
@option(
    *("-H", "--header", "headers"),
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header; may be repeated, and has a line of its own in the variable.",
)
@option("-d", "--data", help="The body; @FILE is a file's content, @- that of standard input.")
@option("--json", is_flag=True, help="The body is JSON: says so, and asks for JSON.")
@option("-i", "--include", is_flag=True, help="Print status and headers too.")
@option("-o", "--output", type=click.Path(dir_okay=False), help="Write the answer's body to this file.")
@config_option
@click.pass_obj
def request(
    common: Common,
    session: str,
    path: str,
    method: str | None,
    headers: tuple[str, ...],
    data: str | None,
    json: bool,
    include: bool,
    output: str | None,
) -> int:
    """Call the API of SESSION at PATH, which is relative to its base URL, with an access token.

    The answer's body goes to standard output as it comes.
    """
    fields: dict[str, str | bytes] = {"Content-Type": "application/json", "Accept": "application/json"} if json else {}
    fields.update(map(_field, headers))
    if not TOKEN_CHARACTERS.issuperset(method or ""):
        raise click.UsageError(f"{method!r} is no method; -X PUT, for example")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise click.UsageError("PATH is not UTF-8") from None
    with common.management() as management, contextlib.ExitStack() as stack:
        caller = stack.enter_context(management.make_session(session))
        body = None if data is None else _body(data, stack)
        verb = method or ("GET" if body is None else "POST")
        try:
            answer = stack.enter_context(caller.request(verb, path, headers=fields, data=body, stream=True))
            if include:
                click.echo(printable(f"{answer.status_code} {answer.reason}"))
                for name, value in answer.headers.items():
                    click.echo(printable(f"{name}: {value}"))
                click.echo()
            _write(answer, output, quiet=common.verbosity < 0)
        except TokenRequestError:
            raise
        except requests.RequestException as error:
            click.echo(f"{PROGRAM}: {printable(str(error))}", err=True)
            return Exit.FAILED
    if answer.status_code >= 400 and not include:
        click.echo(printable(f"{answer.status_code} {answer.reason}"), err=True)
    return exit_code_of_status(answer.status_code)


def _field(header: str) -> tuple[str, str | bytes]:
    """Name and value of a header; what is not ASCII is sent byte for byte as the shell gave it, as curl does."""
    name, colon, value = (part.strip() for part in header.partition(":"))
    if not (colon and name and name.isascii()):
        raise click.UsageError(f"{header!r} is no header; -H 'NAME: VALUE'")
    return name, value if value.isascii() else os.fsencode(value)


def _body(data: str, stack: contextlib.ExitStack) -> bytes | IO[bytes]:
    if data == "@-":
        if sys.stdin is None:
            raise click.UsageError("-d @-: standard input is closed")
        return sys.stdin.buffer
    if data.startswith("@"):
        return stack.enter_context(open(data[1:], "rb"))  # noqa: PTH123 - the stack closes it
    return os.fsencode(data)


def _write(answer: requests.Response, output: str | None, *, quiet: bool) -> None:
    """The body, piece by piece; on a terminal with a bar that says how far it is."""
    length = answer.headers.get("Content-Length", "")
    bar_is_seen = output is not None and not quiet and sys.stderr.isatty()
    with contextlib.ExitStack() as stack:
        advance: Any = None
        if bar_is_seen:
            from rich.console import Console
            from rich.progress import Progress

            progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
            task = progress.add_task("", total=int(length) if length.isdecimal() else None)
            advance = lambda size: progress.advance(task, size)  # noqa: E731
        target = sys.stdout.buffer if output is None else stack.enter_context(open(output, "wb"))  # noqa: PTH123
        for piece in answer.iter_content(PIECE):
            target.write(piece)
            if advance is not None:
                advance(len(piece))
        target.flush()
