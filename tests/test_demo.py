"""The embedded token service and API, asked with plain requests: the judges must be right before they judge."""

from __future__ import annotations

import hashlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from requests_cc_token.clock import Waitable
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GRANT = {"grant_type": "client_credentials"}
SECRET = "a secret of the tests"
AUTH = ("worker", quote_plus(SECRET))


class Time:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1_700_000_000

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        raise AssertionError("nobody waits here")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tokens(time: Time) -> Iterator[TokenService]:
    with TokenService(token_lifetime=300, clock=time) as service:
        service.add_client("worker", SECRET, scopes="api reports")
        yield service


@pytest.fixture
def api(tokens: TokenService) -> Iterator[ProtectedApi]:
    with ProtectedApi(tokens) as api:
        yield api


def ask(tokens: TokenService, auth: tuple[str, str] | None = AUTH, **form: Any) -> requests.Response:
    return requests.post(tokens.token_endpoint, auth=auth, data={**GRANT, **form}, timeout=30)


def bearer(tokens: TokenService, **form: Any) -> dict[str, str]:
    return {"Authorization": "Bearer " + ask(tokens, **form).json()["access_token"]}


def call(api: ProtectedApi, path: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
    method = options.pop("method", "GET")
    return requests.request(method, api.base_url + path, headers=headers, timeout=30, **options)


class TestTokenService:
    def test_a_registered_client_gets_a_bearer_token(self, tokens: TokenService) -> None:
        """The answer to a right token request is that of RFC 6749 section 5.1."""
        response = ask(tokens, scope="api")

        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        answer = response.json()
        assert len(answer.pop("access_token")) > 20
        assert answer == {"token_type": "Bearer", "expires_in": 300, "scope": "api"}

    def test_a_client_that_names_no_scope_gets_all_of_its_scopes(self, tokens: TokenService) -> None:
        """Without a scope parameter the token has every scope of the client, and the answer says so."""
        assert ask(tokens).json()["scope"] == "api reports"

    def test_a_foreign_scope_is_refused(self, tokens: TokenService) -> None:
        """A scope that the client was not given is invalid_scope."""
        response = ask(tokens, scope="api admin")

        assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")

    @pytest.mark.parametrize("auth", [("worker", "wrong"), ("nobody", SECRET), ("worker", "%ff"), None])
    def test_wrong_credentials_are_refused(self, tokens: TokenService, auth: tuple[str, str] | None) -> None:
        """A wrong secret, an unknown client or no credentials are a 401 invalid_client with a challenge."""
        response = ask(tokens, auth)

        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
        assert response.headers["WWW-Authenticate"].startswith("Basic ")

    @pytest.mark.parametrize("header", ["Basic %%%", "Basic /w==", "Basic d29ya2Vy", "Bearer abc"])
    def test_a_malformed_basic_header_is_refused(self, tokens: TokenService, header: str) -> None:
        """What is no Base64, no UTF-8, without a colon or another scheme is a 401, not a crash."""
        response = requests.post(tokens.token_endpoint, headers={"Authorization": header}, data=GRANT, timeout=30)

        assert response.status_code == 401

    @pytest.mark.parametrize("text", [":", "%", "+", "/", "=", "&", " ", "é", "~", "*()", "a:b%20c+d e&f=é"])
    def test_basic_credentials_are_form_encoded(self, tokens: TokenService, text: str) -> None:
        """Any character works in id and secret if both are form-encoded, as RFC 6749 section 2.3.1 asks."""
        tokens.add_client("id " + text, "secret " + text)

        assert ask(tokens, (quote_plus("id " + text), quote_plus("secret " + text))).status_code == 200
        assert tokens.requests[-1].client_id == "id " + text

    def test_a_client_may_be_registered_for_raw_basic(self, tokens: TokenService) -> None:
        """Such a client is understood only in the form that does without encoding."""
        tokens.add_client("raw%20", "a+b%41", basic_encoding="raw")

        assert ask(tokens, ("raw%20", "a+b%41")).status_code == 200
        assert ask(tokens, (quote_plus("raw%20"), quote_plus("a+b%41"))).status_code == 401

    def test_the_secret_may_be_posted(self, tokens: TokenService) -> None:
        """client_secret_post is taken, and recorded without the secret."""
        assert ask(tokens, None, client_id="worker", client_secret=SECRET).status_code == 200
        assert tokens.requests[-1].auth_method == "client_secret_post"
        assert SECRET not in repr(tokens.requests)

    def test_only_the_methods_of_the_client_count(self, tokens: TokenService) -> None:
        """A client that was registered for Basic alone cannot post its secret."""
        tokens.add_client("worker", SECRET, auth_methods=["client_secret_basic"])

        assert ask(tokens, None, client_id="worker", client_secret=SECRET).status_code == 401
        assert ask(tokens).status_code == 200

    def test_two_ways_of_authentication_are_refused(self, tokens: TokenService) -> None:
        """Basic and a posted secret in one request are invalid_request (RFC 6749 section 2.3)."""
        response = ask(tokens, client_secret=SECRET)

        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
        assert tokens.requests[-1].auth_method == "client_secret_basic+client_secret_post"

    def test_an_assertion_beside_basic_is_refused_too(self, tokens: TokenService) -> None:
        """Basic and an assertion in one request are two ways as well."""
        assert ask(tokens, client_assertion="a.b.c").json()["error"] == "invalid_request"

    def test_credentials_in_the_url_are_refused(self, tokens: TokenService) -> None:
        """A secret in the query is invalid_request even where Basic is right, and is not recorded."""
        response = requests.post(
            tokens.token_endpoint, params={"client_secret": SECRET}, auth=AUTH, data=GRANT, timeout=30
        )

        assert response.json()["error"] == "invalid_request"
        assert SECRET not in repr(tokens.requests)

    def test_repeated_parameters_are_refused_but_for_resource(self, tokens: TokenService) -> None:
        """Only resource and audience may occur more than once."""
        assert ask(tokens, scope=["api", "reports"]).json()["error"] == "invalid_request"
        assert ask(tokens, resource=["https://a.test/", "https://b.test/"]).status_code == 200
        assert tokens.requests[-1].form.getlist("resource") == ["https://a.test/", "https://b.test/"]
        assert tokens.tokens[-1].audience == ("https://a.test/", "https://b.test/")

    def test_another_grant_is_refused(self, tokens: TokenService) -> None:
        """There is one grant: client credentials."""
        assert ask(tokens, grant_type="password").json()["error"] == "unsupported_grant_type"

    def test_a_client_and_its_secret_can_be_changed_while_it_runs(self, tokens: TokenService) -> None:
        """A rotated secret, a removed client and another lifetime are in force with the next request."""
        client = tokens.add_client("second", "old")
        client.client_secret = "new"
        assert ask(tokens, ("second", "old")).status_code == 401
        assert ask(tokens, ("second", "new")).json()["expires_in"] == 300
        tokens.token_lifetime = 7
        assert ask(tokens, ("second", "new")).json()["expires_in"] == 7
        client.token_lifetime = 5
        assert ask(tokens, ("second", "new")).json()["expires_in"] == 5
        assert ask(tokens).json()["expires_in"] == 7
        tokens.remove_client("second")
        assert ask(tokens, ("second", "new")).status_code == 401

    def test_a_token_without_a_lifetime_does_not_expire(self, tokens: TokenService, time: Time) -> None:
        """With a lifetime of None the answer has no expires_in, nor the token an end."""
        tokens.token_lifetime = None
        answer = ask(tokens).json()
        time.now += 10**9

        assert "expires_in" not in answer
        assert tokens.find_token(answer["access_token"]) is not None
        assert "exp" not in tokens.tokens[-1].claims()

    def test_a_token_can_be_introspected_until_it_expires(self, tokens: TokenService, time: Time) -> None:
        """Introspection (RFC 7662) gives the claims of a valid token, and of an expired one only that it is not."""
        value = ask(tokens, scope="api", audience="https://api.test/").json()["access_token"]

        def introspect(auth: tuple[str, str] = AUTH) -> Any:
            return requests.post(tokens.introspection_endpoint, auth=auth, data={"token": value}, timeout=30).json()

        answer = introspect()
        assert answer["active"] is True
        assert answer["client_id"] == "worker"
        assert answer["scope"] == "api"
        assert answer["aud"] == ["https://api.test/"]
        assert answer["exp"] == int(time.time()) + 300
        assert introspect(("worker", "wrong"))["error"] == "invalid_client"
        tokens.add_client("other", "secret")
        assert introspect(("other", "secret")) == {"active": False}
        time.now += 299.9
        assert introspect()["active"] is True
        time.now += 0.1
        assert introspect() == {"active": False}

    def test_a_token_can_be_revoked_by_its_client_only(self, tokens: TokenService) -> None:
        """Revocation (RFC 7009) ends a token of the client's own; an unknown one is a 200 as well."""
        value = ask(tokens).json()["access_token"]
        tokens.add_client("other", "secret")

        def revoke(auth: tuple[str, str], token: str) -> int:
            return requests.post(tokens.revocation_endpoint, auth=auth, data={"token": token}, timeout=30).status_code

        assert revoke(("other", "secret"), value) == 400
        assert tokens.find_token(value) is not None
        assert revoke(AUTH, value) == 200
        assert tokens.find_token(value) is None
        assert revoke(AUTH, "unknown") == 200

    def test_the_metadata_document_describes_the_service(self, tokens: TokenService) -> None:
        """The document of RFC 8414 names the issuer, the endpoints and the methods."""
        metadata = requests.get(tokens.issuer + "/.well-known/oauth-authorization-server", timeout=30).json()

        assert metadata["issuer"] == tokens.issuer
        assert metadata["token_endpoint"] == tokens.token_endpoint
        assert metadata["scopes_supported"] == ["api", "reports"]
        assert metadata["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]

    def test_neither_secrets_nor_tokens_are_shown(self, tokens: TokenService) -> None:
        """No repr of the service's records holds a secret or a token."""
        client = tokens.add_client("other", SECRET)
        value = ask(tokens).json()["access_token"]

        shown = repr((tokens.requests, tokens.tokens, client, tokens))
        assert "worker" in shown
        assert SECRET not in shown
        assert value not in shown


class TestSteering:
    def test_failures_are_scripted_in_order(self, tokens: TokenService) -> None:
        """Scripted answers come first and in order, each exactly as dictated; then the service answers itself."""
        tokens.fail_next(503, "down", {"Retry-After": "7"})
        tokens.fail_next(400, {"error": "invalid_client"}, times=2)
        answers = [ask(tokens) for _ in range(4)]

        assert [a.status_code for a in answers] == [503, 400, 400, 200]
        assert answers[0].headers["Retry-After"] == "7"
        assert answers[0].text == "down"
        assert answers[1].headers["Content-Type"] == "application/json"
        assert len(tokens.requests) == 4

    def test_an_outage_lasts_until_recovery(self, tokens: TokenService) -> None:
        """With fail_always every request fails until recover is called."""
        tokens.fail_always(500, b"<html>")
        assert [ask(tokens).status_code for _ in range(3)] == [500] * 3
        tokens.recover()
        assert ask(tokens).status_code == 200

    def test_requests_wait_at_the_gate(self, tokens: TokenService) -> None:
        """Requests that are held have arrived and have no answer; all are answered when the block ends."""
        with ThreadPoolExecutor(3) as pool:
            with tokens.hold():
                answers = [pool.submit(ask, tokens) for _ in range(3)]
                tokens.wait_for_requests(3)
                assert not any(answer.done() for answer in answers)
            assert [answer.result(30).status_code for answer in answers] == [200] * 3

    def test_waiting_for_requests_that_do_not_come_ends(self, tokens: TokenService) -> None:
        """A test that waits for a request in vain fails, and is told how many came."""
        ask(tokens)
        with pytest.raises(AssertionError, match="1 of 2 requests arrived"):
            tokens.wait_for_requests(2, timeout=0.01)

    def test_a_gate_that_is_forgotten_gives_up(self, tokens: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request that nobody lets go gets a 503 in the end, so that no test hangs."""
        monkeypatch.setattr("requests_cc_token.testing.steering.GATE_LIMIT", 0.01)
        with tokens.hold():
            assert ask(tokens).status_code == 503

    def test_a_stopped_service_is_gone_until_it_starts_again(self, tokens: TokenService) -> None:
        """After stop, connections are refused and open ones broken; start serves at the same address."""
        with requests.Session() as session:
            assert session.get(tokens.metadata_url, timeout=30).status_code == 200
            tokens.stop()
            tokens.stop()
            with pytest.raises(requests.ConnectionError):
                session.get(tokens.metadata_url, timeout=30)
            tokens.start()
            tokens.start()
            assert session.get(tokens.metadata_url, timeout=30).json()["token_endpoint"] == tokens.token_endpoint

    def test_connections_are_kept(self, api: ProtectedApi, tokens: TokenService) -> None:
        """Several requests of one session, with and without bodies of either kind, travel on one connection."""
        headers = bearer(tokens)
        with requests.Session() as session:
            for body in (b"abc", iter([b"abc", b"d" * 70_000]), b"", b"x"):
                answer = session.post(api.base_url + "upload", data=body, headers=headers, timeout=30)
                assert answer.status_code == 200
            assert session.head(api.base_url + "test", headers=headers, timeout=30).status_code == 200
        assert api.connections == 1

    def test_a_broken_handshake_and_a_broken_request_do_no_harm(self, tokens: TokenService) -> None:
        """Garbage on one connection leaves the service answering on the others."""
        chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        for garbage in (b"", b"\x16\x03\x01garbage\r\n\r\n", chunked + b"zz", chunked + b"9\r\nabc"):
            with socket.create_connection(("127.0.0.1", tokens.port), 30) as connection:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(30)
                while connection.recv(4096):
                    pass
        assert ask(tokens).status_code == 200


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """A key and a certificate for this machine's loopback address, in one PEM file."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / "certificate.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def test_both_services_speak_tls(self, certificate: Path) -> None:
        """With a server's TLS context the addresses are https, and a client that trusts the certificate is served."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with TokenService(ssl_context=context) as tokens, ProtectedApi(tokens, ssl_context=context) as api:
            tokens.add_client("worker", SECRET, scopes="api")
            assert tokens.token_endpoint.startswith("https://127.0.0.1:")
            answer = requests.post(tokens.token_endpoint, auth=AUTH, data=GRANT, verify=str(certificate), timeout=30)
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert call(api, "test", headers, verify=str(certificate)).status_code == 200

    def test_a_client_that_hangs_in_its_handshake_stops_nobody(self, certificate: Path) -> None:
        """While one connection says nothing and another talks plain http, others are served."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with (
            TokenService(ssl_context=context) as tokens,
            socket.create_connection(("127.0.0.1", tokens.port), 30),
        ):
            with pytest.raises(requests.ConnectionError):
                requests.get(tokens.metadata_url.replace("https", "http"), timeout=30)
            answer = requests.get(tokens.metadata_url, verify=str(certificate), timeout=30)
            assert answer.json()["issuer"] == tokens.issuer


class TestApi:
    def test_without_a_token_there_is_a_bare_challenge(self, api: ProtectedApi) -> None:
        """No token, or another scheme: 401 with a Bearer challenge that names no error (RFC 6750 section 3.1)."""
        for headers in ({}, {"Authorization": "Basic YTpi"}):
            response = call(api, "test", headers)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="demo"'
        assert [r.scheme for r in api.requests] == [None, "Basic"]

    def test_unknown_revoked_and_expired_tokens_are_invalid(
        self, api: ProtectedApi, tokens: TokenService, time: Time
    ) -> None:
        """All three get a 401 with error="invalid_token"."""
        revoked = bearer(tokens)
        tokens.revoke_all()
        expired = bearer(tokens)
        assert call(api, "test", expired).status_code == 200
        time.now += 300
        for headers in ({"Authorization": "Bearer unknown"}, revoked, expired):
            response = call(api, "test", headers)
            assert response.status_code == 401
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]

    def test_a_token_of_too_little_scope_is_refused(self, api: ProtectedApi, tokens: TokenService) -> None:
        """A token without the scope gets a 403 insufficient_scope that names the scope."""
        headers = bearer(tokens, scope="api")

        assert call(api, "scope/api", headers).status_code == 200
        response = call(api, "scope/reports", headers)
        assert response.status_code == 403
        assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
        assert 'scope="reports"' in response.headers["WWW-Authenticate"]
        api.scope = "reports"
        assert call(api, "test", headers).status_code == 403
        assert call(api, "scope/api", bearer(tokens, scope="reports")).status_code == 403
        assert call(api, "scope/api", bearer(tokens)).status_code == 200

    def test_the_test_endpoint_answers_with_the_claims(self, api: ProtectedApi, tokens: TokenService) -> None:
        """/api/test gives type and value of each of the caller's claims."""
        claims = call(api, "test", bearer(tokens, audience="https://api.test/")).json()

        for claim in (("client_id", "worker"), ("scope", "api"), ("scope", "reports"), ("aud", "https://api.test/")):
            assert {"type": claim[0], "value": claim[1]} in claims

    def test_requests_are_recorded_without_their_tokens(self, api: ProtectedApi, tokens: TokenService) -> None:
        """A record tells whether it carried a given token, and tells tokens apart, but does not show them."""
        first, second = bearer(tokens), bearer(tokens)
        call(api, "echo", first, method="POST", params={"a": "1"}, data="héé".encode())
        call(api, "echo", second)
        value = first["Authorization"].partition(" ")[2]

        one, two = api.requests
        assert (one.method, one.path, one.query["a"], one.scheme) == ("POST", "/api/echo", "1", "Bearer")
        assert one.body == "héé".encode()
        assert one.carried(value)
        assert not two.carried(value)
        assert one.fingerprint != two.fingerprint
        assert value not in repr(api.requests)

    def test_echo_says_what_came_but_not_the_token(self, api: ProtectedApi, tokens: TokenService) -> None:
        """The answer holds method, query, headers and body, without Authorization."""
        headers = bearer(tokens)
        answer = call(api, "echo", {**headers, "X-Mine": "1"}, method="PUT", params={"a": ["1", "2"]}, data="body")

        echoed = answer.json()
        assert (echoed["method"], echoed["query"], echoed["body"]) == ("PUT", {"a": ["1", "2"]}, "body")
        assert echoed["headers"]["X-Mine"] == "1"
        assert "Authorization" not in echoed["headers"]

    def test_upload_returns_length_and_hash(self, api: ProtectedApi, tokens: TokenService) -> None:
        """Bytes and chunked bodies arrive complete."""
        content = b"0123456789" * 100_000
        for body in (content, iter([content[:7], content[7:]])):
            answer = call(api, "upload", bearer(tokens), method="POST", data=body).json()
            assert answer == {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def test_redirects_go_where_they_are_told(self, api: ProtectedApi, tokens: TokenService) -> None:
        """/api/redirect leads to any URL with any redirect status; /open takes everybody."""
        answer = call(api, "redirect", bearer(tokens), params={"to": api.origin + "/open", "status": "307"})

        assert answer.history[0].status_code == 307
        assert answer.json()["path"] == "/open"

    def test_the_api_can_be_steered_too(self, api: ProtectedApi, tokens: TokenService) -> None:
        """A scripted 401 comes even for a good token."""
        headers = bearer(tokens)
        api.fail_next(401, b"", {"WWW-Authenticate": 'Bearer error="invalid_token"'})

        assert [call(api, "test", headers).status_code for _ in range(2)] == [401, 200]
