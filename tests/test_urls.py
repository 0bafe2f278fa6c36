"""Which addresses may see a secret, and where exactly a token may go."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import ConfigurationError
from requests_cc_token.urls import (
    Mount,
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
        ("", "'' must be an absolute https URL"),
        ("login.example.com/token", "'login.example.com/token' must be an absolute https URL"),
        ("/token", "'/token' must be an absolute https URL"),
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
    for uri in ("https://api.example.com/", "urn:a", "api://f00"):
        assert check_identifier(uri, "x") == uri
    for wrong in ("a", "//a.test/", "https://a.test#b", "https://[/ b", "http\u00e9:a", 5):
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


# Prefixes


@pytest.mark.parametrize(
    ("prefix", "canonical", "prefixes"),
    [
        ("https://api.example.com/", "https://api.example.com/", ["https://api.example.com:443/"]),
        ("HTTPS://API.Example.com:443/V1/", "https://api.example.com/V1/", ["https://api.example.com:443/V1/"]),
        ("https://api.example.com:8443/v1/", "https://api.example.com:8443/v1/", []),
        ("http://localhost/", "http://localhost/", ["http://localhost:80/"]),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]/", ["https://[2001:db8::1]:443/"]),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", ["https://xn--bcher-kva.example:443/"]),
        ("https://a.test/ü/", "https://a.test/%C3%BC/", ["https://a.test:443/%C3%BC/"]),
        ("https://a.test/x/../v1/./", "https://a.test/v1/", ["https://a.test:443/v1/"]),
    ],
)
def test_the_prefixes_to_mount(prefix: str, canonical: str, prefixes: list[str]) -> None:
    """A prefix is mounted as requests will see it, and once more with its default port written out."""
    mount = Mount(prefix)
    assert mount.prefix == canonical
    assert mount.prefixes == (canonical, *prefixes)
    assert repr(mount) == f"<Mount {canonical}>"
    session = requests.Session()
    for mounted in mount.prefixes:
        session.mount(mounted, requests.adapters.HTTPAdapter())
    for base in (prefix, *prefixes):
        prepared = session.prepare_request(requests.Request("GET", base + "x"))
        assert prepared.url is not None
        assert mount.covers(prepared.url)


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        (5, "the prefix must be text, not int"),
        (
            "https://a.test",
            "has no final slash and would also match lookalike hosts and paths; write 'https://a.test/'",
        ),
        ("https://a.test/v1", "write 'https://a.test/v1/'"),
        ("https://a.test/?x=/", "must not have a query"),
        ("https://a.test/#/", "must not have a query or a fragment"),
        ("https://", "must be an absolute https URL"),
        ("", "must be an absolute https URL"),
        ("http://a.test/", "is plain http"),
        ("https://*.example.com/", "is no URL that requests can use"),
        ("https://.a.test/", "is no URL that requests can use"),
    ],
)
def test_prefixes_that_are_refused(prefix: Any, sentence: str) -> None:
    """What would match more than it says, or cannot be sent to."""
    with pytest.raises(ConfigurationError) as refusal:
        Mount(prefix)
    assert sentence in str(refusal.value)


MOUNT = Mount("https://api.example.com/v1/")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1/",
        "https://api.example.com/v1/a/b?c=/../",
        "https://api.example.com:443/v1/a",
        "HTTPS://api.example.com/v1/a",
        "https://API.EXAMPLE.COM/v1/a",
        "https://api.example.com/v1/a%20b",
        "https://api.example.com/v1/%C3%A9",
        "https://api.example.com/v1/a;b=c",
        "https://api.example.com/v1/a/../b",
        "https://api.example.com/v1/100%25",
    ],
)
def test_covered(url: str) -> None:
    """Whatever is under origin and path, however it is written."""
    assert MOUNT.covers(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v2/a",
        "https://api.example.com/v1",
        "https://api.example.com/V1/a",
        "https://api.example.com/v11/a",
        "https://api.example.com//v1/a",
        "https://api.example.com.evil.test/v1/a",
        "https://api.example.com@evil.test/v1/a",
        "https://user@api.example.com/v1/a",
        "https://api.example.com./v1/a",
        "https://api.example.com:8443/v1/a",
        "http://api.example.com/v1/a",
        "http://api.example.com:443/v1/a",
        "https://api.example.com/v1/../admin",
        "https://api.example.com/v1/%2e%2e/admin",
        "https://api.example.com/v1/%2E./admin",
        "https://api.example.com/v1/%252e%252e/admin",
        "https://api.example.com/v1/a/..%2f..%2fadmin",
        "https://api.example.com/v1/..;/admin",
        "https://api.example.com/v1/..;x=y/admin",
        "https://api.example.com/v1/..\\admin",
        "https://api.example.com/v1/..%5cadmin",
        "https://api.example.com/v1/..",
        "https://api.example.com/v1/%2e%2e",
        "https://api.example.com/v1/%25252525252e",
        "https://api.example.com\\v1\\a",
        "https://[api.example.com/v1/a",
        "https://api.example.com:x/v1/a",
        "",
        "a",
    ],
)
def test_not_covered(url: str) -> None:
    """Lookalike hosts, other origins, and every way out of the path."""
    assert not MOUNT.covers(url)


def test_ways_up_and_down_again() -> None:
    """Dots beyond the root stay at the root; a path that comes back, or stays where it is, is covered."""
    root = Mount("https://api.example.com/")
    assert root.covers("https://api.example.com/../../a")
    assert root.covers("https://api.example.com/%2e%2e/a")
    assert MOUNT.covers("https://api.example.com/v1/%2e%2e/v1/a")
    assert MOUNT.covers("https://api.example.com/v1/a/%2e%2e/")
    assert MOUNT.covers("https://api.example.com/v1/a/%2e%2e")
    assert MOUNT.covers("https://api.example.com/v1/%2e/a")


@given(st.text(alphabet="abv1%2e./\\;:@?#", max_size=30))
def test_the_short_way_covers_no_more_than_the_long_way(tail: str) -> None:
    """Whatever follows the prefix, the string comparison permits nothing that the parsed comparison refuses."""
    url = MOUNT.prefix + tail
    if MOUNT.covers(url):
        assert MOUNT._covers_parsed(url)


@given(st.lists(st.sampled_from(["..", ".", "a", "%2e%2e", "..;x", "%2f", "\\", "%5c", "v1", "%252e."]), max_size=8))
def test_no_path_leads_out(segments: list[str]) -> None:
    """A server that decodes, backslash and parameters included, and then resolves dots, stays under the prefix."""
    url = MOUNT.prefix + "/".join(segments)
    if not MOUNT.covers(url):
        return
    path = url.removeprefix("https://api.example.com")
    for _ in range(5):
        path = unquote(path)
    resolved: list[str] = []
    for segment in path.replace("\\", "/").split("/"):
        bare = segment.partition(";")[0]
        if bare == "..":
            resolved = resolved[:-1] if len(resolved) > 1 else resolved
        elif bare != ".":
            resolved.append(segment)
    assert resolved[:2] == ["", "v1"]


def test_where_somebody_may_have_expected_the_token() -> None:
    """A URL with the mount's host in it, before its query, deserves a warning."""
    assert MOUNT.resembles("https://API.example.com.evil.test/v1/")
    assert not MOUNT.resembles("https://evil.test/?api.example.com")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.example.com/v1/a?b", "https://api.example.com:443/"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/"),
        ("https://[::1]/a", "https://[::1]:443/"),
    ],
)
def test_the_origin_of_a_url(url: str, origin: str) -> None:
    """Scheme, host and port, in lower case."""
    assert origin_of(url) == origin
    assert Mount(origin).covers(canonical_url(url, "x"))
