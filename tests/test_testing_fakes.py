"""The fake token service and API of ``requests_cc_token.testing``: strict, steered, counted."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import (
    AccessTokenManagement,
    AccessTokenSession,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    session_for,
)
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.testing import FakeApi, FakeTokenService, ManualClock, no_waiting

from .forked import in_child
from .scripted_server import PATIENCE, ScriptedServer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fake(clock: ManualClock) -> Iterator[FakeTokenService]:
    with no_waiting(), FakeTokenService(clock=clock) as service:
        yield service


@pytest.fixture
def api(fake: FakeTokenService) -> Iterator[FakeApi]:
    with FakeApi(fake) as api:
        yield api


@pytest.fixture
def session(fake: FakeTokenService, api: FakeApi, clock: ManualClock) -> Iterator[AccessTokenSession]:
    with AccessTokenManagement(clock=clock) as management:
        management.add_client(
            "worker", issuer=fake.issuer, client_id=fake.client_id, client_secret=fake.client_secret, scope="orders"
        )
        management.add_session("api", base_url=api.base_url)
        with management.make_session("api") as session:
            yield session


def asked(service: FakeTokenService, **options: Any) -> requests.Response:
    """The answer to a token request that is right, but for the options."""
    given: dict[str, Any] = {
        "auth": (service.client_id, service.client_secret),
        "data": {"grant_type": "client_credentials"},
        "url": service.token_endpoint,
        "method": "POST",
        "timeout": PATIENCE,
        **options,
    }
    return requests.request(**given)


class TestTheWorkersView:
    def test_one_token_for_many_calls(self, session: requests.Session, fake: FakeTokenService, api: FakeApi) -> None:
        """The API takes the token that the service issued, and both say what they got."""
        for _ in range(3):
            assert session.get("orders?page=2").json() == {
                "method": "GET",
                "path": "/orders",
                "query": {"page": ["2"]},
                "body": "",
            }
        fake.assert_requests(1)
        api.assert_requests(3)
        assert [request.token for request in api.requests] == ["fake-token-1"] * 3
        assert [token.scope for token in fake.tokens] == ["orders"]

    def test_it_expires_in_mid_job(
        self, session: requests.Session, fake: FakeTokenService, api: FakeApi, clock: ManualClock
    ) -> None:
        """Once the clock has passed the lifetime the next call gets a new token; no call is refused."""
        fake.token_lifetime = 60
        assert session.get("orders").status_code == 200
        clock.advance(61)
        assert session.get("orders").status_code == 200
        assert [request.token for request in api.requests] == ["fake-token-1", "fake-token-2"]

    def test_a_revoked_token_is_renewed(self, session: requests.Session, fake: FakeTokenService, api: FakeApi) -> None:
        """The API refuses what was revoked, and the call is sent once more with a new token."""
        session.get("orders")
        fake.revoke_all()
        assert session.post("orders", data="one").json()["body"] == "one"
        fake.assert_requests(2)
        assert [request.token for request in api.requests] == ["fake-token-1"] * 2 + ["fake-token-2"]

    def test_an_api_by_another_clock_refuses_what_expired(self, fake: FakeTokenService, api: FakeApi) -> None:
        """A worker whose clock stands still sends a token that the service's clock has expired; it is renewed."""
        with session_for(
            api.base_url, token_endpoint=fake.token_endpoint, client_id="worker", client_secret="secret"
        ) as session:
            session.get("orders")
            assert isinstance(fake.clock, ManualClock)
            fake.clock.advance(3601)
            assert session.get("orders").status_code == 200
        assert len(api.requests) == 3

    def test_the_service_fails_and_recovers(
        self, session: requests.Session, fake: FakeTokenService, clock: ManualClock
    ) -> None:
        """A failure that passes is tried again without a pause; one that stays is an error until it is over."""
        fake.fail_next(503, headers={"Retry-After": "100"}, times=2)
        assert session.get("orders").ok
        fake.assert_requests(3)
        clock.advance(3601)
        fake.fail_always(500)
        with pytest.raises(TokenEndpointError):
            session.get("orders")
        fake.recover()
        assert session.get("orders").ok

    def test_the_service_refuses(self, session: requests.Session, fake: FakeTokenService) -> None:
        """A refusal names its error code, as often as it was asked for."""
        fake.refuse(times=1)
        with pytest.raises(TokenEndpointError) as caught:
            session.get("orders")
        assert (caught.value.error, caught.value.status_code) == ("invalid_client", 401)
        fake.refuse("invalid_scope", "no orders today")
        for _ in range(2):
            with pytest.raises(TokenEndpointError, match="no orders today"):
                session.get("orders")
        fake.recover()
        assert session.get("orders").ok

    def test_nobody_listens(self, session: requests.Session, fake: FakeTokenService, clock: ManualClock) -> None:
        """A stopped service is a connection error, a started one listens on the same port."""
        fake.token_lifetime = 60
        session.get("orders")
        clock.advance(61)
        fake.stop()
        with pytest.raises(TokenEndpointConnectionError):
            session.get("orders")
        fake.start()
        assert session.get("orders").ok

    def test_an_issuer_at_whom_nobody_listens(self, session: requests.Session, fake: FakeTokenService) -> None:
        """That the metadata cannot be read for want of a connection is a connection error, too; a 404 is none."""
        fake.stop()
        with pytest.raises(TokenEndpointConnectionError, match="the metadata of the issuer cannot be had"):
            session.get("orders")
        fake.start()
        with AccessTokenManagement() as management:
            management.add_client("w", issuer=fake.issuer + "/x", client_id="worker", client_secret="secret")
            with pytest.raises(TokenRequestError, match="answered 404") as caught:
                management.service.get_access_token()
            assert not isinstance(caught.value, requests.ConnectionError)

    def test_it_is_slow(self, fake: FakeTokenService, api: FakeApi) -> None:
        """An answer that takes longer than the backchannel waits is a connection error; the close does not wait."""
        with AccessTokenManagement() as management:
            management.add_client("worker", token_endpoint=fake.token_endpoint, client_id="worker", client_secret="x")
            management.configure_backchannel(timeout=0.05, wait=())
            fake.delay = PATIENCE
            with pytest.raises(TokenEndpointConnectionError, match=r"0\.05"):
                management.service.get_access_token()

    def test_revoked_by_the_worker(self, clock: ManualClock, fake: FakeTokenService) -> None:
        """A management that revokes its tokens is served, and the token is not valid any more."""
        with AccessTokenManagement(clock=clock, revoke_on_close=True) as management:
            management.add_client("worker", issuer=fake.issuer, client_id="worker", client_secret="secret")
            value = management.service.get_access_token().value
            assert fake.find_token(value) is not None
        assert fake.find_token(value) is None


class TestTheService:
    @pytest.mark.parametrize(
        ("options", "error", "description"),
        [
            ({"auth": ("worker", "wrong")}, "invalid_client", "wrong"),
            ({"auth": ("other", "secret")}, "invalid_client", "wrong"),
            ({"auth": None}, "invalid_client", "no client authentication"),
            ({"auth": None, "headers": {"Authorization": "Bearer é"}}, "invalid_client", "wrong"),
            ({"auth": None, "headers": {"Authorization": "Basic /w=="}}, "invalid_client", "wrong"),
            ({"method": "PUT"}, "invalid_request", "PUT, not POST"),
            ({"data": None, "json": {}}, "invalid_request", "Content-Type is application/json"),
            ({"data": b"grant_type=client_credentials"}, "invalid_request", "Content-Type is missing"),
            ({"params": {"scope": "a"}}, "invalid_request", "in the URL: scope"),
            ({"data": {"grant_type": ["client_credentials"] * 2}}, "invalid_request", "more than once: grant_type"),
            ({"data": {"client_secret": "secret"}}, "invalid_request", "basic and client_secret_post at once"),
            ({"data": {"client_assertion": "x"}}, "invalid_request", "basic and client_assertion at once"),
            ({"data": {"grant_type": "password"}}, "unsupported_grant_type", "client_credentials"),
            ({"data": {"scope": "a"}}, "unsupported_grant_type", ""),
            ({"data": {"grant_type": "client_credentials", "scope": "a c"}}, "invalid_scope", "not among a b"),
        ],
    )
    def test_it_is_strict(self, fake: FakeTokenService, options: dict[str, Any], error: str, description: str) -> None:
        """What RFC 6749 lets a service refuse is refused, with the code of section 5.2 and a reason."""
        fake.scopes = frozenset({"a", "b"})
        answer = asked(fake, **options)
        assert answer.status_code == (401 if error == "invalid_client" else 400)
        assert answer.json()["error"] == error
        assert description in answer.json()["error_description"]
        assert ("WWW-Authenticate" in answer.headers) is (error == "invalid_client")
        assert fake.tokens == []

    @pytest.mark.parametrize("secret", ["s+b c/d=%41&é~*", "plain"])
    def test_secrets_come_as_they_are_or_encoded(self, secret: str) -> None:
        """By Basic in the form encoding of RFC 6749 or without, and in the form."""
        with FakeTokenService(client_secret=secret, scopes="a b") as fake:
            assert asked(fake, auth=("worker", secret.encode())).ok
            data = {"grant_type": "client_credentials", "scope": "a", "resource": ["x:1", "x:2"]}
            assert asked(fake, auth=None, data={**data, "client_id": "worker", "client_secret": secret}).ok
            with AccessTokenManagement() as management:
                management.add_client(
                    "w", token_endpoint=fake.token_endpoint, client_id="worker", client_secret=secret, scope=["a", "b"]
                )
                management.service.get_access_token()
            assert [request.outcome for request in fake.requests] == ["200"] * 3

    def test_tokens_without_an_end(self) -> None:
        """Without a lifetime the answer has no ``expires_in``, and the token is valid for ever."""
        with FakeTokenService(token_lifetime=None) as fake:
            answer = asked(fake).json()
            assert answer == {"access_token": "fake-token-1", "token_type": "Bearer"}
            assert fake.find_token("fake-token-1") is not None
            assert fake.find_token("fake-token-2") is None

    def test_an_unknown_token_is_revoked_without_an_error(self, fake: FakeTokenService) -> None:
        """RFC 7009 section 2.2; a wrong secret is refused there, too."""
        revoked = asked(fake, url=fake.revocation_endpoint, data={"token": "another"})
        assert (revoked.status_code, revoked.content) == (200, b"")
        assert asked(fake, url=fake.revocation_endpoint, auth=("worker", "no")).json()["error"] == "invalid_client"

    def test_another_path(self, fake: FakeTokenService) -> None:
        """What it does not have is a 404, and no token request."""
        assert asked(fake, url=fake.origin + "/tokens").status_code == 404
        fake.assert_requests(0)


class TestWhatItSays:
    def test_too_few_requests(self, fake: FakeTokenService) -> None:
        """Where none came the message says so."""
        with pytest.raises(AssertionError, match=r"^the token service got 0 requests, not 1$"):
            fake.assert_requests(1)

    def test_too_many_requests(self, fake: FakeTokenService, api: FakeApi) -> None:
        """What was sent is listed, with what was answered, and without secrets."""
        asked(fake, data={"grant_type": "client_credentials", "scope": "orders", "client_id": "worker"})
        asked(fake, auth=("worker", "T41NT-secret"))
        with pytest.raises(AssertionError) as caught:
            fake.assert_requests(1)
        assert str(caught.value) == (
            "the token service got 2 requests, not 1:\n"
            "  1. worker (client_secret_basic) grant_type=client_credentials scope=orders: 200\n"
            "  2. worker (client_secret_basic) grant_type=client_credentials: "
            "401 invalid_client, client_id or client_secret is wrong"
        )
        requests.get(api.base_url + "a", timeout=PATIENCE)
        requests.get(api.base_url + "b", timeout=PATIENCE, headers={"Authorization": "Bearer fake-token-1"})
        with pytest.raises(AssertionError) as caught:
            api.assert_requests(3)
        assert str(caught.value) == (
            "the API got 2 requests, not 3:\n  1. GET /a with no token\n  2. GET /b with fake-token-1"
        )

    def test_nothing_is_answered_yet(self, fake: FakeTokenService) -> None:
        """A request that waits at the gate is recorded, and says that it has no answer."""
        with fake.hold():
            thread = threading.Thread(target=asked, args=(fake,), daemon=True)
            thread.start()
            fake.wait_for_requests(1)
            assert str(fake.requests[0]).endswith(": no answer yet")
        thread.join(PATIENCE)
        assert fake.requests[0].outcome == "200"

    def test_no_secret_is_shown(self, fake: FakeTokenService) -> None:
        """Neither header nor form keeps the secret."""
        asked(fake, auth=("worker", "T41NT-one"), data={"client_secret": "T41NT-two"})
        (record,) = fake.requests
        assert "T41NT" not in repr(record) + str(record) + repr(record.headers) + repr(record.form)


class TestTheApi:
    def test_without_a_token(self, api: FakeApi) -> None:
        """A challenge without an error code, as RFC 6750 section 3.1 has it."""
        answer = requests.get(api.base_url, timeout=PATIENCE)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="fake"')

    def test_with_a_token_of_nobody(self, api: FakeApi) -> None:
        """A challenge that says so."""
        answer = requests.get(api.base_url, headers={"Authorization": "Bearer made-up"}, timeout=PATIENCE)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]

    def test_it_answers_what_it_is_told(self, session: requests.Session, api: FakeApi) -> None:
        """JSON, text or bytes, with status and headers; the same for each method."""
        api.respond("orders", [{"id": 1}])
        api.respond("/report", "a;b", status=202, headers={"Content-Type": "text/csv"})
        assert session.get("orders").json() == [{"id": 1}]
        report = session.delete("report")
        assert (report.status_code, report.text, report.headers["Content-Type"]) == (202, "a;b", "text/csv")
        assert session.head("orders").headers["Content-Length"] == "11"
        assert session.head("orders").content == b""

    def test_it_fails_as_it_is_told(self, session: requests.Session, api: FakeApi) -> None:
        """Scripted answers go first."""
        api.fail_next(500, "broken")
        assert (session.get("orders").text, session.get("orders").status_code) == ("broken", 200)

    def test_a_body_in_chunks(self, session: requests.Session, api: FakeApi) -> None:
        """A generator's body is read whole, and the connection goes on."""
        assert session.post("upload", data=iter([b"one", b"two" * 1000])).json()["body"] == "one" + "two" * 1000
        assert session.patch("upload", data=b"three").json()["body"] == "three"
        assert len(api.requests[0].body) == 3003
        assert api.connections == 1

    def test_trailers_after_chunks(self, api: FakeApi) -> None:
        """What comes after the last chunk belongs to the request that it ends."""
        request = (
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
            b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert sent(api.port, request).count(b"HTTP/1.1 401") == 2
        assert [(one.path, one.body) for one in api.requests] == [("/a", b"ok"), ("/b", b"")]

    def test_it_takes_the_tokens_of_another_service(self) -> None:
        """Whatever has ``find_token`` will do; anything else is an error that says so."""
        with TokenService() as tokens, FakeApi(tokens) as api:
            tokens.add_client("worker", "secret")
            with session_for(
                api.base_url, token_endpoint=tokens.token_endpoint, client_id="worker", client_secret="secret"
            ) as session:
                assert session.get("orders").ok
        with ScriptedServer() as server, pytest.raises(TypeError, match="must have find_token"):
            FakeApi(server)  # type: ignore[arg-type]


def sent(port: int, data: bytes) -> bytes:
    """What a server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_server_has_methods_of_http_only(api: FakeApi) -> None:
    """Any method is served, as APIs may have their own."""
    answer = requests.request("PROPFIND", api.base_url, timeout=PATIENCE)
    assert answer.status_code == 401
    assert api.requests[0].method == "PROPFIND"


def test_a_program_of_its_own_to_try_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m requests_cc_token.testing`` prints the configuration of a worker, and serves it until Ctrl-C."""
    command = [sys.executable, "-m", "requests_cc_token.testing"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = "".join(itertools.takewhile(lambda line: line != "# end\n", process.stdout))
        secret = re.search(r"export M2M_SECRET=(\S+)", text)
        assert secret is not None
        monkeypatch.setenv("M2M_SECRET", secret[1])
        file = tmp_path / "worker.toml"
        file.write_text(text, encoding="utf-8")
        with AccessTokenManagement.from_config(file) as management, management.make_session("client") as session:
            assert session.get("orders", timeout=PATIENCE).json()["path"] == "/orders"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_program_takes_no_arguments() -> None:
    """One that somebody hopes for is refused, not passed over: ports are free ones."""
    command = [sys.executable, "-m", "requests_cc_token.testing", "--port", "8080"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --port" in done.stderr


def raw_answer(port: int, request: bytes) -> bytes:
    """The first line that a server says to these bytes and the end of them."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").readline().strip()


NO_REQUESTS = {
    "length below 0": b"POST /token HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "length is a word": b"POST /token HTTP/1.1\r\nContent-Length: much\r\n\r\n",
    "length of a disk": b"POST /token HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n",
    "breaks off": b"POST /token HTTP/1.1\r\nContent-Length: 100\r\n\r\ngrant_type=",
    "no address": b"POST http://[::1/token HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
}
NO_CHUNKS = {
    "chunk below 0": b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    "chunk is a word": b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nword\r\n",
    "chunk of a disk": b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    "chunk breaks off": b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ngrant",
}


class TestHostileInput:
    @pytest.mark.parametrize("kind", [*NO_REQUESTS, *NO_CHUNKS])
    def test_what_is_no_request_is_answered_and_not_counted(self, fake: FakeTokenService, kind: str) -> None:
        """With a 400 at once, and on a connection that ends; the next one is served."""
        assert raw_answer(fake.port, {**NO_REQUESTS, **NO_CHUNKS}[kind]) == b"HTTP/1.1 400 Bad Request"
        assert fake.requests == []
        assert requests.post(fake.token_endpoint, timeout=PATIENCE).status_code == 400

    @pytest.mark.parametrize("kind", [*NO_REQUESTS, *NO_CHUNKS])
    def test_the_demos_services_do_as_well(self, token_service: TokenService, kind: str) -> None:
        """They read requests in the same way."""
        assert raw_answer(token_service.port, {**NO_REQUESTS, **NO_CHUNKS}[kind]) == b"HTTP/1.1 400 Bad Request"

    def test_a_client_that_asks_before_it_sends_its_body(self, fake: FakeTokenService) -> None:
        """It is told to go on, and answered."""
        with socket.create_connection(("127.0.0.1", fake.port), PATIENCE) as connection:
            connection.sendall(b"POST /token HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            lines = connection.makefile("rb")
            assert lines.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert lines.readline() == b"\r\n"
            connection.sendall(b"a=")
            assert lines.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        fake.assert_requests(1)

    def test_what_proves_something_is_not_recorded(self, fake: FakeTokenService) -> None:
        """In no grant: what a test prints of a request holds none of it."""
        names = "assertion subject_token actor_token password refresh_token code client_secret client_assertion token"
        requests.post(fake.token_endpoint, dict.fromkeys(names.split(), "T41NT"), timeout=PATIENCE)
        assert "T41NT" not in f"{fake.requests[0]} {fake.requests!r} {vars(fake.requests[0])}"

    def test_the_name_of_a_scheme_in_any_case(self, fake: FakeTokenService) -> None:
        """``basic`` is ``Basic`` (RFC 9110 section 11.1)."""
        answer = requests.post(
            fake.token_endpoint,
            {"grant_type": "client_credentials"},
            headers={"Authorization": "basic d29ya2VyOnNlY3JldA=="},
            timeout=PATIENCE,
        )
        assert answer.status_code == 200

    def test_a_hold_within_a_hold(self, fake: FakeTokenService) -> None:
        """All are answered when the last one ends."""
        with fake.hold():
            with fake.hold():
                pass
            assert not fake.gate.is_set()
        assert fake.gate.is_set()

    def test_a_forked_child_leaves_the_server_to_its_parent(self, fake: FakeTokenService) -> None:
        """What a child closes, as a fixture that ends in it does, goes on in the process that serves."""
        in_child(fake.close)
        assert requests.post(fake.token_endpoint, timeout=PATIENCE).status_code == 400

    def test_what_a_child_does_to_a_server(self) -> None:
        """It closes its own copy of the socket, and waits for no thread that it does not have."""
        fake = FakeTokenService()
        server = fake._server
        assert server is not None
        server.process = 0  # another one's
        fake.close()
        assert server.socket.fileno() == -1
        server.shutdown()

    def test_threads_that_start_and_stop_it(self, fake: FakeTokenService) -> None:
        """One of them at a time; it serves, or does not, and always on its port."""

        def turn() -> None:
            for _ in range(5):
                fake.stop()
                fake.start()

        threads = [threading.Thread(target=turn) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert requests.post(fake.token_endpoint, timeout=PATIENCE).status_code == 400
