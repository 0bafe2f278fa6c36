"""What every command takes: the configuration, how much is said, and the name of each option in the environment."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from requests_cc_token.config import CONFIG_VARIABLE
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.management import AccessTokenManagement

PROGRAM = "requests-cc-token"

_F = TypeVar("_F", bound=Callable[..., Any])


class Option(click.Option):
    """An option whose help names its environment variable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"show_envvar": True, **kwargs})

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's value; of an option that may be repeated its lines, since each may hold blanks."""
        if not self.multiple:
            return super().value_from_envvar(ctx)
        return (self.resolve_envvar_value(ctx) or "").splitlines() or None


def option(*names: str, **settings: Any) -> Callable[[_F], _F]:
    """``click.option`` with the name of its environment variable in the help."""
    return click.option(*names, cls=Option, **settings)


class Seconds(click.FloatRange):
    """A length of time; ``nan`` is a number to Python and none to a clock."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of seconds."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no length of time", param, ctx)
        return seconds


def typed(name: str) -> bool:
    """Whether this option of the command stands on the command line; a default and a variable contradict nothing."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


@dataclass
class Common:
    """What was said before or after the command, once for all commands."""

    config: str | None = None
    #: From -1 (nothing but results and errors) to 2 (the log of libraries too).
    verbosity: int = 0

    def path(self) -> str:
        """The TOML file. Raises ``ConfigurationError`` where none was named."""
        if not self.config:
            raise ConfigurationError(f"no configuration; give --config FILE, or set {CONFIG_VARIABLE} to its path")
        return self.config

    def management(self) -> AccessTokenManagement:
        """The management that the TOML file describes. Raises ``ConfigurationError``."""
        return AccessTokenManagement.from_config(self.path())

    def log(self) -> None:
        """Show the log on standard error as far as it was asked for."""
        logger = logging.getLogger("requests_cc_token" if self.verbosity < 2 else None)
        # Without a handler, Python prints warnings of libraries on its own, beside the one line that is to be there.
        handler: logging.Handler = logging.NullHandler()
        if self.verbosity > 0:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            before = logger.level
            logger.setLevel(logging.DEBUG)
            click.get_current_context().call_on_close(lambda: logger.setLevel(before))
        logger.addHandler(handler)
        click.get_current_context().call_on_close(lambda: logger.removeHandler(handler))


def _keep_config(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Common).config = value


def config_option(function: _F) -> _F:
    """``--config FILE`` after the command too, where people write it."""
    told = f"The TOML file; the same as before the command.  [env var: {CONFIG_VARIABLE}]"
    return click.option("--config", metavar="FILE", expose_value=False, callback=_keep_config, help=told)(function)
