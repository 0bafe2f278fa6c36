"""Client certificates: as client authentication, as what tokens are bound to, and their rotation."""

from __future__ import annotations

import http.client
import logging
import os
import pickle
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import RSAKey
from requests.adapters import HTTPAdapter

from requests_cc_token import (
    AccessTokenManagement,
    ConfigurationError,
    DPoPKey,
    PrivateKeyJwt,
    TlsClientAuth,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.authentication.certificate import (
    SPARE_CONTEXTS,
    CertificateConnections,
    ClientCertificate,
    client_certificate,
)
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.endpoint.failures import Limits, explained
from requests_cc_token.watched_files import file_stamp, read_regular

from .scripted_server import PATIENCE, ScriptedServer, answer, error_answer
from .skipping_clock import SkippingClock
from .strict_fixtures import KEY, authority_of_the_module, files_of_the_worker, service_on_tls  # noqa: F401 - fixtures
from .strict_service import Authority, ClientFiles, StrictApi, StrictTokenService


@pytest.fixture
def api(authority: Authority, service: StrictTokenService) -> Iterator[StrictApi]:
    with StrictApi(service, tls=authority.server_context()) as api:
        yield api


@pytest.fixture
def management(
    clock: SkippingClock, authority: Authority, api: StrictApi
) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        management.configure_backchannel(verify=authority.file)
        management.add_session("api", base_url=api.url, client="w")
        yield management


def add(management: AccessTokenManagement, service: StrictTokenService, **options: Any) -> None:
    management.add_client("w", token_endpoint=service.token_endpoint, client_id="worker", **options)


@dataclass
class World:
    """A client, registered by ``add``, and the two servers that take its certificate."""

    management: AccessTokenManagement
    service: StrictTokenService
    api: StrictApi
    authority: Authority
    files: ClientFiles

    def add(self, **options: Any) -> None:
        add(self.management, self.service, **options)

    def session(self) -> requests.Session:
        session = self.management.make_session("api")
        session.verify = self.authority.file
        return session


@pytest.fixture
def world(
    management: AccessTokenManagement,
    service: StrictTokenService,
    api: StrictApi,
    authority: Authority,
    files: ClientFiles,
) -> World:
    return World(management, service, api, authority, files)


def in_one_file(files: ClientFiles, folder: Path) -> Path:
    path = folder / "both.pem"
    path.write_bytes(files.cert_pem + files.key_pem)
    return path


def test_a_certificate_is_the_proof_and_the_binding(world: World) -> None:
    """Token request and API call come with the same certificate; a request without it would be refused."""
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        assert session.get("x").json() == {"token": "token-1"}
        assert session.get("y").status_code == 200
    assert world.api.certificates == [world.files.thumbprint] * 2
    assert world.service.issued[0].certificate == world.files.thumbprint
    assert world.service.requests[0].form == {"grant_type": ["client_credentials"], "client_id": ["worker"]}
    assert "authorization" not in world.service.requests[0].headers
    assert world.api.connections == 1


@pytest.mark.parametrize("method", ["tls_client_auth", "self_signed_tls_client_auth"])
def test_the_name_with_cert(
    management: AccessTokenManagement, service: StrictTokenService, files: ClientFiles, method: str, tmp_path: Path
) -> None:
    """The IANA names work with ``cert``, which may be one file too."""
    add(management, service, auth=method, cert=str(in_one_file(files, tmp_path)))
    assert management.service.get_access_token("w").value == "T41NT-token-1"
    assert management.clients["w"].auth.method == method


def test_an_encrypted_key(
    management: AccessTokenManagement, service: StrictTokenService, files: ClientFiles, tmp_path: Path
) -> None:
    """The password of an encrypted key is read when the key is; without it nobody is asked on the terminal."""
    key = serialization.load_pem_private_key(files.key_pem, None)
    path = tmp_path / "encrypted.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"T41NT-passphrase"),
        )
    )
    add(management, service, auth=TlsClientAuth(files.cert, path, password="T41NT-passphrase"))
    assert management.service.get_access_token("w").value == "T41NT-token-1"
    for password, said in (
        (None, "it is encrypted, so give its password="),
        ("wrong", "it is encrypted, and the password does not fit, or the file is damaged"),
        ({"env": "NOBODY_SET_IT"}, "NOBODY_SET_IT is not set"),
    ):
        with pytest.raises(TokenRequestError, match=said) as refused:
            ClientCertificate(files.cert, path, password=password).current()
        assert "T41NT" not in str(refused.value)


def test_a_key_that_is_none(authority: Authority, tmp_path: Path) -> None:
    """A certificate without its key, beside a key of another kind, and beside nonsense: the message says which."""
    files, path = authority.issue("keyless"), tmp_path / "other.key"
    for content, said in (
        (files.cert_pem, "there is no private key in it"),
        (RSAKey.generate_key(2048).as_pem(private=True), "certificate and key do not belong together"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", r"not usable \(\w+\)"),
    ):
        path.write_bytes(content)
        with pytest.raises(TokenRequestError, match=said):
            ClientCertificate(files.cert, path).current()


def test_tokens_bound_with_another_method(world: World) -> None:
    """With ``cert`` the token of ``private_key_jwt`` is bound to the certificate as well (RFC 8705 section 3)."""
    world.add(auth=PrivateKeyJwt(KEY, "ES256"), cert=(world.files.cert, world.files.key))
    with world.session() as session:
        assert session.get("x").status_code == 200
    assert world.service.issued[0].certificate == world.files.thumbprint == world.api.certificates[0]


@pytest.mark.parametrize("verify", [True, False])
def test_the_server_is_verified_as_the_session_says(world: World, verify: bool) -> None:
    """A client certificate changes nothing about the server's."""
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        session.verify = verify
        if verify:
            with pytest.raises(requests.exceptions.SSLError):
                session.get("x")
            assert not world.api.requests
        else:
            with pytest.warns(Warning, match="Unverified HTTPS request"):
                assert session.get("x").status_code == 200
        session.verify = world.authority.file
        assert session.get("x").status_code == 200


def test_a_certificate_of_the_caller_goes_before(world: World) -> None:
    """``session.cert`` is what somebody wrote down for this API, so it is used, even where the API refuses it."""
    other = world.authority.issue("other")
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        session.cert = (str(other.cert), str(other.key))
        assert session.get("x").status_code == 401
    assert set(world.api.certificates) == {other.thumbprint}


def test_other_adapters_get_the_files(world: World, tmp_path: Path) -> None:
    """An inner adapter and a backchannel session of the user's are given the paths, as requests takes them."""
    backchannel = requests.Session()
    backchannel.verify = world.authority.file
    world.management.configure_backchannel(session=backchannel, verify=True)
    path = in_one_file(world.files, tmp_path)
    for name, auth in (("w", TlsClientAuth(world.files.cert, world.files.key)), ("one file", TlsClientAuth(path))):
        world.management.add_client(name, token_endpoint=world.service.token_endpoint, client_id="worker", auth=auth)
        session = requests.Session()
        session.verify = world.authority.file
        world.management.mount(session, world.api.url, name, inner=HTTPAdapter())
        with session:
            assert session.get(world.api.url + "x").status_code == 200
    assert set(world.api.certificates) == {world.files.thumbprint}


def test_through_a_proxy_manager(files: ClientFiles, authority: Authority, service: StrictTokenService) -> None:
    """Connections through a proxy get the certificate as well, and those of a replaced one are dropped there too."""
    from requests_cc_token.authentication.certificate import CertificateConnections

    adapter = CertificateConnections()
    certificate = ClientCertificate(files.cert, files.key).current()
    request = requests.Request("GET", service.url).prepare()
    proxies = {"https": "127.0.0.1:9"}
    pool = adapter.get_connection_with_tls_context(request, True, proxies=proxies, cert=certificate)
    assert pool.conn_kw["ssl_context"] is certificate.context(True)
    assert pool.proxy.port == 9
    replaced = ClientCertificate(files.cert, files.key).current()
    other = adapter.get_connection_with_tls_context(request, True, proxies=proxies, cert=replaced)
    assert other is not pool
    assert len(adapter.proxy_manager["http://127.0.0.1:9"].pools) == 1
    adapter.close()


def test_a_ca_bundle_given_as_a_path_object(files: ClientFiles, authority: Authority) -> None:
    """With a client certificate, too, the server is verified by that bundle and not by the machine's authorities."""
    from requests_cc_token.authentication.certificate import CertificateConnections

    certificate = ClientCertificate(files.cert, files.key).current()
    request = requests.Request("GET", "https://127.0.0.1:9/").prepare()
    adapter = CertificateConnections()
    pool = adapter.get_connection_with_tls_context(request, Path(authority.file), cert=certificate)
    assert pool.conn_kw["ssl_context"] is certificate.context(str(authority.file))
    adapter.close()


# Rotation: guarantee T13


def test_a_rotated_certificate_makes_for_a_new_token_and_new_connections(world: World) -> None:
    """The next call asks for a token with the new certificate and uses it; the old connections are closed."""
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        assert session.get("x").json() == {"token": "token-1"}
        fresh = world.authority.issue("worker")
        world.service.certificates["worker"] = fresh.thumbprint
        assert session.get("x").json() == {"token": "token-2"}
        assert session.get("x").json() == {"token": "token-2"}
    assert world.api.certificates == [world.files.thumbprint, fresh.thumbprint, fresh.thumbprint]
    assert world.api.connections == 2
    assert len(world.service.requests) == 2
    (line,) = world.management.stats()
    assert (line.client, line.requests, line.hits) == ("w", 2, 1)


@pytest.mark.parametrize("step", ["key empty", "certificate half written", "key not yet replaced", "gone", "no PEM"])
def test_a_rotation_halfway(world: World, step: str, caplog: pytest.LogCaptureFixture) -> None:
    """While the files are no pair, the last good one is used, for new connections too; one warning says so."""
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        assert session.get("x").json() == {"token": "token-1"}
        issued, old_key = world.authority.issue("worker"), world.files.key_pem
        if step == "key empty":
            world.files.key.write_bytes(b"")
        elif step == "certificate half written":
            world.files.cert.write_bytes(issued.cert_pem[:300])
        elif step == "key not yet replaced":
            world.files.key.write_bytes(old_key)
        elif step == "gone":
            world.files.key.unlink()
        else:
            world.files.cert.write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        with caplog.at_level(logging.WARNING):
            assert session.get("x").json() == {"token": "token-1"}
            session.close()
            world.management.service.delete_access_token("w")
            assert session.get("x").json() == {"token": "token-2"}
        assert caplog.text.count("going on with the last good one") == 1
        assert set(world.api.certificates) == {world.files.thumbprint}
        world.files.cert.write_bytes(issued.cert_pem)
        world.files.key.write_bytes(issued.key_pem)
        world.service.certificates["worker"] = issued.thumbprint
        assert session.get("x").json() == {"token": "token-3"}
    assert world.api.certificates[-1] == issued.thumbprint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no certificate", "there is no certificate in it"),
        (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", "not usable (Error)"),
        (b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n", "not usable (ordinal not in range(128))"),
    ],
)
def test_a_certificate_that_is_none(files: ClientFiles, tmp_path: Path, content: bytes, said: str) -> None:
    """What is wrong with it is said; it is looked at again once the file has changed."""
    path = tmp_path / "certificate"
    path.write_bytes(content)
    certificate = ClientCertificate(path, files.key)
    with pytest.raises(TokenRequestError) as refused:
        certificate.current()
    assert str(refused.value) == f"the client certificate, '{path}' and '{files.key}': {said}"
    stamp = certificate.stamp()
    path.write_bytes(files.cert_pem)
    assert certificate.stamp() == (file_stamp(path), file_stamp(files.key)) != stamp
    assert certificate.current().thumbprint


def test_files_that_never_were_a_pair(
    management: AccessTokenManagement, service: StrictTokenService, authority: Authority, files: ClientFiles
) -> None:
    """The error names both files and the reason; nothing is sent."""
    key = authority.issue("other").key
    add(management, service, auth=TlsClientAuth(files.cert, key))
    with pytest.raises(TokenRequestError) as refused:
        management.service.get_access_token("w")
    assert str(refused.value).startswith(f"token client 'w': the client certificate, '{files.cert}' and '{key}': ")
    assert "certificate and key do not belong together" in str(refused.value)
    assert refused.value.client == "w"
    assert not service.requests


def test_an_authority_that_is_withdrawn(world: World, tmp_path: Path) -> None:
    """A7: a CA bundle replaced while running counts for the next request, on both channels, idle connections or not."""
    bundle, stranger = tmp_path / "bundle.pem", trustme.CA()
    stranger.cert_pem.write_to_path(bundle)
    with bundle.open("ab") as file:
        file.write(world.authority.ca.cert_pem.bytes())
    world.management.configure_backchannel(verify=str(bundle))
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        session.verify = str(bundle)
        assert session.get("x").status_code == 200
        stranger.cert_pem.write_to_path(bundle)
        for _ in range(2):
            with pytest.raises(requests.exceptions.SSLError):
                session.get("x")
        world.management.service.delete_access_token("w")
        with pytest.raises(TokenEndpointConnectionError):
            world.management.service.get_access_token("w")
        world.authority.ca.cert_pem.write_to_path(bundle)
        world.management.configure_backchannel(verify=str(bundle))
        assert session.get("x").status_code == 200
    assert set(world.api.certificates) == {world.files.thumbprint}


def test_a_new_authority_while_the_certificate_is_being_replaced(files: ClientFiles, tmp_path: Path) -> None:
    """Contexts with the certificate are at hand, so a CA bundle that is replaced then is followed all the same."""
    bundle = tmp_path / "bundle.pem"
    certificate = ClientCertificate(files.cert, files.key).current()
    seen = []
    for number in range(5):
        if number == 4:
            files.key.write_bytes(b"")
        trustme.CA().cert_pem.write_to_path(bundle)
        seen.append(certificate.context(str(bundle)))
    assert len(set(map(id, seen))) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_an_authoritys_bundle_that_is_a_pipe(world: World, tmp_path: Path) -> None:
    """On both channels an error that names it, at once; and a good one in its place is used."""
    bundle = tmp_path / "bundle.pem"
    os.mkfifo(bundle)
    world.management.configure_backchannel(verify=str(bundle), max_tries=1)
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        with pytest.raises(TokenRequestError, match=r"bundle\.pem"):
            session.get("x")
        bundle.unlink()
        world.authority.ca.cert_pem.write_to_path(bundle)
        world.management.configure_backchannel(verify=str(bundle))
        other = tmp_path / "other.pem"
        os.mkfifo(other)
        with pytest.raises(OSError, match=r"other\.pem"):
            session.get("x", verify=str(other))
        assert session.get("x", verify=str(bundle)).status_code == 200


def test_a_certificates_file_that_hangs_later(
    files: ClientFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contexts with what was read before are at hand; for those that are to follow nobody waits for long."""
    certificate = ClientCertificate(files.cert, files.key).current()
    monkeypatch.setattr("requests_cc_token.authentication.certificate.NEXT_LOOK", 0.05)
    reading, over = threading.Event(), threading.Event()

    def hanging(path: str) -> bytes:
        reading.set()
        assert over.wait(PATIENCE)
        return read_regular(path)

    monkeypatch.setattr("requests_cc_token.authentication.certificate.read_regular", hanging)
    assert certificate.context(False) is not certificate.context(True)
    assert reading.wait(PATIENCE)
    over.set()


def test_contexts_at_hand_come_to_an_end(files: ClientFiles, tmp_path: Path) -> None:
    """Once all are given out, one is loaded from the files, which have to be there then."""
    certificate = client_certificate({"certificate": files.cert, "key": files.key}, "x").current()
    files.cert.write_bytes(trustme.CA().issue_cert("another").cert_chain_pems[0].bytes())
    seen = []
    for number in range(SPARE_CONTEXTS):
        bundle = tmp_path / f"{number}.pem"
        trustme.CA().cert_pem.write_to_path(bundle)
        seen.append(certificate.context(str(bundle)))
    assert len(set(map(id, seen))) == SPARE_CONTEXTS
    with pytest.raises(OSError, match="KEY_VALUES_MISMATCH"):
        certificate.context(False)


def test_the_last_context_at_hand_goes_to_one_of_two(files: ClientFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that want one at the same moment, each for another way to verify servers, both get one."""
    certificate = ClientCertificate(files.cert, files.key).current()

    class Taken(list[ssl.SSLContext]):
        """Holds one when it is looked at, which another thread has when it is asked for."""

        def __len__(self) -> int:
            return 1

    monkeypatch.setattr(certificate._contexts._base.__self__, "_spare", Taken())  # type: ignore[attr-defined]
    assert certificate.context(False) is not certificate.context(True)


def test_a_refused_certificate(
    management: AccessTokenManagement, service: StrictTokenService, files: ClientFiles
) -> None:
    """``invalid_client`` is final as long as the certificate is the same: one request."""
    service.certificates.clear()
    add(management, service, auth=TlsClientAuth(files.cert, files.key))
    for _ in range(2):
        with pytest.raises(TokenEndpointError, match="invalid_client"):
            management.service.get_access_token("w")
    assert len(service.requests) == 1


def test_a_certificate_refused_in_the_handshake(
    management: AccessTokenManagement, authority: Authority, tmp_path: Path
) -> None:
    """A server that ends the handshake over the client's certificate is an error that names that certificate."""
    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    # In TLS 1.3 the refusal comes after the handshake and may be lost: the end of the connection overtakes it.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    stranger = Authority(tmp_path).issue("worker")
    with StrictTokenService(tls=context) as service:
        add(management, service, auth=TlsClientAuth(stranger.cert, stranger.key))
        with pytest.raises(TokenEndpointConnectionError, match=r"check the client certificate \(auth=") as caught:
            management.service.get_access_token("w")
        assert service.requests == []
    assert "your CA settings" not in str(caught.value)


@pytest.mark.parametrize("_run", range(10))
def test_a_certificate_refused_after_the_handshake(
    management: AccessTokenManagement, authority: Authority, tmp_path: Path, _run: int
) -> None:
    """In TLS 1.3 the alert may be lost: whichever way the connection ends, the error names the certificate."""
    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    stranger = Authority(tmp_path).issue("worker")
    with StrictTokenService(tls=context) as service:
        management.configure_backchannel(wait=())
        add(management, service, auth=TlsClientAuth(stranger.cert, stranger.key))
        with pytest.raises(TokenEndpointConnectionError, match=r"check the client certificate \(auth="):
            management.service.get_access_token("w")
        assert service.requests == []


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2427)")),
        requests.exceptions.ConnectionError(ConnectionResetError(104, "Connection reset by peer")),
        requests.exceptions.ConnectionError(http.client.RemoteDisconnected("closed")),
        requests.exceptions.ConnectionError(BrokenPipeError(32, "Broken pipe")),
    ],
    ids=lambda error: type(error.args[0]).__name__,
)
def test_an_end_without_a_word(error: Exception, files: ClientFiles) -> None:
    """It may be about the client certificate, where there is one, and is no reason never to ask again."""
    certificate = ClientCertificate(files.cert, files.key).current()
    limits = Limits((1, 1), ("", ""))
    for cert in (certificate, None):
        request = TokenRequest("https://as.test/token", cert=cert)
        reason, hopeless = explained(error, request, limits=limits, proxies={})
        assert ("check the client certificate (auth=..., cert=...)" in reason) is (cert is not None)
        assert not hopeless


def test_a_certificate_that_is_replaced_after_a_refusal(
    management: AccessTokenManagement, service: StrictTokenService, authority: Authority, files: ClientFiles
) -> None:
    """A new certificate ends the hold-off of the old one."""
    service.script.append(error_answer(401, "invalid_client"))
    add(management, service, auth=TlsClientAuth(files.cert, files.key))
    with pytest.raises(TokenEndpointError):
        management.service.get_access_token("w")
    service.certificates["worker"] = authority.issue("worker").thumbprint
    assert management.service.get_access_token("w").value == "T41NT-token-1"


def test_a_forked_child_makes_contexts_of_its_own(world: World) -> None:
    """A child goes on with the token and the certificate, on connections of its own."""
    world.add(auth=TlsClientAuth(world.files.cert, world.files.key))
    with world.session() as session:
        assert session.get("x").status_code == 200
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if session.get("x").json() == {"token": "token-1"} else 1
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert session.get("x").status_code == 200
    assert world.api.connections == 2
    assert set(world.api.certificates) == {world.files.thumbprint}


def test_a_child_never_waits_for_a_context_of_its_parent(files: ClientFiles) -> None:
    """What a fork leaves behind is made anew; this is what the child is told to do."""
    certificate = ClientCertificate(files.cert, files.key).current()
    before = certificate.context(True)
    certificate._contexts.after_fork_in_child()
    assert certificate.context(True) is not before


# Registrations


def test_a_certificate_with_a_key_of_this_process(world: World) -> None:
    """A token may be bound to a DPoP key and a certificate at once, and one certificate serves several clients."""
    certificate = ClientCertificate(world.files.cert, world.files.key)
    world.add(auth="tls_client_auth", cert=certificate, dpop=DPoPKey.generate())
    world.management.add_client(
        "other",
        token_endpoint=world.service.token_endpoint,
        client_id="worker",
        auth="tls_client_auth",
        cert=certificate,
    )
    with world.session() as session:
        assert session.get("x").status_code == 200
    assert world.service.issued[0].thumbprint is not None
    assert world.service.issued[0].certificate == world.files.thumbprint
    assert world.management.service.get_access_token("other").value == "T41NT-token-2"


def test_an_api_without_tls(
    management: AccessTokenManagement, service: StrictTokenService, files: ClientFiles
) -> None:
    """An API over plain http on this machine has no use for the certificate, and is called all the same."""
    add(management, service, auth=TlsClientAuth(files.cert, files.key))
    with ScriptedServer(default=answer(200)) as plain:
        management.add_session("plain", base_url=plain.url, client="w")
        with management.make_session("plain") as session:
            assert session.get("x").status_code == 200


def test_contexts_are_kept_apart(files: ClientFiles, authority: Authority) -> None:
    """Each way to verify servers has a context of its own: a CA of one channel is not trusted on the other."""
    certificate = ClientCertificate(files.cert, files.key).current()
    contexts = [certificate.context(verify) for verify in (True, authority.file, False)]
    assert len(set(map(id, contexts))) == 3
    assert [certificate.context(verify) for verify in (True, authority.file, False)] == contexts
    assert contexts[0].check_hostname
    assert contexts[0].verify_mode == ssl.CERT_REQUIRED
    assert not contexts[2].check_hostname


def test_connections_are_kept_for_each_way_to_verify(files: ClientFiles, authority: Authority) -> None:
    """Another way closes none of them; what is no way that requests knows verifies the server."""
    adapter, loaded = CertificateConnections(), ClientCertificate(files.cert, files.key).current()
    request = requests.Request("GET", "https://localhost/x").prepare()

    def pool(verify: Any) -> Any:
        return adapter.get_connection_with_tls_context(request, verify, cert=loaded)

    ways: list[Any] = [True, authority.file, False]
    pools = [pool(verify) for verify in ways]
    assert [pool(verify) for verify in ways] == pools
    assert [each.conn_kw["ssl_context"] for each in pools] == [loaded.context(verify) for verify in ways]
    assert [each.cert_reqs for each in pools] == ["CERT_REQUIRED", "CERT_REQUIRED", "CERT_NONE"]
    for odd in (None, 1, 0, b"x"):
        assert pool(odd) is pools[0]


def test_other_certificates_are_left_to_requests(files: ClientFiles) -> None:
    """A path, or two, of a request go the way that requests has for them, and the server is verified."""
    adapter = CertificateConnections()
    request = requests.Request("GET", "https://localhost/x").prepare()
    for cert, key in ((str(files.cert), str(files.key)), (str(files.cert), None)):
        given = cert if key is None else (cert, key)
        pool = adapter.get_connection_with_tls_context(request, True, cert=given)
        adapter.cert_verify(pool, str(request.url), True, given)
        assert (pool.cert_file, pool.key_file, pool.cert_reqs) == (cert, key, "CERT_REQUIRED")


def test_files_for_other_adapters(files: ClientFiles, tmp_path: Path) -> None:
    """One path where one file has both, as requests takes it; a table may say the password too."""
    whole = in_one_file(files, tmp_path)
    assert client_certificate(whole, "x").current().files == str(whole)
    table = {"certificate": str(files.cert), "key": str(files.key), "password": "not needed"}
    assert client_certificate(table, "x").current().files == (str(files.cert), str(files.key))


def test_nothing_is_pickled_or_equal(files: ClientFiles) -> None:
    """A loaded certificate is itself only, travels nowhere, and shows its thumbprint."""
    one, other = (ClientCertificate(files.cert, files.key).current() for _ in range(2))
    assert one == one  # noqa: PLR0124 - the point
    assert one != other
    assert len({one, other}) == 2
    assert one.thumbprint == other.thumbprint == files.thumbprint
    assert repr(one) == f"<client certificate {files.thumbprint} from '{files.cert}'>"
    with pytest.raises(TypeError, match="a client certificate is not pickled"):
        pickle.dumps(one)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"auth": "tls_client_auth"}, "tls_client_auth needs a certificate"),
        ({"auth": "tls_client_auth", "cert": 7}, "cert must be the path of a PEM file"),
        ({"auth": "tls_client_auth", "cert": ("a", 7)}, "given by the path"),
        ({"auth": "tls_client_auth", "cert": ("",)}, "cert must be the path"),
        ({"auth": "tls_client_auth", "cert": {}}, "cert must be the path"),
        ({"auth": "tls_client_auth", "cert": {"key": "a"}}, "cert must be the path"),
        ({"auth": "tls_client_auth", "cert": {"certificate": "a", "pass": "T41NT"}}, "cert must be the path"),
        ({"auth": TlsClientAuth("a.pem"), "cert": "b.pem"}, "has the certificate, so leave cert out"),
        ({"auth": TlsClientAuth("a.pem"), "client_secret": "s"}, "uses no client_secret"),
    ],
)
def test_registrations_that_cannot_work(
    management: AccessTokenManagement, service: StrictTokenService, options: dict[str, Any], reason: str
) -> None:
    """They are refused when they are made."""
    with pytest.raises(ConfigurationError, match=reason):
        add(management, service, **options)


def test_a_key_without_a_certificate() -> None:
    """What belongs to a certificate is of no use without it."""
    with pytest.raises(ConfigurationError, match="of no use without cert"):
        TlsClientAuth(key="a.key", password="T41NT")
    with pytest.raises(ConfigurationError, match="given by the path"):
        ClientCertificate("", password="T41NT")
    certificate = ClientCertificate("a.pem")
    assert repr(TlsClientAuth("a.pem")) == "TlsClientAuth(<client certificate from 'a.pem'>, method='tls_client_auth')"
    assert repr(certificate) == "<client certificate from 'a.pem'>"
