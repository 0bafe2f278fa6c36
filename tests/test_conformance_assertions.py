"""C37 to C42: client assertions."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from requests_cc_token import (
    AccessTokenManagement,
    ClientAssertion,
    ClientSecretJwt,
    ConfigurationError,
    DPoPKey,
    PrivateKeyJwt,
    TlsClientAuth,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.authentication.assertions import ASSERTION_LIFETIME, JWT_BEARER, JWT_SPIFFE

from .scripted_server import Action, answer, error_answer, reset
from .skipping_clock import SkippingClock
from .strict_fixtures import KEY, fetch, plain_api, service_that_knows_the_key  # noqa: F401 - fixtures
from .strict_service import Authority, StrictApi, StrictTokenService, unverified

SECRET = "T41NT-" + "s3cret" * 10
ISSUER = "https://login.example.com"


@pytest.fixture
def management(clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        management.configure_backchannel(wait=[1, 2, 3])
        yield management


def add(management: AccessTokenManagement, service: StrictTokenService, name: str = "w", **options: Any) -> None:
    options = {"issuer": ISSUER, "client_id": "worker", **options}
    management.add_client(name, token_endpoint=service.token_endpoint, **options)


@pytest.mark.conformance("C37")
@pytest.mark.parametrize(
    "options",
    [
        {"auth": PrivateKeyJwt(KEY, "ES256")},
        {"auth": ClientSecretJwt(), "client_secret": SECRET},
        {"auth": ClientAssertion(lambda: KEY.sign({}, {"sub": "worker", "jti": "1"}))},
    ],
    ids=["private_key_jwt", "client_secret_jwt", "given"],
)
def test_the_parameters(
    management: AccessTokenManagement, service: StrictTokenService, options: dict[str, Any]
) -> None:
    """The exact type, one JWT, the same client id; and nothing else that authenticates."""
    if "client_secret" in options:
        service.keys["worker"] = RSAKey.generate_key(2048).as_dict(private=False)
        service.script.append(answer(200, {"access_token": "T41NT-t", "token_type": "Bearer"}))
    add(management, service, **options)
    fetch(management)
    (request,) = service.requests
    form = {name: values for name, values in request.form.items() if name != "client_assertion"}
    assert form == {
        "grant_type": ["client_credentials"],
        "client_id": ["worker"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
    }
    (assertion,) = request.form["client_assertion"]
    assert assertion.count(".") == 2
    assert "authorization" not in request.headers
    assert form["client_assertion_type"] == [JWT_BEARER]


@pytest.mark.conformance("C38")
@pytest.mark.conformance("C39")
def test_header_and_claims(
    management: AccessTokenManagement, service: StrictTokenService, clock: SkippingClock
) -> None:
    """Exactly these claims, the issuer as the sole audience as text, a minute of life, the type and key id."""
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256", key_id="k1"))
    fetch(management)
    ((header, claims),) = service.assertions
    jti = claims.pop("jti")
    assert claims == {
        "iss": "worker",
        "sub": "worker",
        "aud": ISSUER,
        "iat": int(clock.time()),
        "nbf": int(clock.time()),
        "exp": int(clock.time()) + 60,
    }
    assert len(jti) * 6 >= 128
    assert header == {"alg": "ES256", "typ": "client-authentication+jwt", "kid": "k1"}
    assert ASSERTION_LIFETIME == 60


@pytest.mark.conformance("C38")
@pytest.mark.parametrize("make", [lambda a: PrivateKeyJwt(KEY, a), ClientSecretJwt, DPoPKey.generate])
@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS1"])
def test_an_unsigned_assertion_cannot_be_configured(make: Any, algorithm: str) -> None:
    """``none`` is no algorithm."""
    with pytest.raises(ConfigurationError, match="must be one of"):
        make(algorithm)


@pytest.mark.conformance("C39")
@pytest.mark.parametrize(
    ("options", "auth", "audience"),
    [
        ({}, {}, ISSUER),
        ({}, {"audience": "token_endpoint"}, "{endpoint}"),
        ({"issuer": None}, {}, "{endpoint}"),
        ({"issuer": None}, {"audience": ISSUER}, ISSUER),
    ],
)
def test_the_audience(
    management: AccessTokenManagement,
    service: StrictTokenService,
    options: dict[str, Any],
    auth: dict[str, Any],
    audience: str,
) -> None:
    """The issuer where it is known; the token endpoint where it is not, or by option."""
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256", **auth), **options)
    fetch(management)
    assert service.assertions[0][1]["aud"] == audience.format(endpoint=service.token_endpoint)


@pytest.mark.conformance("C40")
@pytest.mark.parametrize("trouble", [reset, answer(503), answer(429, b"", [("Retry-After", "100")])])
def test_each_try_has_an_assertion_of_its_own(
    management: AccessTokenManagement, service: StrictTokenService, clock: SkippingClock, trouble: Action
) -> None:
    """Made after the wait, not before it: fresh in ``jti`` and in time."""
    management.configure_backchannel(wait=[5, 7], max_time=300)
    service.script.extend([trouble, trouble])
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    fetch(management)
    sent = [unverified(request.form["client_assertion"][0])[1] for request in service.requests]
    assert len({claims["jti"] for claims in sent}) == 3
    waits = clock.waits[-2:]
    assert [later["iat"] - sent[0]["iat"] for later in sent] == [0, int(waits[0]), int(sum(waits))]
    assert all(claims["exp"] - claims["iat"] == 60 for claims in sent)


@pytest.mark.conformance("C40")
@pytest.mark.conformance("C51")
def test_the_try_with_a_nonce_too(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """A token request that is sent again with a DPoP nonce has another assertion."""
    service.proofs.nonce = "n"
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"), dpop=DPoPKey.generate())
    fetch(management)
    assert len({claims["jti"] for _, claims in service.assertions}) == 2


@pytest.mark.conformance("C40")
def test_an_assertion_is_not_kept(
    management: AccessTokenManagement, service: StrictTokenService, clock: SkippingClock
) -> None:
    """The next fetch makes one of its own."""
    add(management, service, auth=PrivateKeyJwt(KEY, "ES256"))
    for _ in range(2):
        fetch(management)
        management.service.delete_access_token("w")
        clock.now += 61
    first, second = (claims for _, claims in service.assertions)
    assert first["jti"] != second["jti"]
    assert second["iat"] == first["iat"] + 61


def written(path: Path, key: RSAKey) -> Path:
    path.write_bytes(key.as_pem(private=True))
    return path


@pytest.mark.conformance("C41")
def test_a_refused_assertion(management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path) -> None:
    """Permanent while the key is the same; tried once more at once with a key that was replaced meanwhile."""
    old, new = (RSAKey.generate_key(2048) for _ in range(2))
    path = written(tmp_path / "key.pem", old)
    add(management, service, auth=PrivateKeyJwt({"file": path}))
    for _ in range(2):
        with pytest.raises(TokenEndpointError, match="invalid_client"):
            fetch(management)
    assert len(service.requests) == 1

    service.keys["worker"] = new.as_dict(private=False)
    refuse = error_answer(401, "invalid_client")

    def replaced(connection: Any) -> bool:
        written(path, new)
        return refuse(connection)

    service.script.append(replaced)
    management.service.retry_at_once()
    assert fetch(management) == "T41NT-token-1"
    assert len(service.requests) == 3


def replaced_by_a_helper(folder: Path, token: str) -> None:
    """As helpers of SPIFFE put an SVID in place: written beside it, and renamed."""
    (folder / "token.new").write_text(token)
    (folder / "token.new").replace(folder / "token")


def replaced_by_the_kubelet(folder: Path, token: str) -> None:
    """As the kubelet does: ``token`` leads through ``..data``, which is swapped for a new folder; the old one goes."""
    data, new = folder / "..data", folder / f"..{os.urandom(4).hex()}"
    old = data.resolve() if data.is_symlink() else None
    new.mkdir()
    (new / "token").write_text(token)
    (folder / "..data_tmp").symlink_to(new.name)
    (folder / "..data_tmp").rename(data)
    if old is None:
        (folder / "token").symlink_to("..data/token")
    else:
        (old / "token").unlink()
        old.rmdir()


@pytest.mark.conformance("C42")
@pytest.mark.parametrize("replace", [replaced_by_a_helper, replaced_by_the_kubelet])
def test_an_identity_that_is_rotated_under_a_running_worker(
    management: AccessTokenManagement,
    service: StrictTokenService,
    api: StrictApi,
    clock: SkippingClock,
    tmp_path: Path,
    replace: Callable[[Path, str], None],
) -> None:
    """The session goes on; each token request carries what the file holds then, none what it held before."""
    identities = [KEY.sign({}, {"sub": "worker", "jti": os.urandom(8).hex()}) for _ in range(3)]
    replace(tmp_path, identities[0])
    add(management, service, auth=ClientAssertion({"file": tmp_path / "token"}))
    management.add_session("api", base_url=api.url, client="w")
    with management.make_session("api") as session:
        session.get("orders").raise_for_status()
        for identity in identities[1:]:
            replace(tmp_path, identity)
            session.get("orders").raise_for_status()
            clock.now += service.lifetime + 1
            session.get("orders").raise_for_status()
    assert [request.form["client_assertion"] for request in service.requests] == [[known] for known in identities]
    assert len(api.requests) == 5


@pytest.mark.conformance("C42")
def test_a_spiffe_jwt_svid(management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path) -> None:
    """Sent as it is with the type of its own, and read again for each request."""
    spiffe_id = "spiffe://example.org/worker"
    path = tmp_path / "svid"

    def rotate() -> str:
        svid = KEY.sign({"kid": "s"}, {"sub": spiffe_id, "aud": [service.url], "jti": os.urandom(8).hex()})
        path.write_text(svid)
        return svid

    service.keys[spiffe_id] = KEY.public_jwk
    add(management, service, client_id=spiffe_id, auth=ClientAssertion({"file": path}, type=JWT_SPIFFE))
    sent = []
    for _ in range(2):
        sent.append(rotate())
        management.service.delete_access_token("w")
        fetch(management)
    assert [request.form["client_assertion"][0] for request in service.requests] == sent
    assert service.requests[0].form["client_assertion_type"] == [
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
    ]
    path.write_text("not.yet")
    service.assertions.clear()
    management.service.delete_access_token("w")
    assert fetch(management) == "T41NT-token-3"
    assert service.requests[-1].form["client_assertion"] == [sent[-1]]


@pytest.mark.conformance("C42")
def test_a_spiffe_x509_svid(clock: SkippingClock, tmp_path: Path) -> None:
    """The client id is the SPIFFE id, and the server is verified by the usual roots, not by the bundle of the SVID."""
    spiffe_id = "spiffe://example.org/worker"
    web, workloads = Authority(tmp_path), Authority(tmp_path_of(tmp_path, "workloads"))
    files = workloads.issue("svid")
    context = web.server_context()
    workloads.ca.configure_trust(context)
    with StrictTokenService(tls=context) as service, AccessTokenManagement(clock=clock) as management:
        service.certificates[spiffe_id] = files.thumbprint
        add(management, service, client_id=spiffe_id, auth=TlsClientAuth(files.cert, files.key))
        management.configure_backchannel(verify=workloads.file, max_tries=1)
        with pytest.raises(TokenRequestError, match="the TLS connection failed"):
            fetch(management)
        management.configure_backchannel(verify=web.file)
        assert fetch(management) == "T41NT-token-1"
        assert service.requests[0].form["client_id"] == [spiffe_id]


def tmp_path_of(folder: Path, name: str) -> Path:
    inner = folder / name
    inner.mkdir()
    return inner


@pytest.mark.conformance("C37")
def test_the_same_client_where_the_server_compares(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """What we sign is always for the client id that we send."""
    service.keys["another"] = KEY.public_jwk
    add(management, service, client_id="another", auth=PrivateKeyJwt(KEY, "ES256"))
    fetch(management)
    assert service.assertions[0][1]["sub"] == service.requests[0].form["client_id"][0] == "another"


@pytest.mark.conformance("C38")
def test_a_mac_is_by_the_secret(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """A server with another secret refuses it."""
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(b"another secret, of thirty-two bytes").decode().rstrip("=")}
    service.keys["worker"] = jwk
    add(management, service, auth="client_secret_jwt", client_secret=SECRET)
    with pytest.raises(TokenEndpointError, match="invalid_client"):
        fetch(management)
