"""The errors: one tree, safe to hand to many threads, and able to travel."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from functools import partial
from typing import Any

import backoff
import pytest
import requests

from requests_cc_token import (
    CCTokenError,
    ConfigurationError,
    InvalidTokenResponseError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestTimeout,
    UnknownClientError,
)


def endpoint_error() -> TokenEndpointError:
    return TokenEndpointError(
        "token client 'a': answered 400 invalid_scope",
        status_code=400,
        error="invalid_scope",
        error_description="no such scope",
        error_uri="https://example.com/errors",
        client="a",
        retry_after=7.5,
        transient=False,
    )


ERRORS: list[Exception] = [
    endpoint_error(),
    TokenRequestError("all of it", client="a", retry_after=1.0, transient=False),
    TokenEndpointConnectionError("unreachable", client="b"),
    InvalidTokenResponseError("garbage", client="c", transient=False, response_text="<html>"),
    TokenRequestTimeout("too late"),
    UnknownClientError("no such client; registered are 'a', 'b'", {"b": 1, "a": 2}),
    ConfigurationError("base_url"),
]


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (ConfigurationError, (CCTokenError, ValueError)),
        (UnknownClientError, (CCTokenError, LookupError)),
        (TokenRequestError, (CCTokenError, requests.RequestException)),
        (TokenEndpointConnectionError, (TokenRequestError, requests.ConnectionError)),
        (TokenEndpointError, (TokenRequestError,)),
        (InvalidTokenResponseError, (TokenRequestError,)),
        (TokenRequestTimeout, (TokenRequestError, requests.Timeout)),
    ],
)
def test_the_tree(error: type[Exception], bases: tuple[type[Exception], ...]) -> None:
    """Each error is caught by what scripts catch already."""
    assert all(issubclass(error, base) for base in bases)


def test_a_configuration_error_is_no_request_exception() -> None:
    """A mistake of the program is not swallowed by who expects the network to fail."""
    assert not issubclass(ConfigurationError, requests.RequestException)
    assert not issubclass(UnknownClientError, requests.RequestException)


@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    ERRORS,
    ids=lambda error: type(error).__name__,
)
def test_errors_travel(error: Exception, travel: Any) -> None:
    """An error that was pickled or copied says and holds what the original does."""
    twin = travel(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)


@pytest.mark.parametrize(
    ("error", "caught"),
    [
        (TokenEndpointConnectionError("unreachable"), True),
        (TokenRequestTimeout("too late"), True),
        (endpoint_error(), False),
        (InvalidTokenResponseError("garbage"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_f47_what_retries_on_connection_errors_and_timeouts(error: TokenRequestError, caught: bool) -> None:
    """A decorator for the (ConnectionError, Timeout) of requests retries on ours of that kind, and on no other."""
    tries: list[int] = []

    @backoff.on_exception(
        partial(backoff.constant, 0), (requests.ConnectionError, requests.Timeout), max_tries=3, jitter=None
    )
    def call() -> None:
        tries.append(1)
        raise error.for_caller()

    with pytest.raises(type(error)):
        call()
    assert len(tries) == (3 if caught else 1)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_f49_errors_rebuild_from_their_arguments(error: Exception) -> None:
    """A task queue that sends a class and its arguments as JSON gets the same error on the other side."""
    twin = type(error)(*json.loads(json.dumps(error.args)))
    assert str(twin) == str(error)
    assert twin.args == error.args
    for name in ("status_code", "error", "error_description", "error_uri"):
        assert getattr(twin, name, None) == getattr(error, name, None)


def test_f49_celery_brings_the_error_back() -> None:
    """Celery's own JSON backend, there and back."""
    celery = pytest.importorskip("celery")
    backend = celery.Celery("worker", backend="cache+memory://", set_as_current=False).backend
    twin = backend.exception_to_python(json.loads(json.dumps(backend.prepare_exception(endpoint_error(), "json"))))
    assert type(twin) is TokenEndpointError
    assert (twin.status_code, twin.error, str(twin)) == (400, "invalid_scope", str(endpoint_error()))


def test_an_error_that_says_more() -> None:
    """Another message leaves everything else as it is, and an error without arguments says nothing."""
    error = endpoint_error()
    error.reword("token client 'a': more")
    assert str(error) == "token client 'a': more"
    assert error.args[1:] == endpoint_error().args[1:]
    error.args = ()
    assert str(error) == ""


def test_the_requests_of_an_error_stay_at_home() -> None:
    """A pickled error holds no request: its body may be anything, its headers anybody's."""
    error = endpoint_error()
    error.request = requests.Request("POST", "https://api.example.com/", data=b"body").prepare()
    twin = pickle.loads(pickle.dumps(error))
    assert twin.request is None
    assert twin.response is None
    assert twin.retry_after == 7.5


def test_a_token_request_error_names_its_client_and_may_be_transient() -> None:
    """What nobody says is None, and an error counts as transient unless it is known to be permanent."""
    error = TokenRequestError("x")
    assert (error.client, error.retry_after, error.transient, error.request) == (None, None, True, None)
    assert not TokenRequestError("x", transient=False).transient


def test_unknown_client_errors_list_the_names_sorted() -> None:
    """The names there are come with the error, in order."""
    assert UnknownClientError("no", {"b", "a", "c"}).names == ("a", "b", "c")


def test_each_caller_gets_an_error_of_its_own() -> None:
    """Copies for several callers share what was said, not the traceback, not the request."""
    cause = OSError("reset")
    error = endpoint_error()
    error.__cause__ = cause
    request = requests.Request("GET", "https://api.example.com/").prepare()
    mine, yours = error.for_caller(request), error.for_caller()
    with pytest.raises(TokenEndpointError):
        raise mine
    assert len(traceback.extract_tb(mine.__traceback__)) == 1
    assert yours.__traceback__ is error.__traceback__ is None
    assert mine.request is request
    assert yours.request is None
    assert mine.__cause__ is yours.__cause__ is cause
    assert (mine.status_code, mine.error, mine.retry_after, mine.transient) == (400, "invalid_scope", 7.5, False)
