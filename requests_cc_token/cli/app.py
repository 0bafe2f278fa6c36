"""The commands together, and what the process ends with.

No secret is ever an argument, and none is printed but the token of ``token``.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from requests_cc_token import __version__
from requests_cc_token.config import CONFIG_VARIABLE
from requests_cc_token.demo.worker import printable
from requests_cc_token.exceptions import CCTokenError

from .cache import cache
from .call import request
from .check import check
from .demo import demo
from .discover import discover
from .keys import keys
from .options import PROGRAM, Common, option, typed
from .outcome import INTERRUPTED, exit_code
from .token import token


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Errors are one line on standard error.

    Raises ``ImportError`` where an extra is missing that the command needs.
    """
    try:
        code = commands.main(arguments, PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (CCTokenError, OSError) as error:
        click.echo(f"{PROGRAM}: {printable(str(error))}", err=True)
        return exit_code(error)
    return code if isinstance(code, int) else 0


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "REQUESTS_CC_TOKEN"},
    epilog="Exit codes: 0 fine, 1 the call's own failure, 2 usage or configuration, 3 the token service refused, 4 it "
    "could not be reached in time, 5 the API refused, 6 the store of tokens. NO_COLOR is obeyed.",
)
@click.version_option(__version__, prog_name=PROGRAM)
@option("--config", metavar="FILE", envvar=CONFIG_VARIABLE, help="The TOML file with clients and sessions.")
@option("-v", "--verbose", count=True, help="Show the log on standard error; twice, that of the libraries too.")
@option("-q", "--quiet", is_flag=True, help="Only results and errors.")
@click.pass_context
def commands(context: click.Context, config: str | None, verbose: int, quiet: bool) -> None:
    """Client-credentials access tokens for requests."""
    if typed("quiet") and typed("verbose"):
        raise click.UsageError("-q and -v exclude each other")
    context.obj = Common(config, -1 if quiet else verbose)
    context.obj.log()


for command in (check, request, token, cache, keys, discover, demo):
    commands.add_command(command)
