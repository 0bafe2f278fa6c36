"""What went wrong on the way, in words, by values; over sockets in ``tests/test_endpoint_field.py``."""

from __future__ import annotations

import http.client
import logging
import ssl
import zlib
from collections.abc import Mapping
from typing import Any, cast

import pytest
import requests
import urllib3

from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.endpoint.failures import (
    MAX_SENTENCE,
    Limits,
    TooMuchError,
    came_after_sending,
    explained,
    foreign,
)
from requests_cc_token.exceptions import TokenRequestError

URL = "https://login.example.com/token"
REQUESTS = requests.exceptions
NOT_REACHED = urllib3.exceptions.NewConnectionError(cast("Any", None), "not reached")
LIMITS = Limits((1.0, 2.0), ("the first limit", "the second limit"))
RESETS = "; some servers refuse certificates in this way: check the client certificate (auth=..., cert=...)"
TLS = (
    "the TLS connection failed ({}); check its certificate and your CA settings "
    "(configure_backchannel(verify=...) or REQUESTS_CA_BUNDLE)"
)
REFUSED = "the server refused the TLS connection ({}); check the client certificate (auth=..., cert=...)"
PROXY = "the proxy on the way failed ({}); check it, and proxies=... or HTTPS_PROXY"
CA_BUNDLE = "Could not find a suitable TLS CA certificate bundle, invalid path: /none"


def of(error: Exception, *, proxies: Mapping[str, str] | None = None, **attributes: Any) -> tuple[str, bool]:
    request = TokenRequest(URL)
    for name, value in attributes.items():
        setattr(request, name, value)
    return explained(error, request, limits=LIMITS, proxies=proxies or {})


def given_up_for(reason: Exception) -> urllib3.exceptions.MaxRetryError:
    return urllib3.exceptions.MaxRetryError(cast("Any", None), URL, reason)


def caused(error: Exception, cause: BaseException | None = None, context: BaseException | None = None) -> Exception:
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    ("timeout", "left", "seconds", "limited"),
    [
        ((5.0, 10.0), 30.0, (5.0, 10.0), (False, False)),
        ((5.0, 10.0), 7.5, (5.0, 7.5), (False, True)),
        ((5.0, 10.0), 0.5, (0.5, 0.5), (True, True)),
        ((None, 10.0), 20.0, (20.0, 10.0), (True, False)),
        ((5.0, None), 20.0, (5.0, 20.0), (False, True)),
        ((None, None), 1e-9, (1e-9, 1e-9), (True, True)),
        ((5.0, 10.0), 5.0, (5.0, 5.0), (True, True)),
    ],
)
def test_the_lesser_limit_is_the_one_that_is_named(
    timeout: tuple[float | None, float | None],
    left: float,
    seconds: tuple[float, float],
    limited: tuple[bool, bool],
) -> None:
    """The options' own, or what is left of the fetch where that is less, or where the options have none."""
    limits = Limits.of(timeout, left, "the limit of the fetch")
    assert limits.seconds == seconds
    assert limits.said == tuple(
        "the limit of the fetch" if is_limit else f"{each:g} s are over; configure_backchannel(timeout=...) allows more"
        for each, is_limit in zip(timeout, limited, strict=True)
    )


@pytest.mark.parametrize(
    ("error", "said", "hopeless"),
    [
        (TooMuchError(1024 * 1024), "the answer is larger than 1024 KiB", False),
        (zlib.error("Error -3"), "the answer is compressed, and broken", False),
        (REQUESTS.ConnectTimeout("x y"), "could not be connected to in time; the first limit", False),
        (REQUESTS.ReadTimeout("x y"), "did not answer in time; the second limit", False),
        (
            urllib3.exceptions.ReadTimeoutError(cast("Any", None), URL, "x"),
            "did not answer in time; the second limit",
            False,
        ),
        (
            REQUESTS.SSLError("[SSL] EOF occurred in it"),
            TLS.format("[SSL] EOF occurred in it"),
            False,
        ),
        (
            REQUESTS.SSLError(ssl.SSLError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] no")),
            TLS.format("[SSL: CERTIFICATE_VERIFY_FAILED] no"),
            True,
        ),
        (
            REQUESTS.SSLError(ssl.SSLError(1, "[SSL] tlsv13 Alert Certificate required")),
            REFUSED.format("[SSL] tlsv13 Alert Certificate required"),
            True,
        ),
        (
            REQUESTS.SSLError(ssl.SSLError(1, "[SSL] sslv3 alert handshake failure")),
            TLS.format("[SSL] sslv3 alert handshake failure"),
            False,
        ),
        (REQUESTS.ProxyError("said no"), PROXY.format("said no"), False),
        (
            REQUESTS.ProxyError("Tunnel connection failed: 407 No"),
            PROXY.format("Tunnel connection failed: 407 No"),
            True,
        ),
        (REQUESTS.ProxyError("port 4070 failed"), PROXY.format("port 4070 failed"), False),
        (
            urllib3.exceptions.ProtocolError("what it read", 1),
            "the connection broke before the answer was complete (ProtocolError)",
            False,
        ),
        (
            REQUESTS.ConnectionError(given_up_for(ConnectionRefusedError(111, "Connection refused"))),
            "could not be connected to, or the connection broke (Connection refused)",
            False,
        ),
        (REQUESTS.InvalidURL("no such host"), "the request failed (no such host)", True),
        (REQUESTS.RequestException("no more words"), "the request failed (no more words)", False),
        (FileNotFoundError(2, "No such file", "/none"), "the request failed ([Errno 2] No such file: '/none')", True),
        (PermissionError(13, "Denied"), "the request failed (Denied)", True),
        (NotADirectoryError(20, "Not a directory"), "the request failed (Not a directory)", True),
        (IsADirectoryError(21, "Is a directory"), "the request failed (Is a directory)", True),
        (OSError(CA_BUNDLE), f"the request failed ({CA_BUNDLE})", True),
        (OSError(5, "I/O error"), "the request failed (I/O error)", False),
        (RuntimeError("two\n  words"), "the request failed (two words)", False),
        (KeyError("answer"), "the request failed (KeyError: 'answer')", False),
        (KeyError(), "the request failed (KeyError)", False),
        (http.client.BadStatusLine("the answer says"), "the request failed (BadStatusLine)", False),
        (
            UnicodeDecodeError("utf-8", b"the answer says", 0, 1, "no such"),
            "the request failed (UnicodeDecodeError)",
            False,
        ),
        (caused(RuntimeError("the outer"), RuntimeError("the inner")), "the request failed (the inner)", False),
        (caused(RuntimeError("the outer"), None, RuntimeError("the inner")), "the request failed (the inner)", False),
        (
            caused(RuntimeError("the outer", OSError(5, "of the arguments")), RuntimeError("the cause")),
            "the request failed (of the arguments)",
            False,
        ),
    ],
)
def test_what_went_wrong(error: Exception, said: str, hopeless: bool) -> None:
    """By what the innermost cause says of itself, where that cannot be a piece of the answer."""
    assert of(error) == (said, hopeless)


def test_causes_that_go_round() -> None:
    """Are each looked at once."""
    one, other = RuntimeError("the one"), RuntimeError("the other")
    caused(one, other)
    caused(other, one)
    assert of(one) == ("the request failed (the other)", False)
    assert of(caused(RuntimeError("the third"), one)) == ("the request failed (the other)", False)
    assert of(caused(one, one)) == ("the request failed (the one)", False)


def test_the_proxy_is_named_without_its_password() -> None:
    """That of the request's scheme."""
    proxies = {"https": "http://user:T41NT@proxy:3128", "http": "http://other:1"}
    said, _ = of(REQUESTS.ProxyError("said no"), proxies=proxies)
    assert said.startswith("the proxy http://***@proxy:3128 failed (said no)")


def test_nothing_of_the_request_is_repeated() -> None:
    """Whoever says it; and of a long sentence, its beginning."""
    assert of(RuntimeError("it said T41NT to us"), secrets=["T41NT"])[0] == "the request failed (it said *** to us)"
    long = "a b" * MAX_SENTENCE
    assert of(RuntimeError(long))[0] == f"the request failed ({long[:MAX_SENTENCE]}…)"


@pytest.mark.parametrize(
    ("said", "may_be"),
    [
        ("EOF occurred in violation of protocol", True),
        ("Connection reset by peer", True),
        ("RemoteDisconnected: no", True),
        ("Broken pipe there", True),
        ("Connection refused there", False),
    ],
)
def test_an_end_without_a_word_may_be_about_our_certificate(said: str, may_be: bool) -> None:
    """Where the request has one."""
    error = REQUESTS.ConnectionError(said)
    alone = f"could not be connected to, or the connection broke ({said})"
    assert of(error) == (alone, False)
    assert of(error, cert=object()) == (alone + RESETS if may_be else alone, False)


@pytest.mark.parametrize(
    ("error", "was_sent"),
    [
        (REQUESTS.ConnectionError(given_up_for(NOT_REACHED)), False),
        (REQUESTS.ConnectionError(given_up_for(OSError("reset"))), True),
        (REQUESTS.ConnectionError("reset"), True),
        (REQUESTS.ConnectionError(), True),
        (REQUESTS.ReadTimeout("late"), True),
        (REQUESTS.ChunkedEncodingError("broken"), True),
        (REQUESTS.ConnectTimeout("late"), False),
        (REQUESTS.SSLError("no"), False),
        (REQUESTS.ProxyError("no"), False),
        (REQUESTS.InvalidURL("no"), False),
        (REQUESTS.MissingSchema("no"), False),
        (urllib3.exceptions.ProtocolError("broken"), True),
        (TooMuchError(1024), True),
        (zlib.error("broken"), True),
        (OSError("no file"), False),
        (KeyError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_whether_it_was_sent(error: Exception, was_sent: bool) -> None:
    """There was a connection, and not only an attempt at one."""
    assert came_after_sending(error) is was_sent


class TestForeign:
    def test_what_it_returns(self) -> None:
        """Comes back, whatever it is."""
        assert foreign("x", lambda: None, "a") is None
        assert foreign("x", lambda: [1], "a") == [1]

    def test_our_own_errors_pass(self) -> None:
        """As they are, and so does an interrupt."""
        error = TokenRequestError("no")

        def fails(what: BaseException) -> None:
            raise what

        with pytest.raises(TokenRequestError) as raised:
            foreign("x", lambda: fails(error), "a")
        assert raised.value is error
        with pytest.raises(KeyboardInterrupt):
            foreign("x", lambda: fails(KeyboardInterrupt()), "a")

    def test_others_are_told_by_their_kind(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log has the innermost place; the error brings neither the text along nor the error itself."""

        def fails() -> None:
            raise LookupError("T41NT")

        with caplog.at_level(logging.ERROR), pytest.raises(TokenRequestError) as raised:
            foreign("the hook", fails, "a")
        assert str(raised.value) == "the hook failed unexpectedly (LookupError); the log says where"
        assert not raised.value.transient
        assert (raised.value.__cause__, raised.value.__context__) == (None, None)
        line = fails.__code__.co_firstlineno + 1
        assert caplog.messages == [f"token client 'a': the hook failed with LookupError at {__file__}:{line}"]
