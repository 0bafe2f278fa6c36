"""tls_client_auth, self_signed_tls_client_auth, and tokens bound to certificates (RFC 8705)."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from requests_cc_token import (
    PrivateKeyJwt,
    TlsClientAuth,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
)

from .api import ProtectedApi
from .pki import Authority, Certificate
from .registrations import Identity
from .servers import RunningServer
from .worker import Worker, working

pytestmark = pytest.mark.interop

only_oidc_provider = pytest.mark.parametrize("server", ["oidc-provider"], indirect=True)


def check_bound_calls(server: RunningServer, api: ProtectedApi, worker: Worker, certificate: Certificate) -> None:
    """The token is bound to the certificate, and the API call shows the same one."""
    assert worker.session.get("introspected/").status_code == 200
    assert worker.session.post("introspected/", data=b"0123456789").json()["received"] == 10
    for seen in api.seen:
        assert seen.claims["cnf"] == {"x5t#S256": certificate.thumbprint}
        assert seen.certificate == certificate.thumbprint
    assert worker.token_requests == 1
    # Stolen, it is of no use.
    stolen = requests.get(
        api.base_url + "introspected/",
        headers={"Authorization": worker.token().authorization},
        verify=server.ca,
        timeout=10,
    )
    assert stolen.status_code == 401


@pytest.mark.conformance("C45")
@pytest.mark.conformance("C46")
def test_by_subject(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A certificate with the registered subject gets a bound token, and the API sees the same certificate."""
    auth = TlsClientAuth(*identity.by_subject.pair)
    with working(server, api, "tls-subject", auth=auth, issuer=server.issuer) as worker:
        check_bound_calls(server, api, worker, identity.by_subject)


@only_oidc_provider
@pytest.mark.parametrize("name", ["dns", "uri"])
@pytest.mark.conformance("C45")
@pytest.mark.conformance("C46")
def test_by_alternative_name(server: RunningServer, api: ProtectedApi, identity: Identity, name: str) -> None:
    """A certificate with the registered DNS or URI name gets a bound token too."""
    certificate: Certificate = getattr(identity, f"by_{name}")
    with working(server, api, f"tls-{name}", auth=TlsClientAuth(*certificate.pair), issuer=server.issuer) as worker:
        check_bound_calls(server, api, worker, certificate)


@pytest.mark.conformance("C45")
@pytest.mark.conformance("C46")
def test_bound_with_another_method(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A client that signs assertions and has a certificate too gets a token bound to the certificate."""
    key = identity.keys["p256"]
    auth = PrivateKeyJwt(key.pem, algorithm="ES256", key_id=key.key_id)
    certificate = identity.by_dns
    with working(
        server, api, "private-key-tls-bound", auth=auth, cert=certificate.pair, issuer=server.issuer
    ) as worker:
        check_bound_calls(server, api, worker, certificate)


@only_oidc_provider
@pytest.mark.conformance("C45")
@pytest.mark.conformance("C46")
def test_self_signed(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A self-signed certificate whose key the client has registered gets a bound token."""
    auth = TlsClientAuth(*identity.self_signed.pair, self_signed=True)
    with working(server, api, "tls-self-signed", auth=auth, issuer=server.issuer) as worker:
        check_bound_calls(server, api, worker, identity.self_signed)


@only_oidc_provider
@pytest.mark.conformance("C45")
def test_the_alias_of_the_token_endpoint(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """The usual endpoint of this server takes no certificate; the alias may also be given by hand."""
    auth = TlsClientAuth(*identity.by_subject.pair)
    alias = server.metadata["mtls_endpoint_aliases"]["token_endpoint"]
    with working(server, api, "tls-subject", auth=auth, token_endpoint=alias) as worker:
        assert worker.session.get("introspected/").status_code == 200
    with working(server, api, "tls-subject", auth=auth) as worker, pytest.raises(TokenEndpointError) as refused:
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (401, "invalid_client")


@pytest.mark.conformance("C46")
def test_a_certificate_that_is_replaced(
    server: RunningServer, api: ProtectedApi, identity: Identity, tmp_path: Path
) -> None:
    """A new certificate in the files of the old one ends the old token and is shown to server and API (T13)."""
    renewed = identity.authority.issue("tls-subject", folder=tmp_path)
    cert, key = tmp_path / "cert", tmp_path / "key"

    def put(certificate: Certificate) -> None:
        cert.write_bytes(certificate.cert_file.read_bytes())
        key.write_bytes(certificate.key_file.read_bytes())

    put(identity.by_subject)
    with working(server, api, "tls-subject", auth=TlsClientAuth(cert, key), issuer=server.issuer) as worker:
        assert worker.session.get("introspected/").status_code == 200
        put(renewed)
        worker.clock.step(60)
        assert worker.session.get("introspected/").status_code == 200
        assert [seen.certificate for seen in api.seen] == [identity.by_subject.thumbprint, renewed.thumbprint]
        assert api.seen[-1].claims["cnf"] == {"x5t#S256": renewed.thumbprint}


@pytest.mark.conformance("C24")
def test_a_certificate_that_nobody_registered(
    server: RunningServer, api: ProtectedApi, identity: Identity
) -> None:
    """A certificate of the same authority with another subject is a permanent error by its name."""
    auth = TlsClientAuth(*identity.stranger.pair)
    with (
        working(server, api, "tls-subject", auth=auth, issuer=server.issuer) as worker,
        pytest.raises(TokenEndpointError) as refused,
    ):
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (401, "invalid_client")
    assert not refused.value.transient


@pytest.mark.parametrize("issuer", ["itself", "another authority"])
@pytest.mark.conformance("C24")
@pytest.mark.conformance("C45")
def test_a_certificate_that_nobody_vouches_for(
    server: RunningServer, api: ProtectedApi, identity: Identity, tmp_path: Path, issuer: str
) -> None:
    """The registered subject in a self-signed certificate, or in one of another authority, gets an error by its name.

    Keycloak ends the connection with a TLS alert about the certificate, which the end of the connection may overtake;
    oidc-provider refuses the client. Neither will do otherwise a moment later, which a connection that just ended does
    not tell.
    """
    authority = identity.authority if issuer == "itself" else Authority(tmp_path)
    certificate = authority.issue("tls-subject", self_signed=issuer == "itself", folder=tmp_path)
    assert certificate.subject == identity.by_subject.subject
    auth = TlsClientAuth(*certificate.pair)
    with working(server, api, "tls-subject", auth=auth, issuer=server.issuer) as worker:
        worker.management.configure_backchannel(wait=())
        with pytest.raises(TokenRequestError) as refused:
            worker.session.get("introspected/")
    if server.name == "Keycloak":
        assert isinstance(refused.value, TokenEndpointConnectionError)
        said = str(refused.value)
        assert "check the client certificate" in said
        assert refused.value.transient is ("the server refused the TLS connection" not in said)
    else:
        assert isinstance(refused.value, TokenEndpointError)
        assert (refused.value.status_code, refused.value.error) == (401, "invalid_client")
        assert not refused.value.transient
    assert api.seen == []


@pytest.mark.parametrize("server", ["Keycloak"], indirect=True)
@pytest.mark.conformance("C45")
def test_a_method_that_keycloak_lacks(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """The metadata of Keycloak has no self_signed_tls_client_auth: the error says so and lists what there is."""
    auth = TlsClientAuth(*identity.self_signed.pair, self_signed=True)
    with (
        working(server, api, "tls-subject", auth=auth, issuer=server.issuer) as worker,
        pytest.raises(TokenRequestError, match="by self_signed_tls_client_auth; it offers") as refused,
    ):
        worker.token()
    assert not refused.value.transient
