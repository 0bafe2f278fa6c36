"""Every error this package raises, as one tree.

* CCTokenError
  x ConfigurationError (also a ValueError)
  x TokenCacheError (never reaches a caller of get_access_token)
  x UnknownClientError (also a LookupError)
  x TokenRequestError (also a requests.RequestException)
    - TokenEndpointConnectionError (also a requests.ConnectionError)
    - TokenEndpointError
    - InvalidTokenResponseError
    - TokenRequestTimeout (also a requests.Timeout)

An error message names the token client, says what was said, and says what to do. No error ever holds the
token request: that one carries the secret. ``TokenRequestError.request`` is the API request of the caller.

Each error can be built from its ``args`` alone, which is what task queues do that send errors as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import requests

_E = TypeVar("_E", bound="TokenRequestError")

#: Characters of a text of somebody else that a message repeats at most: advice of token services is longer than a
#: line, and rarely longer than this.
MAX_TEXT = 500
#: Characters of a message that repeats what somebody gave: enough for a long path and the list of known keys.
MAX_MESSAGE = 1_000


def one_line(text: str, limit: int = MAX_TEXT, *, hide: Iterable[str] = ()) -> str:
    """Text of somebody else, fit for a message, a log line and a terminal.

    No line breaks, no control or format characters, at most ``limit`` characters, and ``***`` in the place of each
    text of ``hide``: credentials, should the other side repeat them. Give longer ones first.
    """
    for secret in hide:
        text = text.replace(secret, "***")
    line = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"


class CCTokenError(Exception):
    """The base class of all errors of this package."""


class ConfigurationError(CCTokenError, ValueError):
    """A registration or an option that cannot work; also a ``ValueError``.

    Raised when the value is given, before anything is sent. The message names the option and what it accepts.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, MAX_MESSAGE))


class TokenCacheError(CCTokenError):
    """A token cache could not be used; the text contains no secret.

    The token service catches it, logs the text once per cool-down and goes on without the cache.
    """


class UnknownClientError(CCTokenError, LookupError):
    """There is no token client, or no session, of that name; the message lists those that there are.

    Also a ``LookupError``.
    """

    def __init__(self, message: str, names: Iterable[str] = ()) -> None:
        super().__init__(message)
        #: The names that are registered, sorted.
        self.names = tuple(sorted(names))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.names)


class TokenRequestError(CCTokenError, requests.RequestException):
    """No access token could be obtained, so the API request was not sent. Its subclasses say what went wrong.

    Also a ``requests.RequestException``, so existing handlers for those catch it. ``request`` is the API request, never
    the token request, which contains the secret.
    """

    #: Whether trying again later may help. After an error that will not go away by itself, the next try comes later.
    transient = True

    def __init__(
        self,
        message: str,
        *,
        client: str | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
        response_text: str | None = None,
    ) -> None:
        super().__init__(message)
        #: The name of the token client, or None.
        self.client = client
        #: How many seconds the token service asked to wait (``Retry-After``, RFC 9110 section 10.2.3), or None.
        self.retry_after = retry_after
        #: The token service's answer: at most 4 KiB, without control characters and without the client's credentials.
        #: Of an answer that may contain a token, only the names and types of its members. None if there was none.
        self.response_text = response_text
        if transient is not None:
            self.transient = transient

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # The requests stay here: they may hold bodies that cannot travel.
        state = {k: v for k, v in self.__dict__.items() if k not in ("request", "response")}
        return _restore, (type(self), self.args, state)

    def for_caller(self: _E, request: requests.PreparedRequest | None = None) -> _E:
        """A copy of this error for one caller, with its ``request``.

        Several threads may wait for the fetch that failed; one shared instance would collect all their tracebacks.
        """
        error: _E = _restore(type(self), self.args, self.__dict__)
        error.request = request
        error.__cause__ = self.__cause__
        return error

    def reword(self, message: str) -> None:
        """Replace the message."""
        self.args = (message, *self.args[1:])


class TokenEndpointConnectionError(TokenRequestError, requests.ConnectionError):
    """The token service could not be reached, or the connection broke before its answer was complete.

    Also a ``requests.ConnectionError``.
    """


class TokenEndpointError(TokenRequestError):
    """The token service answered with an error (RFC 6749 section 5.2) or an HTTP status that is not a success.

    ``args`` are the message, ``status_code``, ``error``, ``error_description`` and ``error_uri``.
    """

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        error_uri: str | None = None,
        *,
        client: str | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
        response_text: str | None = None,
    ) -> None:
        super().__init__(
            message, client=client, retry_after=retry_after, transient=transient, response_text=response_text
        )
        self.args = (message, status_code, error, error_description, error_uri)
        #: The HTTP status of the answer.
        self.status_code = status_code
        #: The ``error`` code in the answer, such as ``"invalid_client"``, or None.
        self.error = error
        #: The ``error_description`` in the answer, without control characters and at most 4 KiB, or None.
        self.error_description = error_description
        #: The ``error_uri`` in the answer, an address with more about the error, or None.
        self.error_uri = error_uri


class InvalidTokenResponseError(TokenRequestError):
    """The token service's answer is a success, but contains no token that can be used (RFC 6749 section 5.1)."""


class TokenRequestTimeout(TokenRequestError, requests.Timeout):
    """The caller's timeout was over before the token was there. The token request goes on for other callers.

    Also a ``requests.Timeout``.
    """


def code_of(error: TokenRequestError) -> str | None:
    """The ``error`` code of the token service's answer (RFC 6749 section 5.2), or None where there is none."""
    code = getattr(error, "error", None)
    return code if isinstance(code, str) and code else None


def _restore(cls: type[_E], args: tuple[Any, ...], state: dict[str, Any]) -> _E:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(request=None, response=None)
    error.__dict__.update(state)
    return error
