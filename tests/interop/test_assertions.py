"""client_secret_jwt, private_key_jwt, and assertions that somebody else issued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from requests_cc_token import ClientAssertion, ClientSecretJwt, PrivateKeyJwt, TokenEndpointError

from .api import ProtectedApi
from .registrations import ASSERTION_ALGORITHMS, Identity
from .servers import RunningServer
from .worker import working
from .workloads import WorkloadAuthority

pytestmark = pytest.mark.interop

only_oidc_provider = pytest.mark.parametrize("server", ["oidc-provider"], indirect=True)
only_keycloak = pytest.mark.parametrize("server", ["Keycloak"], indirect=True)

#: What a rejected assertion gets.
REJECTED = {"oidc-provider": (401, "invalid_client"), "Keycloak": (400, "invalid_client")}
SPIFFE_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"


def where(server: RunningServer, known: str) -> dict[str, Any]:
    """How the server is named: by its issuer (found by discovery), or by its token endpoint (the audience, then)."""
    return {"issuer": server.issuer} if known == "issuer" else {"token_endpoint": server.token_endpoint}


@pytest.mark.parametrize("known", ["issuer", "token_endpoint"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.conformance("C37")
@pytest.mark.conformance("C38")
@pytest.mark.conformance("C40")
def test_client_secret_jwt(
    server: RunningServer, api: ProtectedApi, identity: Identity, algorithm: str, known: str
) -> None:
    """An assertion made with the secret gets a token, and a new one is made for each request."""
    auth = ClientSecretJwt(algorithm=algorithm)
    with working(server, api, "secret-jwt", auth=auth, client_secret=identity.secret, **where(server, known)) as worker:
        assert worker.session.get("introspected/").json()["client"] == "secret-jwt"
        # The server refuses an assertion that it has seen.
        worker.management.service.delete_access_token()
        assert worker.session.get("introspected/").status_code == 200
        assert worker.token_requests == 2


@pytest.mark.parametrize("known", ["issuer", "token_endpoint"])
@pytest.mark.parametrize("algorithm", ASSERTION_ALGORITHMS)
@pytest.mark.conformance("C37")
@pytest.mark.conformance("C38")
@pytest.mark.conformance("C39")
@pytest.mark.conformance("C40")
def test_private_key_jwt(
    server: RunningServer, api: ProtectedApi, identity: Identity, algorithm: str, known: str
) -> None:
    """An assertion signed by any algorithm gets a token, and a new one is made for each request."""
    key = identity.keys[ASSERTION_ALGORITHMS[algorithm]]
    auth = PrivateKeyJwt(key.pem, algorithm=algorithm, key_id=key.key_id)
    with working(server, api, "private-key", auth=auth, **where(server, known)) as worker:
        assert worker.session.get("introspected/").json()["client"] == "private-key"
        worker.management.service.delete_access_token()
        assert worker.session.get("introspected/").status_code == 200
        assert worker.token_requests == 2


@pytest.mark.parametrize("form", ["bytes", "encrypted", "jwk", "json", "file"])
def test_the_forms_of_a_key(
    server: RunningServer, api: ProtectedApi, identity: Identity, tmp_path: Path, form: str
) -> None:
    """A key is taken as PEM, encrypted PEM, a JWK with its kid, or a file with either."""
    key = identity.keys["p256"]
    password: str | None = None
    given: Any = key.jwk(private=True)
    if form == "bytes":
        given = key.pem.encode()
    elif form == "encrypted":
        password = "pass word"
        given = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    elif form == "json":
        given = json.dumps(given)
    elif form == "file":
        (tmp_path / "key").write_text(key.pem)
        given = {"file": str(tmp_path / "key")}
    key_id = None if form in {"jwk", "json"} else key.key_id
    auth = PrivateKeyJwt(given, algorithm="ES256", key_id=key_id, password=password)
    with working(server, api, "private-key", auth=auth) as worker:
        assert worker.session.get("introspected/").status_code == 200


@pytest.mark.parametrize(("algorithm", "taken"), [("RS256", True), ("PS256", False), ("ES256", True)])
@only_keycloak
def test_keycloak_wants_a_key_id(
    server: RunningServer, api: ProtectedApi, identity: Identity, algorithm: str, taken: bool
) -> None:
    """Without kid Keycloak guesses the algorithm of an RSA key to be RS256, and refuses another one."""
    auth = PrivateKeyJwt(identity.keys[ASSERTION_ALGORITHMS[algorithm]].pem, algorithm=algorithm)
    with working(server, api, "private-key", auth=auth) as worker:
        if taken:
            assert worker.session.get("introspected/").status_code == 200
        else:
            with pytest.raises(TokenEndpointError) as refused:
                worker.token()
            assert (refused.value.status_code, refused.value.error) == REJECTED[server.name]


@only_oidc_provider
@pytest.mark.conformance("C39")
def test_a_server_that_takes_the_issuer_only(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Under the FAPI 2.0 profile the audience is the issuer: known by discovery, or given to the method."""
    key = identity.keys["p256"]

    def attempt(audience: str | None, known: str) -> int:
        auth = PrivateKeyJwt(key.pem, algorithm="ES256", key_id=key.key_id, audience=audience)
        with working(server, api, "fapi2-private-key", auth=auth, **where(server, known)) as worker:
            return worker.session.get("introspected/").status_code

    assert attempt(None, "issuer") == 200
    assert attempt(server.issuer, "token_endpoint") == 200
    with pytest.raises(TokenEndpointError) as refused:
        attempt(server.token_endpoint, "issuer")
    assert (refused.value.status_code, refused.value.error) == REJECTED[server.name]


@pytest.mark.conformance("C24")
@pytest.mark.conformance("C41")
def test_a_key_that_nobody_registered(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """An assertion by a wrong key is a permanent error by its name; nothing of the key is in it."""
    stranger = identity.stranger.key_file.read_text()
    auth = PrivateKeyJwt(stranger, algorithm="ES256", key_id="p256")
    with working(server, api, "private-key", auth=auth) as worker, pytest.raises(TokenEndpointError) as refused:
        worker.token()
    assert (refused.value.status_code, refused.value.error) == REJECTED[server.name]
    assert not refused.value.transient
    assert stranger.splitlines()[1] not in str(refused.value)


@pytest.mark.conformance("C41")
def test_a_key_file_that_is_replaced(
    server: RunningServer, api: ProtectedApi, identity: Identity, tmp_path: Path
) -> None:
    """A key put in the place of one that the server refuses is used at once (T13)."""
    file = tmp_path / "key.pem"
    file.write_text(identity.stranger.key_file.read_text())
    auth = PrivateKeyJwt({"file": str(file)}, algorithm="ES256", key_id="p256")
    with working(server, api, "private-key", auth=auth) as worker:
        with pytest.raises(TokenEndpointError):
            worker.token()
        file.write_text(identity.keys["p256"].pem)
        assert worker.session.get("introspected/").status_code == 200


@only_keycloak
@pytest.mark.conformance("C42")
@pytest.mark.parametrize("source", ["file", "callable"])
def test_a_service_account_of_kubernetes(
    server: RunningServer, api: ProtectedApi, workloads: WorkloadAuthority, tmp_path: Path, source: str
) -> None:
    """A projected service account token is read again for each token request, and gets a token at Keycloak."""
    file = tmp_path / "token"
    file.write_text("long expired")
    given: Any = {"file": str(file)}
    if source == "callable":
        given = lambda: workloads.service_account_token(server.issuer)  # noqa: E731
    with working(server, api, "service-account", auth=ClientAssertion(given)) as worker:
        file.write_text(workloads.service_account_token(server.issuer) + "\n")
        assert worker.session.get("introspected/").json()["client"] == "service-account"
        file.write_text(workloads.service_account_token(server.issuer))
        worker.management.service.delete_access_token()
        assert worker.session.get("introspected/").status_code == 200
        assert worker.token_requests == 2


@only_keycloak
@pytest.mark.conformance("C42")
def test_a_spiffe_workload(server: RunningServer, api: ProtectedApi, workloads: WorkloadAuthority) -> None:
    """A JWT-SVID under its own assertion type gets a token at Keycloak; under the usual type it does not."""

    def attempt(**more: str) -> int:
        auth = ClientAssertion(lambda: workloads.jwt_svid(server.issuer), **more)
        with working(server, api, "spiffe", auth=auth) as worker:
            return worker.session.get("introspected/").status_code

    assert attempt(type=SPIFFE_TYPE) == 200
    with pytest.raises(TokenEndpointError) as refused:
        attempt()
    assert (refused.value.status_code, refused.value.error) == (401, "invalid_client")
