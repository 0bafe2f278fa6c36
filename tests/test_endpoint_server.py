"""What is known of a server: its clock, its nonce, and how much of it is kept."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement, DPoPKey, PrivateKeyJwt, TokenEndpointError
from requests_cc_token.authentication.dpop import MAX_NONCE
from requests_cc_token.endpoint.metadata import MAX_URL, Metadata
from requests_cc_token.endpoint.server import MAX_CORRECTION, MAX_SERVERS, KnownServer, KnownServers
from requests_cc_token.exceptions import ConfigurationError

from .forked import in_child
from .scripted_server import answer, error_answer
from .skipping_clock import SkippingClock
from .strict_fixtures import KEY, add_with_secret, empty_management, fetch, service_that_knows_the_key  # noqa: F401
from .strict_service import StrictTokenService

#: 2023-11-14T22:30:00Z, the wall clock of these tests.
NOW = 1_700_001_000.0


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own zone is UTC-5."""
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of this machine cannot be changed")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("date", "offset"),
    [
        ("Tue, 14 Nov 2023 22:30:00 GMT", 0),
        ("Tue, 14 Nov 2023 22:30:09 GMT", 0),
        ("Tue, 14 Nov 2023 22:29:51 GMT", 0),
        ("Tue, 14 Nov 2023 22:30:10 GMT", 10),
        ("Tue, 14 Nov 2023 22:33:00 GMT", 180),
        ("Tue, 14 Nov 2023 22:27:00 GMT", -180),
        ("Tue, 14 Nov 2023 22:35:00 GMT", MAX_CORRECTION),
        ("Tue, 14 Nov 2023 22:35:01 GMT", 0),
        ("Tue, 14 Nov 2023 21:30:00 GMT", 0),
        ("Sun, 14 Nov 2123 22:30:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 0),
        ("Tue Nov 14 22:33:00 2023", 180),
        ("Tue, 14 Nov 2023 22:33:00 -0000", 180),
        ("Tue, 14 Nov 2023 23:33:00 +0100", 180),
        ("Tue, 14 Nov 2023 22:33:00 +9999", 0),
        ("Tue, 14 Nov 99999999999999999999 22:33:00 GMT", 0),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
@pytest.mark.usefixtures("_far_from_greenwich")
def test_a40_a_clock_is_corrected_by_a_few_minutes_at_most(date: str | None, offset: float) -> None:
    """Less than what servers allow for is left alone; more than a few minutes is a clock that has to be set.

    A date is in UTC in each of its forms, wherever this machine is.
    """
    server = KnownServer()
    server.learn_time(date, NOW)
    assert server.clock_offset == offset


def test_a_clock_that_was_set_counts_again() -> None:
    """What a later answer tells replaces what an earlier one told."""
    server = KnownServer()
    assert server.learn_time("Tue, 14 Nov 2023 22:33:00 GMT", NOW)
    assert not server.learn_time("Tue, 14 Nov 2023 22:33:05 GMT", NOW), "no news"
    assert server.learn_time("Tue, 14 Nov 2023 22:30:01 GMT", NOW)
    assert server.clock_offset == 0
    assert not server.learn_time("yesterday", NOW)
    assert KnownServer().learn_time("Tue, 14 Nov 2023 22:30:10 GMT", NOW)
    assert not KnownServer().learn_time("Tue, 14 Nov 2023 22:30:09 GMT", NOW)


@pytest.fixture
def management(clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        yield management


@pytest.mark.parametrize(
    "refusal",
    [
        answer(401, b"<html>", [("Date", "Tue, 14 Nov 2023 22:33:00 GMT")]),
        answer(503, b"", [("Date", "Tue, 14 Nov 2023 22:33:00 GMT")]),
        error_answer(400, "invalid_scope", [("Date", "Tue, 14 Nov 2023 22:33:00 GMT")]),
        error_answer(401, "invalid_client", [("Date", "Tue, 14 Nov 2023 22:33:00 GMT"), ("Age", "180")]),
    ],
    ids=["a page", "an outage", "another error", "a cached one"],
)
def test_a40_what_proves_nothing_sets_no_clock(
    management: AccessTokenManagement, service: StrictTokenService, refusal: Any
) -> None:
    """Neither an error page, nor what a cache kept, nor an error that is not about the proof moves our proofs."""
    management.configure_backchannel(wait=())
    add_with_secret(management, service, dpop=DPoPKey(KEY))
    service.script.append(refusal)
    with pytest.raises(TokenEndpointError):
        management.service.get_access_token("w")
    management.service.retry_at_once()
    token = management.service.get_access_token("w")
    assert token.clock_offset == 0
    assert [proof.claims["iat"] for proof in service.proofs.taken] == [int(NOW)]


def test_a40_one_services_clock_is_not_anothers(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """One key at two endpoints: the time that one told is not used with the other."""
    key = DPoPKey(KEY)
    add_with_secret(management, service, dpop=key)
    management.add_client(
        "other", token_endpoint=service.url + "other", client_id="worker", client_secret="T41NT-s3cret", dpop=key
    )
    service.script.append(error_answer(400, "invalid_dpop_proof", [("Date", "Tue, 14 Nov 2023 22:33:00 GMT")]))
    assert management.service.get_access_token("w").clock_offset == 180
    assert management.service.get_access_token("other").clock_offset == 0


def refused_by(management: AccessTokenManagement, service: StrictTokenService, date: str) -> None:
    management.configure_backchannel(wait=())
    management.add_client(
        "w", token_endpoint=service.token_endpoint, client_id="worker", auth=PrivateKeyJwt(KEY, "ES256", lifetime=60)
    )
    service.script.append(error_answer(401, "invalid_client", [("Date", date)]))


def test_a40_what_is_signed_lives_no_longer(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Whatever the server says of the time, an assertion is over when its lifetime is, by our own clock."""
    refused_by(management, service, "Tue, 14 Nov 2023 22:30:40 GMT")
    fetch(management)
    assert [(claims["iat"], claims["exp"]) for _, claims in service.assertions] == [(NOW + 40, NOW + 60)]


def test_a40_a_clock_that_is_a_century_off(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Nothing is signed for then; the error says by how much the clocks differ."""
    refused_by(management, service, "Sun, 14 Nov 2123 22:30:00 GMT")
    with pytest.raises(TokenEndpointError, match=r"this machine's clock is -3155673600 s off: set it \(NTP\)"):
        fetch(management)
    assert len(service.requests) == 1


@pytest.mark.parametrize(("error", "told"), [("invalid_client", True), ("invalid_scope", False)])
def test_a_clock_that_is_too_far_behind_for_a_short_life_is_told(
    management: AccessTokenManagement, service: StrictTokenService, error: str, told: bool
) -> None:
    """Corrected, an assertion still ends by our own clock, which is the server's past; the error says why."""
    refused_by(management, service, "Tue, 14 Nov 2023 22:33:00 GMT")
    service.script.append(error_answer(401 if told else 400, error))
    with pytest.raises(TokenEndpointError) as refused:
        fetch(management)
    assert len(service.requests) == 2
    assert str(refused.value).endswith("; this machine's clock is -180 s off: set it (NTP)") is told


# Nonces


@pytest.mark.parametrize("given", [None, "", "n" * (MAX_NONCE + 1), "a b", "a\r\nb", 'a"b', "é"])
def test_nonces_that_are_not_sent_back(given: str | None) -> None:
    """What no nonce may be changes nothing (RFC 9449 section 8.1)."""
    server = KnownServer()
    assert server.learn_nonce("good")
    assert not server.learn_nonce(given)
    assert server.nonce == "good"
    assert server.learn_nonce("n" * MAX_NONCE)


# How much is kept


def test_a44_servers_are_bounded_in_number() -> None:
    """The least recently used is forgotten first."""
    servers = KnownServers()
    first, second = servers.of(0), servers.of(1)
    for number in range(2, MAX_SERVERS):
        servers.of(number)
    assert servers.of(0) is first
    servers.of(MAX_SERVERS)
    assert servers.of(0) is first
    assert servers.of(1) is not second


def document(**members: Any) -> bytes:
    return json.dumps({"issuer": "https://a.example", "token_endpoint": "https://a.example/t", **members}).encode()


def test_a44_metadata_is_bounded_in_size() -> None:
    """However large an issuer's document is, a few KiB of it are kept."""
    filler = ["x" * 100 + str(number) for number in range(5_000)]
    body = document(
        claims_supported=filler,
        token_endpoint_auth_methods_supported=filler,
        token_endpoint_auth_signing_alg_values_supported=filler,
        dpop_signing_alg_values_supported=filler,
    )
    assert len(body) > 2_000_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [Metadata.read(body, "https://a.example", allow_http=False) for _ in range(5)]
        size = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()
    assert size < 20_000
    body = document(token_endpoint="https://a.example/" + "x" * MAX_URL)
    with pytest.raises(ConfigurationError, match=f"token_endpoint has more than {MAX_URL} characters"):
        Metadata.read(body, "https://a.example", allow_http=False)


@pytest.mark.parametrize(
    ("issuer", "endpoint", "allow_http", "reason"),
    [
        ("https://a.example", "http://127.0.0.1/t", False, "is on this machine"),
        ("https://a.example", "http://localhost:8080/t", False, "is on this machine"),
        ("https://a.example", "https://127.0.0.1/t", False, "is on this machine"),
        ("https://a.example", "https://[::1]/t", False, "is on this machine"),
        ("https://a.example", "https://127.1.2.3/t", False, "is on this machine"),
        ("https://a.example", "https://x.localhost/t", False, "is on this machine"),
        ("https://a.example", "http://127.0.0.1/t", True, "is on this machine"),
        ("https://a.example", "https://169.254.169.254/t", False, "is a link-local address"),
        ("https://a.example", "http://169.254.169.254/t", True, "is a link-local address"),
        ("https://a.example", "https://[fe80::1]/t", False, "is a link-local address"),
        ("https://a.example", "https://[::ffff:127.0.0.1]/t", False, "is on this machine"),
        ("https://a.example", "https://[::ffff:169.254.169.254]/t", False, "is a link-local address"),
        ("https://a.example", "https://127.1/t", False, "is on this machine"),
        ("https://a.example", "https://2130706433/t", False, "is on this machine"),
        ("https://a.example", "https://0x7f.0.0.1/t", False, "is on this machine"),
        ("https://a.example", "https://0177.0.0.1/t", False, "is on this machine"),
        ("https://a.example", "https://127.0.0.1./t", False, "is on this machine"),
        ("https://a.example", "https://\uff11\uff12\uff17.0.0.1/t", False, "is on this machine"),
        ("https://a.example", "https://%31%32%37.0.0.1/t", False, "is on this machine"),
        ("https://a.example", "https://0.0.0.0/t", False, "is on this machine"),
        ("https://a.example", "https://[::]/t", False, "is on this machine"),
        ("https://a.example", "https://[::127.0.0.1]/t", False, "is on this machine"),
        ("https://a.example", "https://[64:ff9b::7f00:1]/t", False, "is on this machine"),
        ("https://a.example", "https://localhost./t", False, "is on this machine"),
        ("https://a.example", "https://localhost.localdomain/t", False, "is on this machine"),
        ("https://a.example", "https://ip6-localhost/t", False, "is on this machine"),
        ("https://a.example", "https://2852039166/t", False, "is a link-local address"),
        ("https://a.example", "https://0xa9fea9fe/t", False, "is a link-local address"),
        ("https://a.example", "https://169.254.43518/t", False, "is a link-local address"),
        ("https://a.example", "https://10.1.2.3/t", False, None),
        ("https://a.example", "https://[2001:db8::1]/t", False, None),
        ("https://127.0.0.1", "https://localhost./t", False, None),
        ("https://a.example", "http://b.example/t", False, "is plain http"),
        ("https://a.example", "https://b.example/t", False, None),
        ("https://a.example", "http://b.example/t", True, None),
        ("https://localhost", "http://127.0.0.1/t", False, None),
        ("http://127.0.0.1:5000", "http://localhost:5000/t", False, None),
        ("https://169.254.1.1", "https://169.254.1.2/t", False, None),
    ],
)
@pytest.mark.parametrize("where", ["top", "alias"])
def test_a3_endpoints_are_held_to_the_rule_of_their_issuer(
    issuer: str, endpoint: str, allow_http: bool, reason: str | None, where: str
) -> None:
    """A public issuer cannot have secrets sent to what listens on this machine or link, nor in clear to anybody."""
    members: dict[str, Any] = {"token_endpoint": endpoint}
    if where == "alias":
        members = {"mtls_endpoint_aliases": {"revocation_endpoint": endpoint}}
    body = json.dumps({"issuer": issuer, **members}).encode()
    if reason is None:
        Metadata.read(body, issuer, allow_http=allow_http)
        return
    with pytest.raises(ConfigurationError, match=reason):
        Metadata.read(body, issuer, allow_http=allow_http)


def test_a_forked_child_has_no_unfinished_tries() -> None:
    """They are of threads that it does not have; what is known of servers it keeps."""
    servers = KnownServers()
    server = servers.of("x")
    server.nonce = "n"
    server.unfinished.add(object())

    def check() -> None:
        assert servers.of("x").nonce == "n"
        assert not servers.of("x").unfinished

    in_child(check)
    assert server.unfinished
