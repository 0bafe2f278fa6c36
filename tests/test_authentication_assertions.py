"""client_secret_jwt, private_key_jwt, and assertions that somebody else makes."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey

from requests_cc_token import (
    AccessTokenManagement,
    ClientAssertion,
    ClientSecretJwt,
    ConfigurationError,
    DPoPKey,
    JwtBearerGrant,
    PrivateKeyJwt,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.authentication.signing_key import SIGNING_ALGORITHMS, generated, signed, thumbprint_of_pem
from requests_cc_token.cli.keys import _self_signed
from requests_cc_token.tracebacks import sealed

from .scripted_server import error_answer
from .skipping_clock import SkippingClock
from .strict_fixtures import empty_management  # noqa: F401 - fixtures
from .strict_service import Authority, StrictTokenService, unverified

SECRET = "T41NT-" + "s3cret-of-more-than-sixty-four-octets-for-the-longest-hash-of-all-of-them"
RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")


@pytest.fixture
def service() -> Iterator[StrictTokenService]:
    with StrictTokenService() as service:
        service.keys["worker"] = RSA.as_dict(private=False)
        yield service


def add(management: AccessTokenManagement, service: StrictTokenService, **options: Any) -> None:
    management.add_client("w", token_endpoint=service.token_endpoint, client_id="worker", **options)


def fetch(management: AccessTokenManagement) -> str:
    return management.service.get_access_token("w").value


def written(path: Path, content: str | bytes) -> Path:
    """The file, replaced as a whole, as Kubernetes and careful people do it."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
    fresh.replace(path)
    return path


def pem(key: Any, password: str | None = None) -> bytes:
    encryption: Any = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return bytes(
        key.private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


# Signed by the client


@pytest.mark.parametrize("algorithm", SIGNING_ALGORITHMS)
def test_every_algorithm(management: AccessTokenManagement, service: StrictTokenService, algorithm: str) -> None:
    """An assertion by each algorithm is verified by a library that is told the public key only."""
    key = generated(algorithm, "a test")
    service.keys["worker"] = key.public_jwk
    add(management, service, auth=PrivateKeyJwt(key, algorithm))
    assert fetch(management) == "T41NT-token-1"
    assert service.assertions[0][0]["alg"] == algorithm


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_every_mac(management: AccessTokenManagement, service: StrictTokenService, algorithm: str) -> None:
    """An assertion MACed with the secret, which itself is not sent."""
    service.keys["worker"] = {"kty": "oct", "k": _base64(SECRET)}
    add(management, service, client_secret=SECRET, auth=ClientSecretJwt(algorithm))
    assert fetch(management) == "T41NT-token-1"
    assert service.assertions[0][0]["alg"] == algorithm
    assert SECRET.encode() not in service.requests[0].body


def _base64(text: str) -> str:
    import base64

    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_the_name_is_enough_for_a_secret(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """``auth="client_secret_jwt"`` is HS256."""
    service.keys["worker"] = {"kty": "oct", "k": _base64(SECRET)}
    add(management, service, client_secret=SECRET, auth="client_secret_jwt")
    assert fetch(management) == "T41NT-token-1"
    assert service.assertions[0][0]["alg"] == "HS256"


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (pem(RSA), {}),
        (pem(RSA).decode(), {}),
        (RSA.as_dict(private=True), {}),
        (json.dumps({**RSA.as_dict(private=True), "use": "sig", "alg": "PS256"}), {}),
        (pem(RSA, "T41NT-passphrase"), {"password": "T41NT-passphrase"}),
        (pem(RSA), {"password": "not needed"}),
    ],
    ids=["PEM bytes", "PEM text", "JWK", "JSON", "encrypted PEM", "PEM that is not encrypted after all"],
)
def test_every_form_of_a_key(
    management: AccessTokenManagement, service: StrictTokenService, key: Any, options: dict[str, Any]
) -> None:
    """A key may be given in each form that keys are kept in."""
    add(management, service, auth=PrivateKeyJwt(key, **options))
    assert fetch(management) == "T41NT-token-1"


def test_a_key_in_the_environment(
    management: AccessTokenManagement, service: StrictTokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``{"env": name}`` is read at the next fetch, too."""
    monkeypatch.setenv("WORKER_KEY", pem(EC).decode())
    add(management, service, auth=PrivateKeyJwt({"env": "WORKER_KEY"}, "ES256"))
    service.keys["worker"] = EC.as_dict(private=False)
    assert fetch(management) == "T41NT-token-1"
    management.service.delete_access_token("w")
    assert fetch(management) == "T41NT-token-2"
    monkeypatch.setenv("WORKER_KEY", "nonsense")
    management.service.delete_access_token("w")
    with pytest.raises(TokenRequestError, match="environment variable WORKER_KEY: it is no PEM"):
        fetch(management)


@pytest.mark.parametrize(
    ("key", "options", "reason"),
    [
        ("T41NT nonsense", {}, 'it is no PEM, which begins with "-----BEGIN"; that of a file is given as {"file": '),
        (b"\x30\x82\x0aT41NT", {}, "it is PKCS #12 or DER, and no PEM; of a .pfx file openssl pkcs12 -nodes"),
        ("-----BEGIN PRIVATE KEY-----\nT41NT\n-----END PRIVATE KEY-----\n", {}, "no private key that can be read"),
        ({"kty": "EC", "crv": "P-256", "d": "T41NT"}, {"algorithm": "ES256"}, "it is no private key that can be read"),
        (b"", {}, "it is no PEM"),
        ("{", {}, "it is no private key that can be read"),
        (RSA.as_dict(private=False), {}, "it is a public key"),
        ({"kty": "oct", "k": "AAAA"}, {}, "it is no asymmetric key"),
        ({"kty": "EC", "crv": "secp256k1", "d": "AA"}, {}, "of kind 'EC secp256k1'"),
        (EC.as_pem(private=False), {}, "it is a public key or certificate; the private key has to be in it"),
        (pem(EC), {"algorithm": "RS256"}, "algorithm='RS256' does not fit it, but ES256 does"),
        (pem(RSA, "T41NT-passphrase"), {}, "it is encrypted, so give its password="),
        (pem(RSA, "T41NT-passphrase"), {"password": "wrong"}, "it is encrypted, and the password does not fit"),
        (pem(RSA, "T41NT-passphrase"), {"password": {"env": "NOBODY_SET_IT"}}, "NOBODY_SET_IT is not set"),
        (7, {}, "it must be PEM, a JWK, or"),
        ({"file": 7}, {}, "needs a path"),
        ({1: {2}}, {}, "it is no JWK"),
        (pem(RSA), {"algorithm": "none"}, "must be one of RS256"),
        (pem(RSA), {"algorithm": "HS256"}, "must be one of RS256"),
        (pem(RSA), {"lifetime": 0}, "lifetime must be"),
        (pem(RSA), {"audience": ""}, "PrivateKeyJwt: audience must be printable text"),
        (pem(RSA), {"audience": 7}, "PrivateKeyJwt: audience must be printable text"),
        (pem(RSA), {"header_type": "J\0"}, "PrivateKeyJwt: header_type must be printable text"),
        (pem(RSA), {"key_id": ""}, "PrivateKeyJwt: key_id must be printable text"),
    ],
)
def test_keys_that_cannot_work(key: Any, options: dict[str, Any], reason: str) -> None:
    """They are refused when they are given, by what is wrong and without showing them."""
    with pytest.raises(ConfigurationError) as refused:
        PrivateKeyJwt(key, **options)
    assert reason in str(refused.value)
    assert "PrivateKeyJwt" in str(refused.value)
    assert "T41NT" not in str(refused.value)
    assert str(RSA.as_dict(private=True)["d"]) not in str(refused.value)


def test_a_key_that_is_nested_without_end() -> None:
    """A mapping that no JSON can carry is refused as what is no JWK is."""
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"kty": nested}
    with pytest.raises(ConfigurationError, match="PrivateKeyJwt: the key cannot be used: it is no JWK"):
        PrivateKeyJwt(nested)


def test_a_key_that_is_ready_may_have_another_name_or_algorithm() -> None:
    """Of those that fit it; what is not said stays, and a key that stays as it is is the same object."""
    key = generated("RS256", "a test")
    assert key.used_for(None, None, "x") is key.used_for("RS256", None, "x") is key
    named = key.used_for(None, "a name", "x")
    assert (named.algorithm, named.key_id, named.thumbprint) == ("RS256", "a name", key.thumbprint)
    assert named.used_for(None, "a name", "x") is named
    other = named.used_for("PS512", None, "x")
    assert (other.algorithm, other.key_id, other.public_jwk) == ("PS512", "a name", key.public_jwk)
    assert len({each.fingerprint for each in (key, named, other)}) == 3
    with pytest.raises(ConfigurationError, match="x: it is of kind RSA, so algorithm='ES256' does not fit it"):
        key.used_for("ES256", None, "x")


def test_a_key_that_is_ready_has_no_password() -> None:
    """A password that would never be asked for is refused, and not shown."""
    with pytest.raises(ConfigurationError, match="DPoPKey: password is for encrypted PEM, and this key is read"):
        DPoPKey(generated("ES256", "a test"), password="T41NT-passphrase")


def test_a_key_of_no_known_kind() -> None:
    """A curve that no algorithm is for is refused by name of those that are."""
    odd = ec.generate_private_key(ec.BrainpoolP256R1())
    content = odd.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ConfigurationError, match="it is of no known kind; known are RSA, EC P-256"):
        PrivateKeyJwt(content)


def test_the_name_alone_says_what_is_missing(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """``auth="private_key_jwt"`` cannot work without a key, and says so."""
    with pytest.raises(ConfigurationError, match=r"token client 'w': private_key_jwt needs a key: auth=PrivateKeyJwt"):
        add(management, service, auth="private_key_jwt")


def test_nothing_is_shown_or_pickled() -> None:
    """Neither the method nor its key says more than algorithm and thumbprint, and neither is pickled."""
    import pickle

    key = generated("ES256", "a test")
    assert repr(PrivateKeyJwt(key, "ES256")) == "PrivateKeyJwt(algorithm='ES256')"
    assert repr(key) == f"<ES256 key {key.thumbprint}>"
    with pytest.raises(TypeError, match="a private key is not pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize(
    ("options", "audience"),
    [
        ({}, "{endpoint}"),
        ({"audience": "token_endpoint"}, "{endpoint}"),
        ({"audience": "https://login.example/realm"}, "https://login.example/realm"),
        ({"issuer": "https://login.example"}, "https://login.example"),
        ({"issuer": "https://login.example", "audience": "token_endpoint"}, "{endpoint}"),
    ],
)
def test_whom_an_assertion_is_for(
    management: AccessTokenManagement, service: StrictTokenService, options: dict[str, Any], audience: str
) -> None:
    """The issuer where it is known, else the token endpoint, unless the option says otherwise."""
    issuer = options.pop("issuer", None)
    add(management, service, issuer=issuer, auth=PrivateKeyJwt(pem(RSA), **options))
    fetch(management)
    assert service.assertions[0][1]["aud"] == audience.format(endpoint=service.token_endpoint)


def test_the_older_header_type(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """For a server that trips over the new one."""
    add(management, service, auth=PrivateKeyJwt(pem(RSA), header_type="JWT"))
    fetch(management)
    assert service.assertions[0][0]["typ"] == "JWT"


def test_a_wrong_clock_is_set_by_the_answer(
    management: AccessTokenManagement,
    service: StrictTokenService,
    clock: SkippingClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refused assertion is made again once by the time of the server, and further ones too; that is logged."""
    service.script.append(error_answer(401, "invalid_client", [("Date", "Tue, 14 Nov 2023 22:30:40 GMT")]))
    add(management, service, auth=PrivateKeyJwt(pem(RSA)))
    wrong = clock.time()
    with caplog.at_level(logging.WARNING):
        assert fetch(management) == "T41NT-token-1"
    assert "set it (NTP)" in caplog.text
    assert service.assertions[0][1]["iat"] == 1_700_001_040 != wrong
    assert len(service.requests) == 2
    management.service.delete_access_token("w")
    fetch(management)
    assert service.assertions[1][1]["iat"] == 1_700_001_040
    assert len(service.requests) == 3


@pytest.mark.parametrize("date", ["Tue, 14 Nov 2023 22:30:05 GMT", "yesterday", "Tue, 99 Nov 2023 22:30:05 GMT"])
def test_no_second_try_without_news_about_the_time(
    management: AccessTokenManagement, service: StrictTokenService, date: str
) -> None:
    """A date near ours, or none that can be read, is no reason to ask again."""
    service.script.append(error_answer(401, "invalid_client", [("Date", date)]))
    add(management, service, auth=PrivateKeyJwt(pem(RSA)))
    with pytest.raises(TokenEndpointError):
        fetch(management)
    assert len(service.requests) == 1


# Rotation: guarantee T13


def test_a_replaced_key_is_used_at_the_next_fetch(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """A key file is read again once it has changed; half of one is not used."""
    path = written(tmp_path / "key.pem", pem(RSA))
    add(management, service, auth=PrivateKeyJwt({"file": path}))
    assert fetch(management) == "T41NT-token-1"

    management.service.delete_access_token("w")
    fresh = RSAKey.generate_key(2048)
    written(path, pem(fresh)[:700])
    assert fetch(management) == "T41NT-token-2"
    written(path, b"")
    management.service.delete_access_token("w")
    assert fetch(management) == "T41NT-token-3"

    service.keys["worker"] = fresh.as_dict(private=False)
    written(path, pem(fresh))
    management.service.delete_access_token("w")
    assert fetch(management) == "T41NT-token-4"
    assert len(service.requests) == 4


def test_a_key_replaced_at_that_moment(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """A refused assertion is made again once if the key file has changed meanwhile."""
    fresh = RSAKey.generate_key(2048)
    path = written(tmp_path / "key.pem", pem(RSA))
    service.keys["worker"] = fresh.as_dict(private=False)
    refuse = error_answer(401, "invalid_client")

    def replace_and_refuse(connection: Any) -> bool:
        written(path, pem(fresh))
        return refuse(connection)

    service.script.append(replace_and_refuse)
    add(management, service, auth=PrivateKeyJwt({"file": path}))
    assert fetch(management) == "T41NT-token-1"
    assert len(service.requests) == 2


def test_a_replaced_key_ends_the_hold_off(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """A key that the server refuses costs one request until it is replaced; then the next call asks at once."""
    path = written(tmp_path / "key.pem", pem(RSAKey.generate_key(2048)))
    add(management, service, auth=PrivateKeyJwt({"file": path}))
    for _ in range(3):
        with pytest.raises(TokenEndpointError, match="invalid_client"):
            fetch(management)
    assert len(service.requests) == 1
    written(path, pem(RSA))
    assert fetch(management) == "T41NT-token-1"


def test_a_key_file_that_never_was_any_good(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """The error says which file and why; nothing is sent, and the file may come later."""
    path = tmp_path / "key.pem"
    add(management, service, auth=PrivateKeyJwt({"file": path}))
    with pytest.raises(TokenRequestError, match=r"token client 'w': the key file, '.*key.pem': No such file"):
        fetch(management)
    assert not service.requests
    written(path, pem(RSA))
    assert fetch(management) == "T41NT-token-1"


# Made by somebody else


def assertion(subject: str = "worker", **claims: Any) -> str:
    return generated_by(RSA, {"sub": subject, "jti": os.urandom(8).hex(), **claims})


def generated_by(key: Any, claims: dict[str, Any]) -> str:
    return signed(key, {"alg": "RS256"}, claims)


def test_an_assertion_of_a_callable(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """The callable is asked for each token request."""
    add(management, service, auth=ClientAssertion(assertion))
    assert fetch(management) == "T41NT-token-1"
    management.service.delete_access_token("w")
    assert fetch(management) == "T41NT-token-2"
    assert len({claims["jti"] for _, claims in service.assertions}) == 2


def test_an_assertion_in_a_file(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path, clock: SkippingClock
) -> None:
    """The file is read again once it has changed; the old assertion is used until it expires and no longer."""
    first, second = assertion(exp=clock.time() + 60), assertion()
    path = written(tmp_path / "token", first + "\n")
    add(management, service, auth=ClientAssertion({"file": path}))
    assert fetch(management) == "T41NT-token-1"
    written(path, "")
    service.assertions.clear()
    management.service.delete_access_token("w")
    assert fetch(management) == "T41NT-token-2"

    clock.now += 61
    management.service.delete_access_token("w")
    with pytest.raises(TokenRequestError, match="has expired and nobody renewed it") as refused:
        fetch(management)
    assert first not in str(refused.value)
    written(path, second)
    clock.now += 61
    assert fetch(management) == "T41NT-token-3"
    assert [request.form["client_assertion"][0] for request in service.requests] == [first, first, second]


def test_an_assertion_that_expires_at_no_moment_of_a_calendar(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """A number too large for a float has not been reached yet: the assertion goes to the server, which judges it."""
    given = assertion(exp=10**400)
    add(management, service, auth=ClientAssertion({"file": written(tmp_path / "token", given)}))
    fetch(management)
    assert service.requests[-1].form["client_assertion"] == [given]


@pytest.mark.parametrize(
    "given",
    ["", " \n", "one.two", "one.two.three", "a.b.c.d", "a.é.c", "a.e30****.c", "a.e30.\0", "é.e30.c", "a.e30.", ".e.c"],
)
def test_what_is_no_jwt_is_not_sent(
    management: AccessTokenManagement, service: StrictTokenService, given: str, tmp_path: Path
) -> None:
    """Neither from a callable nor from a file."""
    add(management, service, auth=ClientAssertion(lambda: given))
    with pytest.raises(TokenRequestError, match=r"from a callable is (no signed JWT|empty)|no text"):
        fetch(management)
    path = written(tmp_path / "token", given)
    management.add_client(
        "f", token_endpoint=service.token_endpoint, client_id="worker", auth=ClientAssertion({"file": path})
    )
    with pytest.raises(TokenRequestError, match=r"the assertion file, .*: (it is no signed JWT|empty)"):
        management.service.get_access_token("f")
    assert not service.requests


def test_an_assertion_of_another_type_is_taken_as_it_is(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """SAML for example: what it must look like is between others."""
    from .scripted_server import token_answer

    kind = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    service.script.append(token_answer("t"))
    add(management, service, auth=ClientAssertion(lambda: "PHNhbWw+", type=kind))
    assert fetch(management) == "t"
    assert service.requests[0].form["client_assertion"] == ["PHNhbWw+"]
    assert service.requests[0].form["client_assertion_type"] == [kind]


def test_a_file_that_is_no_text_is_not_sent(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """Whatever its type; the last one that was text is used meanwhile."""
    from .scripted_server import token_answer

    kind = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    path = tmp_path / "saml"
    path.write_bytes(b"PHNhb\xff")
    service.script.extend([token_answer("t"), token_answer("t")])
    management.configure_backchannel(wait=())
    add(management, service, auth=ClientAssertion({"file": path}, type=kind))
    with pytest.raises(TokenRequestError, match="it is not UTF-8 text"):
        fetch(management)
    assert not service.requests
    path.write_bytes(b"PHNhbWw+")
    management.service.retry_at_once()
    fetch(management)
    path.write_bytes(b"\xff")
    management.service.delete_access_token("w")
    fetch(management)
    assert [request.form["client_assertion"] for request in service.requests] == [["PHNhbWw+"]] * 2


@pytest.mark.parametrize("source", ["a.b.c", {"env": "X"}, {"file": 7}, None, {}])
def test_sources_that_are_none(source: Any) -> None:
    """A fixed text is one: an assertion expires."""
    with pytest.raises(ConfigurationError, match="must be a callable or"):
        ClientAssertion(source)


def test_a_type_that_is_none() -> None:
    """The type is a URI."""
    with pytest.raises(ConfigurationError, match="type must be a URI"):
        ClientAssertion(assertion, type="jwt-bearer")


def test_a_client_with_an_assertion_has_no_secret(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """One method per request (RFC 6749 section 2.3)."""
    for auth in (ClientAssertion(assertion), PrivateKeyJwt(pem(RSA))):
        with pytest.raises(ConfigurationError, match="uses no client_secret; leave it out"):
            add(management, service, client_secret=SECRET, auth=auth)
    with pytest.raises(ConfigurationError, match="client_secret_jwt needs a client_secret"):
        add(management, service, auth=ClientSecretJwt())


def test_no_error_repeats_the_assertion(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """A server that echoes the assertion does not bring it into our messages."""
    given = assertion()
    from .scripted_server import answer

    service.script.append(answer(400, {"error": "invalid_request", "error_description": f"what is {given}?"}))
    add(management, service, auth=ClientAssertion(lambda: given))
    with pytest.raises(TokenEndpointError) as refused:
        fetch(management)
    assert refused.value.error_description == "what is ***?"
    assert given not in repr(refused.value) + str(refused.value)


def test_no_error_repeats_the_secret_that_made_the_assertion(
    management: AccessTokenManagement, service: StrictTokenService
) -> None:
    """It is not sent, but the server knows it, too."""
    from .scripted_server import answer

    service.script.append(answer(400, {"error": "invalid_request", "error_description": f"not of {SECRET}"}))
    add(management, service, client_secret=SECRET, auth=ClientSecretJwt())
    with pytest.raises(TokenEndpointError) as refused:
        fetch(management)
    assert refused.value.error_description == "not of ***"


@pytest.mark.parametrize(("lifetime", "seconds"), [(0.5, 1), (1, 1), (1.9, 1), (2, 2), (300, 300)])
def test_an_assertion_is_valid_for_whole_seconds(
    management: AccessTokenManagement, service: StrictTokenService, lifetime: float, seconds: int
) -> None:
    """And for one at least."""
    add(management, service, auth=PrivateKeyJwt(pem(RSA), lifetime=lifetime))
    fetch(management)
    [(_, claims)] = service.assertions
    assert claims["exp"] - claims["iat"] == seconds
    assert claims["nbf"] == claims["iat"]


def test_reprs() -> None:
    """They tell the kind and nothing that is secret."""
    assert repr(ClientAssertion(lambda: "T41NT")) == (
        "ClientAssertion(type='urn:ietf:params:oauth:client-assertion-type:jwt-bearer')"
    )
    assert repr(ClientSecretJwt("HS512")) == "ClientSecretJwt(algorithm='HS512')"


def test_an_rsa_key_of_the_native_kind_is_no_key() -> None:
    """Objects of another library are not guessed at."""
    native: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ConfigurationError, match="it must be PEM, a JWK"):
        PrivateKeyJwt(native)


def test_a_key_id(management: AccessTokenManagement, service: StrictTokenService) -> None:
    """The ``kid`` is the one given, else that of the JWK, else there is none."""
    jwk = {**RSA.as_dict(private=True), "kid": "of-the-jwk"}
    for name, auth, expected in (
        ("a", PrivateKeyJwt(pem(RSA), key_id="given"), "given"),
        ("b", PrivateKeyJwt(jwk), "of-the-jwk"),
        ("c", PrivateKeyJwt(jwk, key_id="given"), "given"),
        ("d", PrivateKeyJwt(pem(RSA)), None),
    ):
        management.add_client(name, token_endpoint=service.token_endpoint + f"?{name}", client_id="worker", auth=auth)
        management.service.get_access_token(name)
        assert service.assertions[-1][0].get("kid") == expected
    header, _ = unverified(service.requests[-1].form["client_assertion"][0])
    assert "jwk" not in header


@pytest.mark.parametrize("key_id", ["", 5, True, b"k", "\ud800"])
@pytest.mark.parametrize("kind", [PrivateKeyJwt, JwtBearerGrant])
def test_what_is_no_key_id_is_refused(kind: Any, key_id: Any) -> None:
    """It is not left out in silence, nor signed as something else than text."""
    with pytest.raises(ConfigurationError, match=f"{kind.__name__}: key_id must be printable text"):
        kind(pem(RSA), key_id=key_id)


def test_a_certificate_beside_the_key(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """Its thumbprint is in the header, and that of the next one after a rotation."""
    authority, thumbprints = Authority(tmp_path), []
    path = tmp_path / "both.pem"
    add(management, service, auth=PrivateKeyJwt({"file": path}, "ES256"))
    for _ in range(2):
        files = authority.issue("worker")
        thumbprints.append(files.thumbprint)
        key = ECKey.import_key(files.key_pem)
        service.keys["worker"] = key.as_dict(private=False)
        path.write_bytes(files.key_pem + files.cert_pem)
        management.service.delete_access_token("w")
        fetch(management)
    assert [header["x5t#S256"] for header, _ in service.assertions] == thumbprints


def test_the_certificate_of_the_key_is_found_among_others(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """Those of authorities may stand before it and behind it."""
    authority = Authority(tmp_path)
    files, root = authority.issue("worker"), authority.ca.cert_pem.bytes()
    service.keys["worker"] = ECKey.import_key(files.key_pem).as_dict(private=False)
    add(management, service, auth=PrivateKeyJwt(root + files.cert_pem + files.key_pem + root))
    fetch(management)
    assert service.assertions[0][0]["x5t#S256"] == files.thumbprint


def _cut(pem: bytes) -> bytes:
    return pem[: pem.rindex(b"-----END")]


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda other: other, "the certificate in it is that of another key; put the one of this key beside it"),
        (_cut, "the certificate in it is cut off"),
        (lambda _other: b"-----BEGIN CERTIFICATE-----\nVDQx\n-----END CERTIFICATE-----\n", "in it cannot be read"),
    ],
    ids=["of another key", "cut off", "nonsense"],
)
def test_a_certificate_that_is_not_the_keys(tmp_path: Path, certificate: Any, reason: str) -> None:
    """A header that names it would lead the server to another key; the message says what is wrong with the file."""
    authority = Authority(tmp_path)
    key, other = authority.issue("worker").key_pem, authority.issue("other").cert_pem
    with pytest.raises(ConfigurationError) as refused:
        PrivateKeyJwt(key + certificate(other))
    assert reason in str(refused.value)
    assert "T41NT" not in str(refused.value)


def test_a_certificate_that_is_not_the_keys_yet(
    management: AccessTokenManagement,
    service: StrictTokenService,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a new key is there beside the old certificate, the last good pair is used, and a warning says so."""
    authority = Authority(tmp_path)
    old, new = authority.issue("worker"), authority.issue("worker")
    service.keys["worker"] = ECKey.import_key(old.key_pem).as_dict(private=False)
    path = written(tmp_path / "both.pem", old.key_pem + old.cert_pem)
    add(management, service, auth=PrivateKeyJwt({"file": path}, "ES256"))
    fetch(management)
    written(path, new.key_pem + old.cert_pem)
    management.service.delete_access_token("w")
    fetch(management)
    assert [header["x5t#S256"] for header, _ in service.assertions] == [old.thumbprint] * 2
    assert "is that of another key; put the one of this key beside it; going on with the last good one" in caplog.text


def test_a_certificate_replaced_at_that_moment(
    management: AccessTokenManagement, service: StrictTokenService, tmp_path: Path
) -> None:
    """A certificate that is renewed for the same key counts as another proof: a refused assertion is made again."""
    jwk = ECKey.import_key(pem(EC))
    service.keys["worker"] = jwk.as_dict(private=False)
    certificates = [_self_signed(pem(EC), "worker", days) for days in (1, 2)]
    path = written(tmp_path / "both.pem", pem(EC) + certificates[0])
    refuse = error_answer(401, "invalid_client")

    def replace_and_refuse(connection: Any) -> bool:
        written(path, pem(EC) + certificates[1])
        return refuse(connection)

    service.script.append(replace_and_refuse)
    add(management, service, auth=PrivateKeyJwt({"file": path}))
    assert fetch(management) == "T41NT-token-1"
    assert service.assertions[-1][0]["x5t#S256"] == thumbprint_of_pem(certificates[1])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            (
                "; a server that finds keys by a name or certificate wants key_id=..., or the certificate in the key's "
                'PEM; a server that knows older assertions only may want header_type="JWT" or audience="token_endpoint"'
                " of the signing method (in a file assertion_audience)"
            ),
        ),
        (
            {"key_id": "k", "audience": "token_endpoint"},
            '(auth=...); a server that knows older assertions only may want header_type="JWT"',
        ),
        ({"key_id": "k", "audience": "token_endpoint", "header_type": "JWT"}, "and the method (auth=...)"),
    ],
)
def test_what_an_error_advises_is_not_what_is_so_already(
    management: AccessTokenManagement, service: StrictTokenService, options: dict[str, Any], expected: str
) -> None:
    """After ``invalid_client`` only those options are named that would change the assertion."""
    service.script.append(error_answer(401, "invalid_client"))
    add(management, service, auth=PrivateKeyJwt(pem(RSA), **options))
    with pytest.raises(TokenEndpointError) as refused:
        fetch(management)
    assert str(refused.value).endswith(expected)


def test_a_key_object_fits_or_not() -> None:
    """A key that was loaded before is held to the algorithm too."""
    key = generated("RS256", "a test")
    assert PrivateKeyJwt(key, "PS512")._key.get().algorithm == "PS512"
    with pytest.raises(ConfigurationError, match="algorithm='ES256' does not fit it, but RS256"):
        PrivateKeyJwt(key, "ES256")


def test_keys_of_ed25519() -> None:
    """OKP keys are read as JWKs and as PEM."""
    key = OKPKey.generate_key("Ed25519")
    for given in (key.as_dict(private=True), key.as_pem(private=True)):
        assert PrivateKeyJwt(given, "EdDSA")._key.get().thumbprint == key.thumbprint()


@pytest.mark.parametrize(
    "use",
    [lambda: PrivateKeyJwt(pem(RSA)), ClientSecretJwt, DPoPKey.generate, lambda: DPoPKey(pem(RSA))],
    ids=["PrivateKeyJwt", "ClientSecretJwt", "DPoPKey.generate", "DPoPKey"],
)
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, use: Any) -> None:
    """The names are there without joserfc; using them says what to install."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    monkeypatch.setitem(sys.modules, "joserfc.jws", None)
    with pytest.raises(ConfigurationError, match=r"needs joserfc: pip install requests_cc_token\[jose\]"):
        use()


def test_what_cannot_be_signed() -> None:
    """A key that fails at the moment of signing is a named error whose frames do not show it."""
    with pytest.raises(TokenRequestError, match=r"a JWT could not be signed by RS256 \(\w+\)") as failed:
        sealed(signed)(EC, {"alg": "RS256"}, {"sub": "worker"})
    assert failed.value.transient is False
    errors = [failed.value, failed.value.__context__]
    frames = [frame for error in errors if error is not None for frame, _ in traceback.walk_tb(error.__traceback__)]
    inner = [frame for frame in frames if frame.f_code.co_filename != __file__]
    assert "signed" in {frame.f_code.co_name for frame in inner}
    assert not any("key" in frame.f_locals for frame in inner)
