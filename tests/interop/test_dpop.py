"""Tokens bound to a key by DPoP (RFC 9449), with nonces at the token endpoint and at the API."""

from __future__ import annotations

import pytest
import requests

from requests_cc_token import AccessTokenManagement, DPoPKey, PrivateKeyJwt, TokenEndpointError

from .api import ProtectedApi
from .registrations import Identity
from .servers import RunningServer
from .worker import working

pytestmark = pytest.mark.interop

only_oidc_provider = pytest.mark.parametrize("server", ["oidc-provider"], indirect=True)
only_keycloak = pytest.mark.parametrize("server", ["Keycloak"], indirect=True)

#: What a client gets that must prove a key and does not.
UNPROVEN = {"oidc-provider": "invalid_grant", "Keycloak": "invalid_request"}


@pytest.mark.conformance("C48")
@pytest.mark.conformance("C49")
@pytest.mark.conformance("C50")
@pytest.mark.conformance("C51")
@pytest.mark.conformance("C52")
def test_calls_with_a_bound_token(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """The token is bound to the key; the API's nonce is learnt with one more try, kept, and the token with it."""
    key = DPoPKey.generate()
    with working(server, api, "dpop", client_secret=identity.secret, dpop=key) as worker:
        assert worker.session.get("introspected/").status_code == 200
        assert worker.session.post("introspected/", data=b"0123456789").json()["received"] == 10
        assert [seen.status for seen in api.seen] == [401, 200, 200]
        assert {seen.scheme for seen in api.seen} == {"DPoP"}
        assert {seen.claims["cnf"]["jkt"] for seen in api.seen} == {key.thumbprint}
        assert len({seen.proof["jti"] for seen in api.seen}) == 3
        token = worker.token()
        assert token.token_type == "DPoP"
        api.nonce = "another"
        assert worker.session.post("introspected/", data=b"0123456789").json()["received"] == 10
        assert [seen.status for seen in api.seen] == [401, 200, 200, 401, 200]
        assert worker.token() is token


@pytest.mark.conformance("C40")
@pytest.mark.conformance("C51")
def test_with_a_client_assertion(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """The try with the nonce carries a new client assertion too: the first one is used up."""
    key = identity.keys["p256"]
    auth = PrivateKeyJwt(key.pem, algorithm="ES256", key_id=key.key_id)
    with working(server, api, "private-key-dpop", auth=auth, dpop=DPoPKey.generate()) as worker:
        assert worker.session.get("introspected/").status_code == 200
        assert api.seen[-1].scheme == "DPoP"


@pytest.mark.conformance("C52")
def test_the_nonce_of_the_token_endpoint_is_kept(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A renewal uses the nonce that the first token request learnt, and the same key."""
    with working(server, api, "dpop", client_secret=identity.secret, dpop=DPoPKey.generate()) as worker:
        first = worker.token()
        worker.management.service.delete_access_token()
        assert worker.session.get("introspected/").status_code == 200
        assert worker.token().value != first.value


def test_a_client_that_need_not_prove_a_key(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A proof binds the token of a client that is not registered for it too."""
    with working(server, api, "basic", client_secret=identity.secret, dpop=DPoPKey.generate()) as worker:
        assert worker.session.get("introspected/").status_code == 200
        assert api.seen[-1].scheme == "DPoP"


@pytest.mark.conformance("C24")
def test_no_proof_where_one_is_needed(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A client that must prove a key and does not gets a permanent error by its name."""
    with (
        working(server, api, "dpop", client_secret=identity.secret) as worker,
        pytest.raises(TokenEndpointError) as refused,
    ):
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (400, UNPROVEN[server.name])
    assert not refused.value.transient


@only_oidc_provider
@pytest.mark.conformance("C53")
def test_a_clock_that_is_an_hour_wrong(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """With the server's nonce in it, a proof by a wrong clock gets a token."""
    with working(server, api, "dpop", client_secret=identity.secret, dpop=DPoPKey.generate()) as worker:
        worker.clock.step(3600)
        assert worker.token().token_type == "DPoP"


@only_keycloak
@pytest.mark.conformance("C48")
@pytest.mark.conformance("C50")
def test_an_api_that_nobody_here_wrote(server: RunningServer, identity: Identity) -> None:
    """Keycloak's own userinfo endpoint takes the bound token with its proof, and not as a plain Bearer token."""
    userinfo = server.metadata["userinfo_endpoint"]
    with AccessTokenManagement() as management:
        management.configure_backchannel(verify=server.ca)
        management.add_client(
            "worker",
            token_endpoint=server.token_endpoint,
            client_id="dpop",
            client_secret=identity.secret,
            scope="openid",
            dpop=DPoPKey.generate(),
        )
        management.add_session("keycloak", base_url=userinfo.rpartition("/")[0] + "/")
        with management.make_session("keycloak") as session:
            session.verify = server.ca
            for answer in (session.get("userinfo"), session.post("userinfo"), session.get("userinfo?a=b")):
                assert answer.status_code == 200, answer.headers
                assert answer.json()["sub"]
        token = management.service.get_access_token().value
    stolen = requests.get(userinfo, headers={"Authorization": f"Bearer {token}"}, verify=server.ca, timeout=10)
    assert stolen.status_code == 401
