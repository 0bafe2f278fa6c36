"""Endpoints and abilities by an issuer's metadata (RFC 8414)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import (
    AccessTokenManagement,
    ClientAssertion,
    ClientSecretJwt,
    DPoPKey,
    PrivateKeyJwt,
    TlsClientAuth,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.endpoint.discovery import METADATA_LIFETIME, REFRESH_PAUSE
from requests_cc_token.endpoint.metadata import well_known_urls

from .scripted_server import Action, Request, answer, error_answer, reset, token_answer
from .skipping_clock import SkippingClock
from .strict_fixtures import KEY, empty_management, fetch, service_that_knows_the_key  # noqa: F401 - fixtures
from .strict_service import Authority, StrictTokenService

INSERTED, APPENDED = "/.well-known/oauth-authorization-server/realm", "/realm/.well-known/openid-configuration"


def issuer_of(service: StrictTokenService) -> str:
    return service.url + "realm"


def publish(service: StrictTokenService, path: str = INSERTED, **members: Any) -> None:
    document = {
        "issuer": issuer_of(service),
        "token_endpoint": service.url + "realm/token",
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt", "client_secret_jwt"],
        **members,
    }
    service.documents[path] = {name: value for name, value in document.items() if value is not None}


def add(management: AccessTokenManagement, service: StrictTokenService, name: str = "w", **options: Any) -> None:
    options.setdefault("issuer", issuer_of(service))
    if "auth" not in options or isinstance(options["auth"], ClientSecretJwt):
        options.setdefault("client_secret", "T41NT-" + "s3cret" * 8)
    management.add_client(name, client_id="worker", **options)


def targets(service: StrictTokenService) -> list[str]:
    return [f"{request.method} {request.target}" for request in service.requests]


@pytest.mark.parametrize(
    ("issuer", "inserted", "appended"),
    [
        (
            "https://a.example",
            "https://a.example/.well-known/oauth-authorization-server",
            "https://a.example/.well-known/openid-configuration",
        ),
        (
            "https://a.example/",
            "https://a.example/.well-known/oauth-authorization-server",
            "https://a.example/.well-known/openid-configuration",
        ),
        (
            "https://a.example:8443/realms/x/",
            "https://a.example:8443/.well-known/oauth-authorization-server/realms/x",
            "https://a.example:8443/realms/x/.well-known/openid-configuration",
        ),
    ],
)
def test_where_metadata_is(issuer: str, inserted: str, appended: str) -> None:
    """Between host and path as RFC 8414 says, behind the path as OpenID Connect does."""
    assert well_known_urls(issuer) == (inserted, appended)


def test_nothing_is_asked_before_it_is_needed(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Registered, nothing is sent; then one document serves all fetches and clients of the issuer."""
    publish(service)
    add(management, service)
    add(management, service, "other", scope="x")
    assert not service.requests
    assert [fetch(management), fetch(management), fetch(management, "other")] == [
        "T41NT-token-1",
        "T41NT-token-1",
        "T41NT-token-2",
    ]
    assert targets(service) == [f"GET {INSERTED}", "POST /realm/token", "POST /realm/token"]


def test_the_other_place(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Where the first place has no document the second is asked."""
    publish(service, APPENDED)
    add(management, service)
    fetch(management)
    assert targets(service) == [f"GET {INSERTED}", f"GET {APPENDED}", "POST /realm/token"]


def test_the_document_is_asked_for_in_public(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """No credentials go with it, not those of a backchannel session either."""
    publish(service)
    session = requests.Session()
    session.auth = ("user", "T41NT-password")
    session.cookies.set("a", "T41NT-cookie")
    management.configure_backchannel(session=session)
    add(management, service)
    fetch(management)
    assert "authorization" not in service.requests[0].headers
    assert "cookie" not in service.requests[0].headers
    assert service.requests[0].body == b""


def test_the_assertion_is_for_the_issuer(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Known by name, the issuer is whom the assertion is for; the old form by option."""
    publish(service)
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    add(management, service, "old", auth=PrivateKeyJwt(KEY, "ES256", audience="token_endpoint"), scope="x")
    fetch(management)
    fetch(management, "old")
    audiences = [claims["aud"] for _, claims in service.assertions]
    assert audiences == [issuer_of(service), service.url + "realm/token"]


def test_a_token_endpoint_that_is_given_needs_no_document(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """Both given: the endpoint is used as it is, the issuer is the audience only."""
    add(management, service, token_endpoint=service.token_endpoint, auth=PrivateKeyJwt(KEY, "ES256"))
    fetch(management)
    assert targets(service) == ["POST /token"]
    assert service.assertions[0][1]["aud"] == issuer_of(service)


# Documents that are not used


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"issuer": "{url}realm/"}, "not identical"),
        ({"issuer": "{url}REALM"}, "not identical"),
        ({"issuer": "https://evil.example/\x1b[31m" + "x" * 500}, "not identical"),
        ({"issuer": None}, "not identical"),
        ({"issuer": ["{url}realm"]}, "not identical"),
        ({"token_endpoint": "http://evil.example/token"}, "plain http"),
        ({"token_endpoint": "{url}token#x"}, "must not have a fragment"),
        ({"token_endpoint": "https://u:p@evil.example/token"}, "user name or password"),
    ],
)
def test_documents_that_must_not_be_used(
    management: AccessTokenManagement, service: StrictTokenService, members: Mapping[str, Any], reason: str
) -> None:
    """Another issuer, code point by code point, or an endpoint that secrets must not go to: no token request."""
    filled = {
        name: value.format(url=service.url) if isinstance(value, str) else value for name, value in members.items()
    }
    publish(service, **filled)
    add(management, service)
    with pytest.raises(TokenRequestError) as refused:
        fetch(management)
    message = str(refused.value)
    assert message.startswith("token client 'w': the metadata of the issuer cannot be had: ")
    assert reason in message
    assert "\x1b" not in message
    assert len(message) < 1000
    assert refused.value.transient is False
    assert targets(service) == [f"GET {INSERTED}", f"GET {APPENDED}"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"issuer": ', b"[" * 100_000])
def test_what_is_no_document(management: AccessTokenManagement, service: StrictTokenService, body: bytes) -> None:
    """Anything but a JSON object is none, and may be one the next time."""
    management.configure_backchannel(max_tries=1)
    service.script.extend([answer(200, body), answer(404)])
    add(management, service)
    with pytest.raises(TokenRequestError, match=r"it is no JSON object; .* answered 404; give token_endpoint") as error:
        fetch(management)
    assert error.value.transient


def test_no_token_endpoint(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """An issuer without a token endpoint issues no tokens."""
    publish(service, token_endpoint=None)
    add(management, service)
    with pytest.raises(TokenRequestError, match="names no token_endpoint in its metadata"):
        fetch(management)


@pytest.mark.parametrize("failures", [[reset] * 4, [answer(503)] * 4, [answer(404), answer(429)] * 2])
def test_an_outage_is_an_outage(
    management: AccessTokenManagement, service: StrictTokenService, failures: list[Action]
) -> None:
    """What may pass is tried again, as token requests are."""
    publish(service)
    service.script.extend(failures)
    add(management, service)
    assert fetch(management) == "T41NT-token-1"


# What the issuer supports


@pytest.mark.parametrize(
    ("members", "options", "reason"),
    [
        ({"token_endpoint_auth_methods_supported": []}, {}, "by client_secret_basic; it offers none"),
        ({"token_endpoint_auth_methods_supported": ["none"]}, {}, "it offers none"),
        (
            {"token_endpoint_auth_signing_alg_values_supported": ["RS256", "none"]},
            {"auth": PrivateKeyJwt(KEY, "ES256")},
            "assertions signed by ES256; it offers RS256, none",
        ),
        (
            {"token_endpoint_auth_signing_alg_values_supported": []},
            {"auth": ClientSecretJwt()},
            "assertions signed by HS256; it offers none",
        ),
        (
            {"dpop_signing_alg_values_supported": ["RS256"]},
            {"dpop": DPoPKey.generate("ES256")},
            "DPoP proofs signed by ES256; it offers RS256",
        ),
    ],
)
def test_what_the_issuer_does_not_support(
    management: AccessTokenManagement,
    service: StrictTokenService,
    members: dict[str, Any],
    options: dict[str, Any],
    reason: str,
) -> None:
    """An unfit registration is an error before anything secret is sent, and it says what the issuer offers."""
    publish(service, **members)
    add(management, service, **options)
    with pytest.raises(TokenRequestError) as refused:
        fetch(management)
    assert reason in str(refused.value)
    assert refused.value.transient is False
    assert targets(service) == [f"GET {INSERTED}"]


@pytest.mark.parametrize(
    ("status", "code", "listed", "said"),
    [
        (400, "unsupported_grant_type", ["authorization_code"], "not list this grant, but authorization_code"),
        (401, "unauthorized_client", [], "not list this grant, but none"),
        (400, "unauthorized_client", ["client_credentials"], None),
        (400, "unauthorized_client", None, None),
        (400, "invalid_scope", ["authorization_code"], None),
        # A list that is too long to be kept whole does not say what is not in it.
        (400, "unsupported_grant_type", [f"urn:x:{number}" for number in range(200)], None),
    ],
)
def test_a_grant_that_is_not_listed(
    management: AccessTokenManagement,
    service: StrictTokenService,
    status: int,
    code: str,
    listed: list[str] | None,
    said: str | None,
) -> None:
    """It is asked for all the same, since some token services do not list it; a refusal of the grant says so."""
    publish(service, grant_types_supported=listed)
    add(management, service)
    fetch(management)
    management.service.delete_access_token()
    service.script.extend([error_answer(status, code)] * 2)
    with pytest.raises(TokenEndpointError, match=code) as refused:
        fetch(management)
    assert ("not list this grant" in str(refused.value)) is (said is not None)
    assert (said or "") in str(refused.value)


def test_f14_methods_that_are_not_listed(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Without a list of methods the client's is sent: the default is for who knows no better, not a prohibition."""
    publish(service, token_endpoint_auth_methods_supported=None)
    add(management, service, auth="client_secret_post", client_secret="T41NT-s3cret")
    fetch(management)
    assert service.requests[-1].form["client_secret"] == ["T41NT-s3cret"]


def test_what_is_not_said_is_not_judged(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """Algorithms that the document does not list, and assertions of somebody else, are the server's to judge."""
    publish(service, token_endpoint_auth_methods_supported=["private_key_jwt", 7])
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"), dpop=DPoPKey.generate())
    assert fetch(management) == "T41NT-token-1"
    service.script.append(token_answer("t"))
    add(management, service, "given", auth=ClientAssertion(lambda: "e30.e30.x"))
    assert fetch(management, "given") == "t"


def test_endpoints_for_mutual_tls(clock: SkippingClock, tmp_path: Path) -> None:
    """A client with a certificate goes to the aliases, one without to the endpoints (RFC 8705 section 5)."""
    authority = Authority(tmp_path)
    files = authority.issue("worker")
    with (
        StrictTokenService(tls=authority.server_context()) as service,
        AccessTokenManagement(clock=clock) as management,
    ):
        management.configure_backchannel(verify=authority.file)
        service.certificates["worker"] = files.thumbprint
        service.keys["worker"] = KEY.public_jwk
        publish(
            service,
            token_endpoint_auth_methods_supported=["tls_client_auth", "private_key_jwt"],
            mtls_endpoint_aliases={"token_endpoint": service.url + "mtls/token", "revocation_endpoint": 7},
        )
        add(management, service, auth=TlsClientAuth(files.cert, files.key))
        add(management, service, "bound", auth=PrivateKeyJwt(KEY, "ES256"), cert=(files.cert, files.key))
        add(management, service, "free", auth=PrivateKeyJwt(KEY, "ES256"))
        for name in ("w", "bound", "free"):
            fetch(management, name)
        assert targets(service)[1:] == ["POST /mtls/token", "POST /mtls/token", "POST /realm/token"]
        assert [issued.certificate for issued in service.issued] == [files.thumbprint, files.thumbprint, None]


# Refresh


def again(management: AccessTokenManagement) -> str:
    management.service.delete_access_token("w")
    return fetch(management)


def test_metadata_is_refreshed(
    management: AccessTokenManagement, service: StrictTokenService, clock: SkippingClock
) -> None:
    """After its lifetime the document is read again, and what it says then counts."""
    publish(service)
    add(management, service)
    fetch(management)
    publish(service, token_endpoint=service.url + "moved")
    clock.now += METADATA_LIFETIME - 1
    again(management)
    clock.now += 1
    again(management)
    assert targets(service) == [
        f"GET {INSERTED}", "POST /realm/token", "POST /realm/token", f"GET {INSERTED}", "POST /moved",
    ]  # fmt: skip


@pytest.mark.parametrize("failure", [{"issuer": "https://evil.example"}, None])
def test_a_refresh_that_fails_keeps_the_old_copy(
    management: AccessTokenManagement,
    service: StrictTokenService,
    clock: SkippingClock,
    failure: dict[str, Any] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tokens come all the same; a warning says so, and the next refresh waits."""
    publish(service)
    add(management, service)
    fetch(management)
    clock.now += METADATA_LIFETIME
    service.documents.clear()
    if failure is not None:
        publish(service, **failure)
    with caplog.at_level(logging.WARNING):
        assert again(management) == "T41NT-token-2"
    assert "going on with the copy from before" in caplog.text
    count = len(service.requests)
    again(management)
    assert len(service.requests) == count + 1
    clock.now += REFRESH_PAUSE
    publish(service)
    again(management)
    assert targets(service)[-2:] == [f"GET {INSERTED}", "POST /realm/token"]


@pytest.mark.parametrize("trouble", [answer(404), reset])
def test_an_endpoint_that_is_gone_is_looked_up_again(
    management: AccessTokenManagement, service: StrictTokenService, trouble: Action, clock: SkippingClock
) -> None:
    """A token endpoint that is not there any more makes for a look at the metadata before its time."""
    publish(service)
    add(management, service)
    fetch(management)
    management.configure_backchannel(max_tries=1)

    def moved(request: Request) -> Action | None:
        return trouble if request.target == "/realm/token" else strict(request)

    strict, service.respond = service._respond, moved
    publish(service, token_endpoint=service.url + "moved")
    with pytest.raises(TokenRequestError):
        again(management)
    clock.now += 1000
    assert fetch(management) == "T41NT-token-2"
    assert targets(service)[-2:] == [f"GET {INSERTED}", "POST /moved"]


def test_errors_name_the_endpoint_that_was_found(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """The URL of the metadata is in the message, not nothing."""
    publish(service)
    add(management, service)
    fetch(management)
    service.script.append(error_answer(400, "invalid_scope"))
    with pytest.raises(TokenEndpointError, match=f"the token endpoint {service.url}realm/token answered 400"):
        again(management)
