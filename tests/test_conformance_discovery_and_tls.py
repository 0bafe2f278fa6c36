"""C43 to C47: metadata and mutual TLS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import (
    AccessTokenManagement,
    ConfigurationError,
    PrivateKeyJwt,
    TlsClientAuth,
    TokenRequestError,
    TokenRequestParameters,
)
from requests_cc_token.demand import Demand
from requests_cc_token.endpoint.discovery import METADATA_LIFETIME
from requests_cc_token.endpoint.metadata import well_known_urls
from requests_cc_token.endpoint.server import KnownServers

from .skipping_clock import SkippingClock
from .strict_fixtures import (  # noqa: F401 - fixtures
    KEY,
    authority_of_the_module,
    fetch,
    files_of_the_worker,
    service_on_tls,
)
from .strict_service import Authority, ClientFiles, StrictApi, StrictTokenService

PLACE = "/.well-known/oauth-authorization-server/realm"


@pytest.fixture
def management(clock: SkippingClock, authority: Authority) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        management.configure_backchannel(verify=authority.file, max_tries=1)
        yield management


def publish(service: StrictTokenService, **members: Any) -> None:
    document = {"issuer": service.url + "realm", "token_endpoint": service.url + "realm/token", **members}
    service.documents[PLACE] = {name: value for name, value in document.items() if value is not None}


def add(management: AccessTokenManagement, service: StrictTokenService, name: str = "w", **options: Any) -> None:
    options = {"issuer": service.url + "realm", "client_id": "worker", **options}
    management.add_client(name, **options)


@pytest.mark.conformance("C43")
@pytest.mark.parametrize(
    ("issuer", "place"),
    [
        ("https://a.example", "https://a.example/.well-known/oauth-authorization-server"),
        ("https://a.example/", "https://a.example/.well-known/oauth-authorization-server"),
        ("https://a.example/b/c", "https://a.example/.well-known/oauth-authorization-server/b/c"),
        ("https://a.example/b/", "https://a.example/.well-known/oauth-authorization-server/b"),
    ],
)
def test_where_metadata_is(issuer: str, place: str) -> None:
    """Between host and path, without a final slash."""
    assert well_known_urls(issuer)[0] == place


@pytest.mark.conformance("C43")
def test_metadata_is_got_by_get_over_https(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """With GET, verified; plain http to another machine is refused when it is registered."""
    publish(service, token_endpoint_auth_methods_supported=["private_key_jwt"])
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    fetch(management)
    assert [(r.method, r.target) for r in service.requests] == [("GET", PLACE), ("POST", "/realm/token")]
    with pytest.raises(ConfigurationError, match=r"issuer .* is plain http"):
        add(management, service, "plain", issuer="http://login.example.com", auth=PrivateKeyJwt(KEY, "ES256"))
    management.configure_backchannel(verify=True)
    add(management, service, "unverified", issuer=service.url + "x", auth=PrivateKeyJwt(KEY, "ES256"))
    with pytest.raises(TokenRequestError, match="the TLS connection failed"):
        fetch(management, "unverified")


@pytest.mark.conformance("C43")
@pytest.mark.parametrize(
    "change", [str.upper, lambda i: i + "/", lambda i: i.replace("127.0.0.1", "localhost"), lambda i: i + "%20"]
)
def test_another_issuers_document_is_not_used(
    management: AccessTokenManagement, service: StrictTokenService, change: Any
) -> None:
    """Compared code point by code point, without normalisation; no credential is sent."""
    publish(service, issuer=change(service.url + "realm"))
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    with pytest.raises(TokenRequestError, match="which is not identical to the client's"):
        fetch(management)
    assert {request.method for request in service.requests} == {"GET"}


@pytest.mark.conformance("C44")
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, "private_key_jwt; it offers client_sec"),
        ({"token_endpoint_auth_methods_supported": ["tls_client_auth"]}, "it offers tls_client_auth"),
        (
            {
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["none", "PS256"],
            },
            "assertions signed by ES256",
        ),
    ],
)
def test_what_is_not_supported_is_an_error_before_the_first_401(
    management: AccessTokenManagement, service: StrictTokenService, members: dict[str, Any], reason: str
) -> None:
    """What does not fit is said without a token request."""
    publish(service, **members)
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    with pytest.raises(TokenRequestError, match=reason) as refused:
        fetch(management)
    assert refused.value.transient is False
    assert {request.method for request in service.requests} == {"GET"}


@pytest.mark.conformance("C44")
def test_metadata_is_kept_and_survives_a_failed_refresh(
    management: AccessTokenManagement,
    service: StrictTokenService,
    clock: SkippingClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One document for many fetches; a refresh that fails keeps the old copy."""
    publish(service, token_endpoint_auth_methods_supported=["private_key_jwt"])
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    for _ in range(3):
        fetch(management)
        management.service.delete_access_token("w")
    assert [request.method for request in service.requests].count("GET") == 1
    service.documents.clear()
    clock.now += METADATA_LIFETIME
    with caplog.at_level(logging.WARNING):
        assert fetch(management) == "T41NT-token-4"
    assert "going on with the copy from before" in caplog.text


@pytest.mark.conformance("C45")
def test_the_client_id_and_the_aliases(
    management: AccessTokenManagement, service: StrictTokenService, files: ClientFiles
) -> None:
    """``client_id`` is in the form; the alias is used with a certificate, by whatever method, else the endpoint."""
    publish(
        service,
        token_endpoint_auth_methods_supported=["tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt"],
        mtls_endpoint_aliases={"token_endpoint": service.url + "mtls"},
    )
    pair = (files.cert, files.key)
    add(management, service, auth=TlsClientAuth(*pair))
    add(management, service, "self-signed", auth="self_signed_tls_client_auth", cert=pair)
    add(management, service, "bound", auth=PrivateKeyJwt(KEY, "ES256"), cert=pair)
    add(management, service, "free", auth=PrivateKeyJwt(KEY, "ES256"))
    for name in management.clients:
        fetch(management, name)
    sent = service.requests[1:]
    assert [request.target for request in sent] == ["/mtls", "/mtls", "/mtls", "/realm/token"]
    assert all(request.form["client_id"] == ["worker"] for request in sent)
    publish(service, token_endpoint_auth_methods_supported=["tls_client_auth"])
    management._backchannel.servers = KnownServers()
    management.service.delete_access_token("w")
    fetch(management)
    assert service.requests[-1].target == "/realm/token"


@pytest.mark.conformance("C46")
def test_a_rotated_certificate(
    management: AccessTokenManagement,
    service: StrictTokenService,
    authority: Authority,
    files: ClientFiles,
) -> None:
    """API calls use the certificate of the token call; a rotation makes for a new token and new connections."""
    add(
        management,
        service,
        token_endpoint=service.token_endpoint,
        auth=TlsClientAuth(files.cert, files.key),
    )
    keys = []
    with StrictApi(service, tls=authority.server_context()) as api:
        management.add_session("api", base_url=api.url)
        with management.make_session("api") as session:
            session.verify = authority.file
            session.get("x").raise_for_status()
            keys.append(management.service.get_access_token("w").key)
            fresh = authority.issue("worker")
            service.certificates["worker"] = fresh.thumbprint
            for _ in range(2):
                session.get("x").raise_for_status()
            keys.append(management.service.get_access_token("w").key)
        assert api.certificates == [files.thumbprint, fresh.thumbprint, fresh.thumbprint]
        assert api.connections == 2
    assert [issued.certificate for issued in service.issued] == [files.thumbprint, fresh.thumbprint]
    assert len(set(keys)) == 2


@pytest.mark.conformance("C47")
def test_what_the_best_current_practice_asks_for(
    management: AccessTokenManagement, service: StrictTokenService, files: ClientFiles
) -> None:
    """All of it together: metadata, an asymmetric method, a sender-constrained and audience-restricted token."""
    publish(service, token_endpoint_auth_methods_supported=["private_key_jwt"])
    add(
        management,
        service,
        auth=PrivateKeyJwt(KEY, "ES256"),
        cert=(files.cert, files.key),
        resource="https://api.example.com/",
    )
    token = management.service.get_access_token("w")
    assert token.binding is not None
    assert token.binding.certificate is not None
    assert token.binding.certificate.thumbprint == service.issued[0].certificate
    assert service.issued[0].form["resource"] == ["https://api.example.com/"]
    other = management.service.get_access_token("w", TokenRequestParameters(resource="https://other.example.com/"))
    assert other.value != token.value


@pytest.mark.conformance("C46")
def test_the_thumbprint_is_in_the_key(
    management: AccessTokenManagement, service: StrictTokenService, authority: Authority, tmp_path: Path
) -> None:
    """Two clients that differ by their certificate only have tokens of their own; copies of one share them."""
    one, other = authority.issue("one"), authority.issue("other")
    copied = (tmp_path / "copy.pem", tmp_path / "copy.key")
    copied[0].write_bytes(one.cert_pem)
    copied[1].write_bytes(one.key_pem)
    keys: list[str] = []
    for pair in ((one.cert, one.key), (other.cert, other.key), copied, None):
        name = f"client {len(keys)}"
        auth = PrivateKeyJwt(KEY, "ES256")
        add(management, service, name, token_endpoint=service.token_endpoint, auth=auth, cert=pair)
        keys.append(Demand.of(management.clients[name]).cache_key)
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3
