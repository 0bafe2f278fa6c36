"""How token requests are sent: times, tries and the way, as ``configure_backchannel`` takes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, Union

import requests

from requests_cc_token.clock import checked_seconds
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError
from requests_cc_token.keyword_arguments import is_whole_number
from requests_cc_token.retry_delays import full_jitter

#: Seconds to connect and seconds between two bytes of the answer: token services answer in well under one.
DEFAULT_TIMEOUT = (5.0, 10.0)
#: Seconds that a fetch may take with all its tries: less than most callers' own patience.
DEFAULT_MAX_TIME = 30.0
#: Tries of one fetch while somebody waits for it; further ones are left to the hold-off's schedule.
DEFAULT_MAX_TRIES = 4

#: Seconds between the tries, or a wait generator as `backoff` defines them.
Wait = Union[Iterable[float], Callable[[], Generator[float, Any, None]]]


class BackchannelOptions(NamedTuple):
    """How token requests are sent; a value, replaced as a whole by ``configure_backchannel``."""

    #: Seconds between the tries, used exactly; None for full jitter.
    wait: tuple[float, ...] | Callable[[], Generator[float, Any, None]] | None = None
    #: Seconds (connect, read).
    timeout: tuple[float | None, float | None] = DEFAULT_TIMEOUT
    #: Seconds for a whole fetch.
    max_time: float = DEFAULT_MAX_TIME
    #: Tries of one fetch; None for ``DEFAULT_MAX_TRIES``, or as many as ``wait`` has it.
    max_tries: int | None = None
    #: A session of the user's, or None for our own.
    session: requests.Session | None = None
    #: Certificate verification of our own session, as in requests: a CA bundle's path, or False.
    verify: bool | str = True
    #: Proxies of our own session, as in requests.
    proxies: Mapping[str, str] | None = None

    def changed(
        self,
        *,
        wait: Wait | None = None,
        session: requests.Session | None = None,
        timeout: float | tuple[float | None, float | None] | None = None,
        max_time: float | None = None,
        max_tries: int | None = None,
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> BackchannelOptions:
        """These options with the given ones in place. Raises ``ConfigurationError``."""
        changes: dict[str, Any] = {}
        if wait is not None:
            changes["wait"] = _wait_generator(wait) if callable(wait) else _waits(wait)
        if timeout is not None:
            pair = tuple(timeout) if isinstance(timeout, (tuple, list)) else (timeout, timeout)
            if len(pair) != 2:
                raise ConfigurationError("backchannel: timeout must be seconds, or (connect, read) seconds")
            changes["timeout"] = tuple(None if t is None else checked_seconds(t, "backchannel: timeout") for t in pair)
        if max_time is not None:
            changes["max_time"] = checked_seconds(max_time, "backchannel: max_time")
        if max_tries is not None:
            changes["max_tries"] = _tries(max_tries)
        if session is not None:
            changes["session"] = _session(session)
        if verify is not None:
            changes["verify"] = _verification(verify)
        if proxies is not None:
            changes["proxies"] = _proxies(proxies)
        options = self._replace(**changes)
        if options.session is not None and (options.verify is not True or options.proxies is not None):
            raise ConfigurationError(
                "backchannel: verify and proxies are for the built-in session; set them on the session you give"
            )
        return options

    def __repr__(self) -> str:
        # Session and proxies may hold passwords.
        return f"<BackchannelOptions wait={self.wait!r} timeout={self.timeout} max_time={self.max_time}>"

    def waits(self) -> Iterator[Callable[[TokenRequestError], float]]:
        """For each further try, how long to wait before it, given the last error."""
        further = None if self.max_tries is None else self.max_tries - 1
        if self.wait is None:
            for failures in range(1, 1 + (DEFAULT_MAX_TRIES - 1 if further is None else further)):
                yield partial(_jittered, failures)
        elif callable(self.wait):
            generator = self.wait()
            next(generator, None)  # a wait generator of backoff starts with an empty send
            yield from repeat(generator.send) if further is None else repeat(generator.send, further)
        else:
            for seconds in self.wait[:further]:
                yield partial(_exactly, seconds)


def _jittered(failures: int, _: TokenRequestError) -> float:
    return full_jitter(failures)


def _exactly(seconds: float, _: TokenRequestError) -> float:
    return seconds


def _wait_generator(given: Callable[[], object]) -> Callable[[], object]:
    try:
        is_one = isinstance(given(), Generator)  # nothing of it runs yet
    except TypeError:
        is_one = False  # backoff.runtime, say, without its value=
    if not is_one:
        raise ConfigurationError(
            "backchannel: wait must be a wait generator that is called without arguments, such as "
            "functools.partial(backoff.expo, factor=2), or the seconds between the tries"
        )
    return given


def _waits(given: object) -> tuple[float, ...]:
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
        raise ConfigurationError("backchannel: wait must be the seconds between the tries, such as (1, 2, 3)")
    return tuple(checked_seconds(seconds, "backchannel: wait", zero=True) for seconds in given)


def _verification(given: object) -> bool | str:
    if isinstance(given, bool):
        return given
    if not isinstance(given, (str, os.PathLike)) or not os.path.exists(given):  # noqa: PTH110 - Path.exists() raises for some
        raise ConfigurationError("backchannel: verify must be a CA bundle's path, or False")
    return os.fspath(given)


def _proxies(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise ConfigurationError("backchannel: proxies must be a mapping such as {'https': 'http://proxy:3128'}")
    return dict(given)


def _tries(given: object) -> int:
    if not is_whole_number(given, 1):
        raise ConfigurationError("backchannel: max_tries must be a whole number above 0")
    return given


def _session(given: object) -> requests.Session:
    if not isinstance(given, requests.Session):
        raise ConfigurationError("backchannel: session must be a requests.Session")
    return given
