"""Which addresses may see a secret."""

from __future__ import annotations

from typing import Any

import pytest

from requests_cc_token import ConfigurationError
from requests_cc_token.mounts import Mount
from requests_cc_token.urls import (
    canonical_url,
    check_endpoint,
    check_identifier,
    is_loopback,
    origin_of,
    shown_url,
    without_query,
)

TAINT = "t41nt"


@pytest.mark.parametrize("host", ["localhost", "api.localhost", "127.0.0.1", "127.255.0.9", "::1"])
def test_loopback(host: str) -> None:
    """Names and addresses that never leave the machine (RFC 6761, RFC 8252)."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "example.com", "localhost.example.com", "10.0.0.1", "::2", "0.0.0.0", "127.0.0.1.nip.io"]
)
def test_not_loopback(host: str) -> None:
    """Lookalikes and private networks are not this machine."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/token",
        "https://login.example.com:8443/token?tenant=a",
        "https://login.example.com:1/token",
        "https://[2001:db8::1]/token",
        "https://login.example.com",
        "http://localhost:5000/token",
        "http://127.0.0.1:5000/token",
        "http://[::1]/token",
        "HTTPS://LOGIN.EXAMPLE.COM/token",
    ],
)
def test_endpoints_that_may_see_a_secret(url: str) -> None:
    """Https anywhere, plain http on this machine; the URL stays as given."""
    assert check_endpoint(url, "x", allow_http=False) == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "must be text, not NoneType"),
        (b"https://a.test/", "must be text, not bytes"),
        ("", " must be an absolute https URL"),
        ("login.example.com/token", " must be an absolute https URL"),
        ("/token", " must be an absolute https URL"),
        ("ftp://login.example.com/token", "must be an absolute https URL"),
        ("https:///token", "must be an absolute https URL"),
        ("https://login.example.com:0/token", "must be an absolute https URL"),
        ("https://login.example.com:x/token", "is no URL that can be parsed"),
        ("https://login.example.com:65536/token", "is no URL that can be parsed"),
        ("https://[::1/token", "is no URL that can be parsed"),
        ("https://login.example.com/token#x", "https://login.example.com/token must not have a fragment"),
        ("https://login.example.com/token#", "must not have a fragment"),
        ("https://login.example.com/to ken", "must not hold blanks"),
        ("https://login.example.com/token\n", "must not hold blanks"),
        ("https://login.example.com/to\\ken", "must not hold blanks"),
        ("https://login.example.com/to\x7fken", "must not hold blanks"),
        ("https://login.example.com\\@evil.test/", "must not hold"),
        ("http://login.example.com/token", "is plain http, so everybody on the way could read the secret"),
        ("http://10.0.0.1/token", "pass allow_http=True if you mean it"),
    ],
)
def test_endpoints_that_are_refused(url: Any, sentence: str) -> None:
    """The message names the option, says what is wrong, in one line."""
    with pytest.raises(ConfigurationError) as refusal:
        check_endpoint(url, "client 'a': token_endpoint", allow_http=False)
    message = str(refusal.value)
    assert message.startswith("client 'a': token_endpoint ")
    assert sentence in message
    assert message.isprintable()


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{TAINT}@login.example.com/token",
        f"https://{TAINT}@login.example.com/token",
        f"https://user:{TAINT}@login.example.com:x/token",
        f"https://user:{TAINT}/x@login.example.com/token",
        f"https://user:1#{TAINT}@login.example.com/token",
        f"https://client:{TAINT}",
        f"https://user:{TAINT}@login.example.com\uff03/token",
        f"user:{TAINT}@login.example.com/token",
        f"ftp://user:{TAINT}@login.example.com/",
        f"https://login.example.com:0/token?key={TAINT}",
        f"http://login.example.com/token?key={TAINT}",
        f"https://login.example.com/token?key={TAINT}#x",
    ],
)
def test_no_message_quotes_a_password(url: str) -> None:
    """User information is refused, and neither it nor a query is repeated, however odd the URL is."""
    for check in (
        lambda: check_endpoint(url, "x", allow_http=False),
        lambda: Mount(url),
        lambda: canonical_url(without_query(url, "x"), "x") and Mount(url + "/"),
    ):
        with pytest.raises(ConfigurationError) as refusal:
            check()
        assert TAINT not in str(refusal.value)


def test_plain_http_by_name() -> None:
    """``allow_http=True`` permits it, and nothing that merely looks true does."""
    assert check_endpoint("http://a.test/", "x", allow_http=True) == "http://a.test/"
    assert Mount("http://a.test/", allow_http=True).covers("http://a.test/x")
    for url in ("http://a.test/", "https://a.test/"):
        with pytest.raises(ConfigurationError, match="x: allow_http must be true or false, not str"):
            check_endpoint(url, "x", allow_http="false")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the prefix: allow_http must be true or false, not int"):
        Mount("http://a.test/", allow_http=1)  # type: ignore[arg-type]


def test_identifiers() -> None:
    """An absolute URI of any scheme, without a fragment (RFC 8707 section 2)."""
    for uri in ("https://api.example.com/", "urn:a", "api://f00", "urn:!~"):
        assert check_identifier(uri, "x") == uri
    for wrong in (
        "a",
        "//a.test/",
        "https://a.test#b",
        "https://[/ b",
        "http\u00e9:a",
        "urn:a b",
        "urn:\x7f",
        "urn:\u00e9",
        5,
    ):
        with pytest.raises(ConfigurationError, match=r"^x "):
            check_identifier(wrong, "x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.test/x?key=1#2", "https://a.test/x"),
        ("https://u:p@a.test/x", "https://***@a.test/x"),
        ("u:p@a.test", "***@a.test"),
        ("https://a.test/\x1b[31m\n\u2028", "https://a.test/?[31m??"),
    ],
)
def test_urls_for_messages(url: str, shown: str) -> None:
    """Without user information, query, fragment and control characters."""
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.example.com/v1/a?b", "https://api.example.com"),
        ("HTTPS://api.example.com:443", "https://api.example.com"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:443/", "http://127.0.0.1:443"),
        ("https://[::1]/a", "https://[::1]"),
        ("https://[::1]:8443/a", "https://[::1]:8443"),
    ],
)
def test_the_origin_of_a_url(url: str, origin: str) -> None:
    """Scheme, host and port in one spelling: lower case, without the default port."""
    assert origin_of(url) == origin
    assert Mount(origin + "/").covers(canonical_url(url, "x"))
