"""Exit codes, and which error means which."""

from __future__ import annotations

import signal
from enum import IntEnum

from requests_cc_token.exceptions import (
    CCTokenError,
    InvalidTokenResponseError,
    TokenCacheError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestTimeout,
)

#: What a program ends with that Ctrl-C ended before it was done: 128 and the number of the signal.
INTERRUPTED = 128 + signal.SIGINT


class Exit(IntEnum):
    """What ``requests-cc-token`` ends with."""

    FINE = 0
    #: The call's own failure: an API that does not answer, or answers with a status that has nothing to do with tokens.
    FAILED = 1
    #: Usage or configuration; also an extra that is not installed.
    CONFIGURATION = 2
    #: The token service refused, or answered with something that is no token.
    TOKEN_REFUSED = 3
    #: The token service could not be reached in time.
    NOT_REACHED = 4
    #: The API refused the token: 401 or 403.
    API_REFUSED = 5
    #: The store of tokens.
    STORE = 6


def exit_code(error: Exception) -> Exit:
    """The exit code that an error means."""
    if isinstance(error, (TokenEndpointError, InvalidTokenResponseError)):
        return Exit.TOKEN_REFUSED
    if isinstance(error, (TokenEndpointConnectionError, TokenRequestTimeout)):
        return Exit.NOT_REACHED
    if isinstance(error, TokenCacheError):
        return Exit.STORE
    # Other token request errors are of this side: a secret that cannot be read, a method that the issuer lacks.
    if isinstance(error, CCTokenError):
        return Exit.CONFIGURATION
    return Exit.FAILED


def exit_code_of_status(status: int) -> Exit:
    """The exit code that an API's answer means."""
    if status in (401, 403):
        return Exit.API_REFUSED
    return Exit.FINE if status < 400 else Exit.FAILED
