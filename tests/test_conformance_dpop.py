"""C48 to C53: DPoP."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from joserfc.jwk import ECKey

from requests_cc_token import (
    AccessTokenManagement,
    ConfigurationError,
    DPoPKey,
    InvalidTokenResponseError,
    TokenEndpointError,
)
from requests_cc_token.authentication.signing_key import SIGNING_ALGORITHMS

from .scripted_server import answer, error_answer, reset, token_answer
from .skipping_clock import SkippingClock
from .strict_fixtures import add_with_secret, plain_api, plain_service, session_of_the_api  # noqa: F401 - fixtures
from .strict_service import StrictApi, StrictTokenService, unverified, verified


@pytest.fixture
def management(clock: SkippingClock, service: StrictTokenService, api: StrictApi) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        management.configure_backchannel(wait=[1, 1])
        add_with_secret(management, service, dpop=DPoPKey.generate())
        management.add_session("api", base_url=api.url, client="w", max_retries=urllib3.Retry(2, backoff_factor=0))
        yield management


def proofs_of(server: Any) -> list[dict[str, Any]]:
    """The claims of every proof that reached a server, accepted or not."""
    return [unverified(request.headers["dpop"])[1] for request in server.requests]


@pytest.mark.conformance("C48")
@pytest.mark.parametrize("algorithm", SIGNING_ALGORITHMS)
def test_header_and_claims(algorithm: str) -> None:
    """Type, asymmetric algorithm and public key in the header; exactly these claims."""
    key = DPoPKey.generate(algorithm)
    proof = key.proof("POST", "HTTPS://Api.Example.COM:443/a?b=c#d", now=1_700_000_000.9, access_token="t0ken")
    header, _ = unverified(proof)
    header, claims = verified(proof, header["jwk"])
    public = {"RSA": {"kty", "n", "e"}, "EC": {"kty", "crv", "x", "y"}, "OKP": {"kty", "crv", "x"}}
    assert set(header["jwk"]) == public[header["jwk"]["kty"]]
    assert {n: header[n] for n in ("typ", "alg")} == {"typ": "dpop+jwt", "alg": algorithm}
    assert set(header) == {"typ", "alg", "jwk"}
    assert len(urlsafe_b64decode(claims["jti"] + "==")) * 8 >= 96
    ath = urlsafe_b64encode(hashlib.sha256(b"t0ken").digest()).rstrip(b"=").decode()
    assert {n: v for n, v in claims.items() if n != "jti"} == {
        "htm": "POST",
        "htu": "https://api.example.com/a",
        "iat": 1_700_000_000,
        "ath": ath,
    }


@pytest.mark.conformance("C48")
def test_the_public_key_only() -> None:
    """No private member is in any proof, of whatever kind of key; symmetric keys are refused."""
    for algorithm in SIGNING_ALGORITHMS:
        header, _ = unverified(DPoPKey.generate(algorithm).proof("GET", "https://a.example/", now=0))
        assert set(header["jwk"]) <= {"kty", "crv", "x", "y", "n", "e"}
    with pytest.raises(ConfigurationError):
        DPoPKey({"kty": "oct", "k": "c2VjcmV0"})


@pytest.mark.conformance("C48")
def test_the_token_hash_is_for_the_api_only(
    session: requests.Session, service: StrictTokenService, api: StrictApi
) -> None:
    """Proofs for the token endpoint have none."""
    session.get("x")
    assert "ath" not in proofs_of(service)[0]
    assert "ath" in proofs_of(api)[0]


@pytest.mark.conformance("C49")
def test_one_proof_for_each_try(session: requests.Session, service: StrictTokenService, api: StrictApi) -> None:
    """Retries of the token request, of urllib3, for a nonce and after a renewal: one header each, never the same."""
    service.script.append(answer(503))
    service.proofs.nonce = "as"
    api.script.append(reset)
    api.proofs.nonce = "rs"
    assert session.get("x").status_code == 200
    api.revoked.add("T41NT-token-1")
    assert session.post("x", data=b"body", headers={"DPoP": "mine"}).status_code == 200
    for server, tries in ((service, 4), (api, 5)):
        assert len({claims["jti"] for claims in proofs_of(server)}) == len(server.requests) == tries


@pytest.mark.conformance("C50")
@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "N_A"])
def test_another_type_of_token_is_discarded(
    management: AccessTokenManagement, service: StrictTokenService, token_type: str
) -> None:
    """A token that is not bound though it was asked for is not used."""
    management.configure_backchannel(max_tries=1, wait=[])
    service.script.append(token_answer("T41NT-t", token_type=token_type))
    with pytest.raises(InvalidTokenResponseError):
        management.service.get_access_token("w")
    service.script.append(token_answer("T41NT-t", token_type=token_type))
    with pytest.raises(InvalidTokenResponseError):
        management.service.get_access_token("w")


@pytest.mark.conformance("C50")
def test_the_scheme(session: requests.Session, api: StrictApi, service: StrictTokenService) -> None:
    """Presented as ``DPoP``; challenges are read in any case."""
    session.get("x")
    assert api.requests[0].headers["authorization"] == "DPoP T41NT-token-1"
    challenge = ("WWW-Authenticate", 'dPoP ErRoR="use_dpop_nonce", algs="ES256"')
    api.script.append(answer(401, b"", [challenge, ("DPoP-Nonce", "n")]))
    assert session.get("x").status_code == 200
    assert proofs_of(api)[-1]["nonce"] == "n"
    assert len(service.requests) == 1


@pytest.mark.conformance("C51")
def test_a_nonce_of_the_token_service(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """400 with a nonce: one more try with it, and not a third."""
    service.script.append(error_answer(400, "use_dpop_nonce", [("DPoP-Nonce", "n1")]))
    assert management.service.get_access_token("w").value == "T41NT-token-1"
    assert [claims.get("nonce") for claims in proofs_of(service)] == [None, "n1"]
    management.service.delete_access_token("w")
    service.script.extend(error_answer(400, "use_dpop_nonce", [("DPoP-Nonce", n)]) for n in ("n2", "n3"))
    with pytest.raises(TokenEndpointError, match="use_dpop_nonce"):
        management.service.get_access_token("w")
    assert [claims.get("nonce") for claims in proofs_of(service)] == [None, "n1", "n1", "n2"]


@pytest.mark.conformance("C51")
def test_a_nonce_of_the_api(session: requests.Session, service: StrictTokenService, api: StrictApi) -> None:
    """401 with a nonce: one more try with it, with the same token."""
    api.proofs.nonce = "n1"
    response = session.post("x", data=b"body")
    assert response.json() == {"token": "token-1"}
    assert [request.body for request in api.requests] == [b"body", b"body"]
    assert [claims.get("nonce") for claims in proofs_of(api)] == [None, "n1"]
    assert len(service.requests) == 1


@pytest.mark.conformance("C52")
def test_the_newest_nonce_of_any_answer(
    management: AccessTokenManagement, session: requests.Session, service: StrictTokenService, api: StrictApi
) -> None:
    """Good answers bring nonces as well, errors too; the newest is used, and the two servers' are never mixed."""
    service.headers, api.headers = (("DPoP-Nonce", "as-1"),), (("DPoP-Nonce", "rs-1"),)
    session.get("x")
    api.headers = (("DPoP-Nonce", "rs-2"),)
    session.get("x")
    session.get("x")
    api.script.append(answer(404, b"", [("DPoP-Nonce", "rs-3")]))
    session.get("x")
    session.get("x")
    management.service.delete_access_token("w")
    management.service.get_access_token("w")
    assert [claims.get("nonce") for claims in proofs_of(api)] == [None, "rs-1", "rs-2", "rs-2", "rs-3"]
    assert [claims.get("nonce") for claims in proofs_of(service)] == [None, "as-1"]


@pytest.mark.conformance("C52")
def test_nonces_are_kept_by_origin(
    management: AccessTokenManagement, session: requests.Session, service: StrictTokenService, api: StrictApi
) -> None:
    """A second API of the same client has nonces of its own."""
    with StrictApi(service) as other:
        management.add_session("other", base_url=other.url, client="w")
        api.headers, other.headers = (("DPoP-Nonce", "a"),), (("DPoP-Nonce", "b"),)
        with management.make_session("other") as second:
            for _ in range(2):
                session.get("x")
                second.get("x")
        assert [claims.get("nonce") for claims in proofs_of(api)] == [None, "a"]
        assert [claims.get("nonce") for claims in proofs_of(other)] == [None, "b"]


@pytest.mark.conformance("C52")
def test_no_nonce_no_second_try(
    management: AccessTokenManagement, session: requests.Session, service: StrictTokenService, api: StrictApi
) -> None:
    """``use_dpop_nonce`` without one is final, at both servers; the token stays."""
    api.script.append(answer(401, b"", [("WWW-Authenticate", 'DPoP error="use_dpop_nonce"')]))
    assert session.get("x").status_code == 401
    assert len(api.requests) == len(service.requests) == 1
    management.service.delete_access_token("w")
    service.script.append(error_answer(400, "use_dpop_nonce"))
    with pytest.raises(TokenEndpointError, match="use_dpop_nonce"):
        management.service.get_access_token("w")
    assert len(service.requests) == 2


@pytest.mark.conformance("C53")
def test_the_time_is_the_token_services_where_ours_is_wrong(
    session: requests.Session, service: StrictTokenService, api: StrictApi, clock: SkippingClock
) -> None:
    """A refused proof with a date far from ours: tried again with the right time, which holds at the API too."""
    service.script.append(error_answer(400, "invalid_dpop_proof", [("Date", "Tue, 14 Nov 2023 22:27:00 GMT")]))
    assert session.get("x").status_code == 200
    assert clock.time() == 1_700_001_000
    assert [claims["iat"] for claims in (*proofs_of(service), *proofs_of(api))] == [
        1_700_001_000,
        1_700_000_820,
        1_700_000_820,
    ]


@pytest.mark.conformance("C53")
def test_a_rotated_key(service: StrictTokenService, api: StrictApi, clock: SkippingClock, tmp_path: Path) -> None:
    """A new key makes for a new token; a token at hand is used with its own key to the end; the key is in the key."""
    path = tmp_path / "dpop.json"
    old, new = (ECKey.generate_key("P-256") for _ in range(2))
    path.write_text(json.dumps(old.as_dict(private=True)))
    with AccessTokenManagement(clock=clock) as management:
        add_with_secret(management, service, dpop=DPoPKey({"file": path}))
        management.add_session("api", base_url=api.url)
        with management.make_session("api") as session:
            session.get("x").raise_for_status()
            first = management.service.get_access_token("w")
            path.write_text(json.dumps(new.as_dict(private=True)))
            session.get("x").raise_for_status()
            second = management.service.get_access_token("w")
    assert [issued.thumbprint for issued in service.issued] == [old.thumbprint(), new.thumbprint()]
    assert [proof.thumbprint for proof in api.proofs.taken] == [old.thumbprint(), new.thumbprint()]
    assert first.binding is not None
    assert first.binding.dpop is not None
    assert first.binding.dpop.thumbprint == old.thumbprint()
    assert first.key != second.key
