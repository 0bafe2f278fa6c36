"""``WWW-Authenticate``, parsed (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

#: Characters that are parsed of all lines of an answer together: as much as most servers let all headers be.
MAX_TEXT = 8_192
#: Challenges that are read of an answer; real ones have one to three.
MAX_CHALLENGES = 32

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME = re.compile(rf"[ \t,]*({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)[ \t]*(?=,|$)")
_PARAMETER = re.compile(rf'[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|$)', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class Challenge(NamedTuple):
    """One challenge of a ``WWW-Authenticate`` header: a scheme and its parameters (RFC 9110 section 11.6.1)."""

    #: The scheme in lower case, such as ``"bearer"`` or ``"dpop"``.
    scheme: str
    #: The parameters: values by name, names in lower case.
    parameters: Mapping[str, str] = MappingProxyType({})
    #: The single value that some schemes have instead of parameters, or None.
    token68: str | None = None

    @property
    def error(self) -> str | None:
        """The error code of RFC 6750 section 3.1 and RFC 9449 section 7.1, or None."""
        return self.parameters.get("error")

    @property
    def error_description(self) -> str | None:
        """The explanation of the error for people, or None (RFC 6750 section 3)."""
        return self.parameters.get("error_description")

    @property
    def scope(self) -> str | None:
        """The scope that the request needs, space-separated, or None if it is not named (RFC 6750 section 3)."""
        return self.parameters.get("scope")


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all ``WWW-Authenticate`` header lines.

    Text that is no challenge ends the line in which it stands; what came before it counts. A challenge that
    names a parameter twice is dropped, since nobody can know which one was meant. Of an answer that says far more
    than real ones do, a line that would be too much is left out.
    """
    challenges: list[Challenge] = []
    left = MAX_TEXT
    for line in lines:
        if len(line) <= left:
            left -= len(line)
            challenges.extend(itertools.islice(_parse_line(line), MAX_CHALLENGES - len(challenges)))
    return tuple(challenges)


def _parse_line(line: str) -> Iterator[Challenge]:
    position = 0
    while match := _SCHEME.match(line, position):
        scheme, position = match[1].lower(), match.end()
        if match := _TOKEN68.match(line, position):
            yield Challenge(scheme, {}, match[1])
            position = match.end()
            continue
        parameters: dict[str, str] = {}
        repeated = False
        while match := _PARAMETER.match(line, position):
            name, position = match[1].lower(), match.end()
            repeated = repeated or name in parameters
            parameters[name] = match[3] if match[2] is None else _QUOTED_PAIR.sub(r"\1", match[2])
        if not repeated:
            yield Challenge(scheme, parameters)
