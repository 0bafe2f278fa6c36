"""The reference of the command, made of the command itself::

python -m tests.command_reference       # writes it into docs/command.md anew
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from requests_cc_token.cli import app
from requests_cc_token.cli.options import PROGRAM

PAGE = Path(__file__).parents[1] / "docs" / "command.md"
HEADING = "\n## Every option\n"


def reference() -> str:
    """What follows the heading: usage, text and options of the program and of each command."""
    return "\n".join(lines_of(click.Context(app.commands, info_name=PROGRAM, **app.commands.context_settings)))


def lines_of(context: click.Context) -> Iterator[str]:
    """The lines of a command and of those in it."""
    command, path = context.command, context.command_path
    inner = getattr(command, "commands", {})
    yield f"\n### `{path}`\n"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    yield inspect.cleandoc(command.help or "")
    options = [row_of(option, context) for option in command.params if isinstance(option, click.Option)]
    if options:
        yield "\n| option | variable | default | it is |\n|---|---|---|---|"
        yield from options
    for name, each in inner.items():
        yield from lines_of(click.Context(each, info_name=name, parent=context))


def row_of(option: click.Option, context: click.Context) -> str:
    """The row of an option: flags, the variable that may stand for it, default, what it is."""
    flags = ", ".join(sorted(option.opts, key=len))
    takes = "" if option.is_flag or option.count else f" {option.metavar or (option.name or '').upper()}"
    text, _, variable = (option.help or "").partition("  [env var: ")
    if option.show_envvar:
        variable = f"{option.envvar or f'{context.auto_envvar_prefix}_{option.name}'.upper()}"
    default = f"`{option.default}`" if option.show_default else ""
    return f"| `{flags}{takes}` | {f'`{variable.rstrip(chr(93))}`' if variable else ''} | {default} | {text} |"


def rewritten(page: str) -> str:
    """The page with the reference as it is now."""
    return page.partition(HEADING)[0] + HEADING + reference() + "\n"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
