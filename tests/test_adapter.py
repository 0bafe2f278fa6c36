"""The adapter: authorize a copy, send it, renew once on a 401."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import pickle
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import HTTPDigestAuth
from requests.exceptions import FileModeWarning
from urllib3.connection import HTTPConnection

from requests_cc_token import (
    NO_TOKEN,
    AccessTokenAdapter,
    AccessTokenManagement,
    ConfigurationError,
    TokenEndpointError,
    TokenRequestParameters,
    TokenRequestTimeout,
    UnknownClientError,
)
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.resend import MAX_DRAINED

from .scripted_server import ScriptedServer, answer, broken_off, reset

Mounted = Callable[..., requests.Session]


@pytest.fixture
def mounted(management: AccessTokenManagement, api: ProtectedApi) -> Mounted:
    """Makes a plain session on which the API's prefix is mounted, with options of the adapter."""

    def make(prefix: str = api.base_url, **options: Any) -> requests.Session:
        session = requests.Session()
        management.mount(session, prefix, "worker", **options)
        return session

    return make


def bearers(server: ScriptedServer) -> list[str | None]:
    return [request.headers.get("authorization") for request in server.requests]


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """An API that does what it is told; 200 by default."""
    with ScriptedServer(default=answer(200, b"fine")) as server:
        yield server


# Authorizing


def test_the_copy_that_is_sent_carries_the_token(
    mounted: Mounted, api: ProtectedApi, management: AccessTokenManagement
) -> None:
    """The API gets the token; the caller's request and the response's request never hold it."""
    session = mounted()
    request = session.prepare_request(requests.Request("POST", api.base_url + "echo", data=b"x", headers={"X-A": "b"}))
    response = session.send(request, timeout=30)
    assert response.status_code == 200
    assert response.request is request
    assert "Authorization" not in request.headers
    assert response.json()["headers"]["X-A"] == "b"
    assert response.history == []
    (seen,) = api.requests
    assert seen.carried(management.service.get_access_token("worker"))
    assert pickle.loads(pickle.dumps(response)).content == response.content


def test_a_session_that_exists_keeps_what_it_has(mounted: Mounted, api: ProtectedApi) -> None:
    """Outside the prefix the session sends as it did, by the adapters that it had."""
    session = mounted()
    assert session.get(api.base_url + "test", timeout=30).status_code == 200
    assert session.get(api.origin + "/open", timeout=30).status_code == 200
    assert [request.scheme for request in api.requests] == ["Bearer", None]
    session.close()
    assert session.get(api.base_url + "test", timeout=30).status_code == 200


def test_mounting_by_hand(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """``session.mount(prefix, AccessTokenAdapter(service, client))`` keeps to that prefix."""
    session = requests.Session()
    adapter = AccessTokenAdapter(management.service, "worker", prefix=api.base_url)
    session.mount(api.base_url, adapter)
    assert session.get(api.base_url + "test", timeout=30).status_code == 200
    session.get(api.base_url + "%2e%2e/open", timeout=30)
    assert [request.scheme for request in api.requests] == ["Bearer", None]
    assert repr(adapter) == f"<AccessTokenAdapter client='worker' {api.base_url}>"


def test_plain_http_elsewhere_is_refused(management: AccessTokenManagement) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="is plain http"):
        management.mount(requests.Session(), "http://api.example.com/", "worker")


def test_a_lookalike_is_warned_of_once(
    mounted: Mounted, api: ProtectedApi, scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that somebody may have expected to carry the token is sent without it, and the log says so, once."""
    session = mounted(api.base_url)
    for _ in range(2):
        session.get(api.base_url + "%2e%2e/open?key=t41nt", timeout=30)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.getMessage() == (
        f"token client 'worker': a request to {api.base_url}../open carries no token, it is not under {api.base_url}"
    )
    assert [request.scheme for request in api.requests] == [None, None]


def test_a_foreign_host_is_not_warned_of(
    mounted: Mounted, scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A request to somewhere else altogether by an adapter of ours is none of our business."""
    session = mounted("https://api.example.com/")
    session.get_adapter("https://api.example.com/").send(
        session.prepare_request(requests.Request("GET", scripted.url)), timeout=30
    )
    assert bearers(scripted) == [None]
    assert caplog.records == []


def test_a_session_without_a_name_needs_one_client(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """While there is one client nobody has to name it; then the error lists the names there are."""
    session = requests.Session()
    management.mount(session, api.base_url)
    assert session.get(api.base_url + "test", timeout=30).ok
    management.add_client("b", token_endpoint="https://login.example.com/", client_id="b", client_secret="secret")
    with pytest.raises(
        UnknownClientError, match="there are several token clients, so name one; registered are 'b', 'w"
    ):
        session.get(api.base_url + "test", timeout=30)
    assert len(api.requests) == 1


# Per request


def test_parameters_of_one_request(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """``auth=TokenRequestParameters(...)`` is for that request alone."""
    session = mounted()
    assert session.get(api.base_url + "scope/reports", auth=TokenRequestParameters(scope="reports"), timeout=30).ok
    assert session.get(api.base_url + "test", auth=TokenRequestParameters(scope="api"), timeout=30).ok
    refused = session.get(api.base_url + "scope/reports", auth=TokenRequestParameters(scope="api"), timeout=30)
    assert refused.status_code == 403
    assert session.get(api.base_url + "test", timeout=30).ok
    assert [request.form.get("scope") for request in token_service.requests] == ["reports", "api", None]


def test_parameters_of_a_session(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """On ``session.auth`` they are for every request."""
    session = mounted()
    session.auth = TokenRequestParameters(scope="reports")
    for _ in range(2):
        assert session.get(api.base_url + "scope/reports", timeout=30).ok
    assert [request.form.get("scope") for request in token_service.requests] == ["reports"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_notes_travel_through_redirects(
    mounted: Mounted, api: ProtectedApi, token_service: TokenService, status: int
) -> None:
    """What a request asks for holds for the request that a redirect makes of it, within the prefix."""
    session = mounted()
    auth = TokenRequestParameters(scope="reports")
    to = {"to": api.base_url + "scope/reports", "status": str(status)}
    response = session.get(api.base_url + "redirect", params=to, auth=auth, timeout=30)
    assert response.status_code == 200
    assert response.history[0].status_code == status
    assert [request.form.get("scope") for request in token_service.requests] == ["reports"]
    token_service.revoke_all()
    api.fail_next(status, b"", {"Location": api.origin + "/open"})
    session.get(api.base_url + "test", auth=NO_TOKEN, timeout=30)
    api.fail_next(status, b"", {"Location": api.base_url + "echo"})
    assert session.get(api.base_url + "test", auth=NO_TOKEN, timeout=30).status_code == 401
    assert [request.scheme for request in api.requests] == ["Bearer", "Bearer", None, None, None, None]


def test_no_token(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """``auth=NO_TOKEN`` sends one request without a token and asks for none; its 401 is the answer."""
    session = mounted()
    assert session.get(api.base_url + "test", auth=NO_TOKEN, timeout=30).status_code == 401
    assert token_service.requests == []
    assert session.get(api.base_url + "test", timeout=30).ok


def test_parameters_of_an_adapter(
    management: AccessTokenManagement, api: ProtectedApi, token_service: TokenService
) -> None:
    """They are for all that it sends; those of one request go over them, one by one."""
    session = requests.Session()
    management.mount(session, api.base_url, token_parameters=TokenRequestParameters(scope="reports", audience="aud"))
    assert session.get(api.base_url + "scope/reports", timeout=30).ok
    assert session.get(api.base_url + "scope/api", auth=TokenRequestParameters(scope="api"), timeout=30).ok
    assert [(r.form["scope"], r.form["audience"]) for r in token_service.requests] == [
        ("reports", "aud"),
        ("api", "aud"),
    ]
    with pytest.raises(ConfigurationError, match=r"parameters must be TokenRequestParameters\(\.\.\.\)"):
        AccessTokenAdapter(management.service, prefix=api.base_url, token_parameters={"scope": "api"})  # type: ignore[arg-type]


# The caller's own Authorization


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"Authorization": "Bearer mine"}},
        {"headers": {"authorization": "Bearer mine"}},
        {"headers": {"Authorization": b"Bearer mine"}},
        {"headers": {"Authorization": b"Basic bWluZTp0b28="}},
        {"auth": ("mine", "too")},
    ],
    ids=repr,
)
def test_authorization_of_the_caller(
    mounted: Mounted, scripted: ScriptedServer, token_service: TokenService, given: dict[str, Any]
) -> None:
    """It is kept, and no token asked for; with ``keep_authorization=False`` the token takes its place."""
    mounted(scripted.url).get(scripted.url + "test", timeout=30, **given)
    assert "Bearer mine" in str(bearers(scripted)) or "Basic bWluZTp0b28=" in str(bearers(scripted))
    assert token_service.requests == []
    mounted(scripted.url, keep_authorization=False).get(scripted.url + "test", timeout=30, **given)
    assert bearers(scripted)[1] == f"Bearer {token_service.tokens[0].value}"


def test_netrc_is_not_the_caller(
    mounted: Mounted, api: ProtectedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What requests itself takes from ``.netrc`` does not keep the token away; what the caller wrote does."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session = mounted()
    assert session.get(api.base_url + "test", timeout=30).ok
    session.get(api.base_url + "test", auth=("somebody", "different"), timeout=30)
    session.get(api.base_url + "test", headers={"Authorization": "Digest x"}, auth=lambda request: request, timeout=30)
    assert [request.scheme for request in api.requests] == ["Bearer", "Basic", "Digest"]


def test_other_authentication_works_through_the_adapter(mounted: Mounted, scripted: ScriptedServer) -> None:
    """Digest sends again by ``response.connection``, which is this adapter: its own header is kept."""
    challenge = [("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5')]
    scripted.script.append(answer(401, headers=challenge))
    session = mounted(scripted.url, renew_on=())
    assert session.get(scripted.url + "x", auth=HTTPDigestAuth("u", "p"), timeout=30).text == "fine"
    first, second = bearers(scripted)
    assert first is not None
    assert first.startswith("Bearer ")
    assert second is not None
    assert second.startswith("Digest ")


# A 401


def test_a_revoked_token_is_renewed_once(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """The API refuses the token, a new one is requested, and the request is sent once more; nobody notices."""
    session = mounted()
    session.get(api.base_url + "test", timeout=30)
    token_service.revoke_all()
    response = session.get(api.base_url + "test", timeout=30)
    assert response.status_code == 200
    assert [r.status_code for r in response.history] == [401]
    assert b"invalid_token" in response.history[0].content
    assert "Authorization" not in response.history[0].request.headers
    assert len(token_service.requests) == 2
    assert api.connections == 1, "the refusal was read, so its connection was kept"


def test_a_second_401_is_the_answer(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """An API that refuses the fresh token too gives its 401 to the caller, after two sends and no more."""
    api.fail_always(401, b"no", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    response = mounted().get(api.base_url + "test", timeout=30)
    assert (response.status_code, response.text) == (401, "no")
    assert len(api.requests) == 2
    assert len(token_service.requests) == 2


@pytest.mark.parametrize(
    ("challenges", "renewed"),
    [
        ([], True),
        (["Bearer"], True),
        (['Bearer realm="api"'], True),
        (['Bearer error="invalid_token"'], True),
        (['bearer ERROR="invalid_token", error_description="a, b=\\"c\\""'], True),
        (['Basic realm="api"'], True),
        (["Negotiate dG9rZW4="], True),
        (["garbage \x01"], True),
        (['Bearer realm="a" error="insufficient_scope"'], True),  # malformed: nobody knows what it says
        (['Bearer error="insufficient_scope"'], False),
        (["BEARER error=insufficient_scope"], False),
        (['Bearer error="invalid_request"'], False),
        (['Basic realm="a", Bearer realm="b", error="insufficient_scope"'], False),
        (['Basic realm="a"', 'Bearer error="insufficient_scope"'], False),
        (['Bearer error="insufficient_scope"', 'Bearer error="invalid_token"'], True),
        (['Bearer error="insufficient_scope", Bearer error="invalid_token"'], True),
        (['Basic error="insufficient_scope"'], True),
    ],
)
def test_which_refusals_a_new_token_may_help(
    mounted: Mounted, scripted: ScriptedServer, challenges: list[str], renewed: bool
) -> None:
    """Codes that no token helps (RFC 6750 section 3.1) cause no renewal; anything else does."""
    scripted.script.append(answer(401, b"no", [("WWW-Authenticate", line) for line in challenges]))
    response = mounted(scripted.url).get(scripted.url, timeout=30)
    assert response.status_code == (200 if renewed else 401)
    assert len(scripted.requests) == (2 if renewed else 1)
    assert len(set(bearers(scripted))) == len(scripted.requests)


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 407, 500])
def test_only_a_401_is_a_refusal(
    mounted: Mounted, scripted: ScriptedServer, token_service: TokenService, status: int
) -> None:
    """Whatever else a response says, it is the answer."""
    scripted.script.append(answer(status, headers=[("WWW-Authenticate", 'Bearer error="invalid_token"')]))
    assert mounted(scripted.url).get(scripted.url, timeout=30).status_code == status
    assert len(token_service.requests) == 1


def test_renewal_can_be_turned_off(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """With ``renew_on=()`` the 401 is the answer and the token stays."""
    session = mounted(renew_on=())
    api.fail_next(401)
    assert session.get(api.base_url + "test", timeout=30).status_code == 401
    assert session.get(api.base_url + "test", timeout=30).status_code == 200
    assert len(token_service.requests) == 1


def test_a_renewal_that_fails_leaves_the_refusal(
    mounted: Mounted,
    api: ProtectedApi,
    token_service: TokenService,
    management: AccessTokenManagement,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller gets the API's 401, whole, and the log says why there was no new token."""
    session = mounted()
    session.get(api.base_url + "test", timeout=30)
    token_service.revoke_all()
    token_service.fail_always(400, {"error": "invalid_client"})
    response = session.get(api.base_url + "test", timeout=30)
    assert response.status_code == 401
    assert response.json()["error"] == "invalid_token"
    assert response.history == []
    (message,) = [r.getMessage() for r in caplog.records if "could not be renewed" in r.getMessage()]
    assert message.startswith("token client 'worker': the API answered 401 and the token could not be renewed: token")
    assert "invalid_client" in message


def test_a_server_that_issues_the_same_token_again(mounted: Mounted, scripted: ScriptedServer) -> None:
    """The same token would be refused again, so it is not sent again."""
    scripted.default = answer(401, b"no")
    with (
        ScriptedServer(default=answer(200, {"access_token": "same", "token_type": "Bearer"})) as tokens,
        AccessTokenManagement() as management,
    ):
        management.add_client("a", token_endpoint=tokens.token_endpoint, client_id="m2m", client_secret="secret")
        session = requests.Session()
        management.mount(session, scripted.url)
        assert session.get(scripted.url, timeout=30).text == "no"
        assert len(tokens.requests) == 2
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", True),
        (b"x" * MAX_DRAINED, True),
        # Its rest is in the connection's buffer already, which nobody sees from outside.
        (b"x" * (MAX_DRAINED + 9_000), False),
        (b"x" * (MAX_DRAINED + 20_000), False),
    ],
    ids=["empty", "small", "a little too large", "large"],
)
def test_the_connection_of_a_refusal(mounted: Mounted, scripted: ScriptedServer, body: bytes, kept: bool) -> None:
    """A small refusal is read and its connection used again; a large one is not read to its end."""
    scripted.script.append(answer(401, body))
    response = mounted(scripted.url).get(scripted.url, timeout=30)
    assert response.text == "fine"
    assert scripted.connections == (1 if kept else 2)
    assert response.history[0].content == (body if kept else b"")
    assert b"".join(response.history[0].iter_content(1_000)) == response.history[0].content


def test_a_refusal_that_is_compressed(mounted: Mounted, scripted: ScriptedServer) -> None:
    """What it says can be read in the history, as that of any response."""
    scripted.script.append(answer(401, gzip.compress(b"expired"), [("Content-Encoding", "gzip")]))
    response = mounted(scripted.url).get(scripted.url, timeout=30)
    assert response.history[0].text == "expired"


def test_a_refusal_that_breaks_off_is_no_obstacle(mounted: Mounted, scripted: ScriptedServer) -> None:
    """Its body does not matter, so neither does its end."""
    scripted.script.append(broken_off(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nhalf"))
    response = mounted(scripted.url).get(scripted.url, timeout=30)
    assert response.text == "fine"
    assert response.history[0].status_code == 401
    assert response.history[0].content == b""


def test_a_streamed_answer_stays_unread(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """With ``stream=True`` the answer, renewed or not, is the caller's to read."""
    session = mounted()
    session.get(api.base_url + "test", timeout=30)
    token_service.revoke_all()
    with session.get(api.base_url + "test", stream=True, timeout=30) as response:
        assert response.status_code == 200
        assert vars(response)["_content"] is False
        assert b"client_id" in next(response.iter_content(None))


# Bodies


class ForgetfulFile(io.BytesIO):
    """Has a position and cannot go back to it."""

    def seek(self, *args: Any) -> int:
        raise OSError("no")


class LyingFile(io.BytesIO):
    """Once it was read, it says that it goes back and does not."""

    done = False

    def read(self, *args: Any) -> bytes:
        data = super().read(*args)
        self.done = not data
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset + 1 if self.done else offset, whence)


class UnseekableFile(io.BytesIO):
    def seekable(self) -> bool:
        return False


class PlainFile:
    """What can be read and sought, and says nothing else of itself."""

    def __init__(self, content: bytes) -> None:
        whole = io.BytesIO(content)
        self.read, self.seek, self.tell = whole.read, whole.seek, whole.tell

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")


class ReadOnly:
    """Can be read, and that is all."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)
        self.len = len(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._file)


CONTENT = bytes(range(256)) * 1_000
TEXT = "héllo wörld\n" * 5_000


def advanced(file: io.BytesIO, by: int) -> io.BytesIO:
    file.seek(by)
    return file


def closes_itself(content: bytes) -> io.BytesIO:
    class Closing(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            data = super().read(*args)
            if not data:
                self.close()
            return data

    return Closing(content)


@pytest.fixture
def refused_once(api: ProtectedApi, mounted: Mounted, token_service: TokenService) -> requests.Session:
    """A session whose cached token is revoked."""
    session = mounted()
    session.get(api.base_url + "test", timeout=30)
    token_service.revoke_all()
    api.requests.clear()
    return session


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _: {"data": CONTENT}, CONTENT),
        (lambda _: {"data": TEXT}, TEXT.encode()),
        (lambda _: {"data": {"a": "1", "b": ["2", "3"]}}, b"a=1&b=2&b=3"),
        (lambda _: {"json": [1, "é"]}, b'[1, "\\u00e9"]'),
        (lambda _: {"files": {"f": ("name", CONTENT)}}, None),
        (lambda path: {"files": {"f": path.open("rb")}}, None),
        (lambda path: {"data": path.open("rb")}, CONTENT),
        (lambda _: {"data": io.BytesIO(CONTENT)}, CONTENT),
        (lambda _: {"data": advanced(io.BytesIO(CONTENT), 1_000)}, CONTENT[1_000:]),
        (lambda _: {"data": PlainFile(CONTENT)}, CONTENT),
        (lambda _: {"data": io.StringIO("plain ascii text")}, b"plain ascii text"),
        (lambda _: {"data": bytearray(b"abc")}, b"abc"),
        (lambda _: {}, b""),
    ],
    ids=[
        "bytes",
        "text",
        "form",
        "json",
        "multipart of bytes",
        "multipart of a file",
        "file",
        "BytesIO",
        "file that has advanced",
        "no more of a file than it takes",
        "StringIO",
        "bytearray",
        "nothing",
    ],
)
def test_bodies_that_can_be_sent_again(
    refused_once: requests.Session,
    api: ProtectedApi,
    tmp_path: Path,
    make: Callable[[Path], dict[str, Any]],
    expected: bytes | None,
) -> None:
    """After a 401 the same body is sent again, whole, from where it started."""
    path = tmp_path / "body"
    path.write_bytes(CONTENT)
    options = make(path)
    response = refused_once.post(api.base_url + "upload", timeout=30, **options)
    for file in (options.get("data"), *options.get("files", {}).values()):
        if hasattr(file, "close"):
            file.close()
    assert response.status_code == 200
    first, second = (request.body for request in api.requests)
    assert first == second
    if expected is not None:
        assert second == expected
        assert response.json() == {"length": len(expected), "sha256": hashlib.sha256(expected).hexdigest()}


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([CONTENT[:1_000], CONTENT[1_000:]]),
        lambda: (chunk for chunk in [CONTENT]),
        lambda: ReadOnly(CONTENT),
        lambda: UnseekableFile(CONTENT),
        lambda: ForgetfulFile(CONTENT),
        lambda: LyingFile(CONTENT),
        lambda: closes_itself(CONTENT),
    ],
    ids=["iterator", "generator", "read only", "not seekable", "seek fails", "seek lies", "closed by reading"],
)
def test_bodies_that_cannot_be_sent_again(
    refused_once: requests.Session, api: ProtectedApi, token_service: TokenService, make: Callable[[], Any]
) -> None:
    """The 401 is the answer; the body is never sent again, neither empty nor in part. The next call has a new token."""
    response = refused_once.post(api.base_url + "upload", data=make(), timeout=30)
    assert response.status_code == 401
    assert [request.body for request in api.requests] == [CONTENT]
    assert len(token_service.requests) == 2
    assert refused_once.get(api.base_url + "test", timeout=30).status_code == 200
    assert len(token_service.requests) == 2


def test_a_text_file_is_sent_again(refused_once: requests.Session, api: ProtectedApi, tmp_path: Path) -> None:
    """A file opened as text, whose position is no number of characters, goes back to where it started."""
    path = tmp_path / "text"
    path.write_text("0123456789" * 5_000, encoding="ascii")
    with path.open(encoding="ascii") as file, pytest.warns(FileModeWarning):
        response = refused_once.post(api.base_url + "upload", data=file, timeout=30)
    assert response.status_code == 200
    assert [request.body for request in api.requests] == [path.read_bytes()] * 2


# Inner adapters


class Caching(BaseAdapter):
    """Keeps every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, requests.Response] = {}
        self.requests: list[requests.PreparedRequest] = []
        self.closed = False
        self._http = HTTPAdapter()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        self.requests.append(request)
        url = request.url or ""
        if url not in self.kept:
            self.kept[url] = self._http.send(request, stream, timeout, verify, cert, proxies)
        return self.kept[url]

    def close(self) -> None:
        self.closed = True


def test_a_caching_inner_adapter(mounted: Mounted, api: ProtectedApi) -> None:
    """It sees the authorized copies, and what it keeps never holds the token once the caller has it."""
    inner = Caching()
    session = mounted(inner=inner)
    one = session.get(api.base_url + "test", timeout=30)
    two = session.get(api.base_url + "test", timeout=30)
    assert one.json() == two.json()
    assert len(api.requests) == 1
    assert all("Authorization" in request.headers for request in inner.requests)
    assert all("Authorization" not in kept.request.headers for kept in inner.kept.values())
    session.close()
    assert inner.closed


def test_a_retrying_inner_adapter(mounted: Mounted, api: ProtectedApi) -> None:
    """urllib3's retries of the inner adapter carry the token too."""
    session = mounted(inner=HTTPAdapter(max_retries=urllib3.Retry(3, status_forcelist=[503])))
    api.fail_next(503, times=2)
    assert session.get(api.base_url + "test", timeout=30).ok
    assert [request.scheme for request in api.requests] == ["Bearer"] * 3


def test_an_inner_adapter_without_a_connection(mounted: Mounted, token_service: TokenService) -> None:
    """An answer that came over no wire, as a cache's, has its challenge in the headers alone."""
    challenges = ['Bearer error="insufficient_scope"', 'Bearer error="invalid_token"', "Bearer"]

    class Memory(BaseAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            response = requests.Response()
            response.status_code = 401
            response.url = request.url or ""
            response._content = b""
            response.headers["WWW-Authenticate"] = challenges.pop(0)
            return response

        def close(self) -> None:
            pass

    session = mounted("https://api.example.com/", inner=Memory())
    assert session.get("https://api.example.com/", timeout=30).status_code == 401
    assert len(token_service.requests) == 1
    assert session.get("https://api.example.com/", timeout=30).status_code == 401
    assert len(token_service.requests) == 2


def test_an_outer_adapter_may_call_by_position(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """Caching libraries call ``send`` with positional arguments; the adapter may be anybody's inner one."""
    outer = Caching()
    outer._http = AccessTokenAdapter(management.service, "worker", prefix=api.base_url)
    session = requests.Session()
    session.mount("http://", outer)
    assert session.get(api.base_url + "test", timeout=30).ok
    assert "Authorization" not in outer.requests[0].headers


class _UnixConnection(HTTPConnection):
    path = ""

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        return connection


class UnixAdapter(HTTPAdapter):
    """Sends everything to one unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        connection = type("Connection", (_UnixConnection,), {"path": self._path})
        pool = type("Pool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": connection})
        self.poolmanager.pool_classes_by_scheme = {"http": pool}


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")
def test_a_unix_socket(mounted: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API behind a unix socket is a loopback host with an inner adapter."""
    monkeypatch.chdir(tmp_path)
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("api.sock")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nunix")

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        session = mounted("http://localhost/", inner=UnixAdapter("api.sock"))
        assert session.get("http://localhost/test", timeout=30).text == "unix"
        server.join(30)
    assert b"\r\nAuthorization: Bearer " in received[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inner": "https://"}, "AccessTokenAdapter: inner must be a transport adapter of requests, not str"),
        ({"inner": requests.Session()}, "not a session, which would follow redirects with the token; give its adapter"),
        ({"client": ["worker"]}, "AccessTokenAdapter: the name of a token client must be printable text"),
    ],
)
def test_options_that_cannot_work(management: AccessTokenManagement, options: dict[str, Any], sentence: str) -> None:
    """Are refused when the adapter is made, not at the first call."""
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        management.mount(requests.Session(), "https://api.example.com/", **options)


@pytest.mark.parametrize("session", [None, requests.Session, HTTPAdapter()])
def test_what_is_no_session(management: AccessTokenManagement, session: Any) -> None:
    """Is refused by its kind, before anything is mounted."""
    with pytest.raises(ConfigurationError, match=r"mount: session must be a requests\.Session, not \w+"):
        management.mount(session, "https://api.example.com/")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_retries": "3"}, "max_retries must be a whole number from 0 on"),
        ({"max_retries": -1}, "max_retries must be a whole number from 0 on"),
        ({"max_retries": None}, "max_retries must be a whole number from 0 on"),
        ({"pool_maxsize": 0}, "pool_maxsize must be a whole number from 1 on"),
        ({"pool_connections": True}, "pool_connections must be a whole number from 1 on"),
        ({"pool_connections": urllib3.Retry(3)}, "pool_connections must be a whole number from 1 on"),
    ],
)
def test_what_is_no_number(management: AccessTokenManagement, options: dict[str, Any], said: str) -> None:
    """Is refused where it is given; requests would take it, and fail at the first request or the first retry."""
    with pytest.raises(ConfigurationError, match=f"AccessTokenAdapter: {said}"):
        management.mount(requests.Session(), "https://api.example.com/", **options)


def test_options_belong_to_who_sends(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """Options of an ``HTTPAdapter`` together with an inner adapter would have no effect, so they are refused."""
    with pytest.raises(ConfigurationError, match="max_retries, pool_maxsize: the inner adapter sends, so give these"):
        AccessTokenAdapter(management.service, prefix=api.base_url, inner=HTTPAdapter(), pool_maxsize=5, max_retries=3)
    misspelt: Any = {"pool_maxsiz": 5}
    with pytest.raises(TypeError, match="AccessTokenAdapter has no keyword 'pool_maxsiz'; did you mean 'pool_maxsize'"):
        AccessTokenAdapter(management.service, prefix=api.base_url, inner=HTTPAdapter(), **misspelt)
    adapter = AccessTokenAdapter(management.service, prefix=api.base_url, pool_maxsize=5, max_retries=3)
    assert adapter.max_retries.total == 3
    assert vars(adapter)["_pool_maxsize"] == 5


def test_a_proxy(mounted: Mounted, scripted: ScriptedServer, token_service: TokenService) -> None:
    """The session's proxy is used; one on another machine never sees a token that is for this machine."""
    session = mounted("http://localhost:1/")
    session.proxies = {"http": scripted.url}
    assert session.get("http://localhost:1/test", timeout=30).text == "fine"
    assert scripted.requests[0].target == "http://localhost:1/test"
    assert bearers(scripted) == [f"Bearer {token_service.tokens[0].value}"]
    session.proxies = {"http": "http://proxy.example.com:3128"}
    with pytest.raises(requests.ConnectionError, match="Connection refused"):
        session.get("http://localhost:1/test", timeout=30)


# Errors


def everything(error: BaseException) -> str:
    """What a crash reporter could show: messages, locals of all frames but the test's own, and what hangs on it."""
    shown: list[str] = []
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        below = current.__traceback__.tb_next if current is error and current.__traceback__ else current.__traceback__
        trace = traceback.TracebackException(type(current), current, below, capture_locals=True)
        shown += trace.format(chain=False)
        request = getattr(current, "request", None)
        shown.append(repr(getattr(request, "headers", None)))
        shown.append(repr(vars(current)))
        pending += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return "\n".join(shown)


@pytest.mark.parametrize("action", [reset, broken_off(b"SSH-2.0\r\n")])
def test_an_error_of_the_api_shows_no_token(
    mounted: Mounted, scripted: ScriptedServer, token_service: TokenService, action: Any
) -> None:
    """The error has the caller's own request, says where it came from, and shows the token in no frame."""
    scripted.script.append(action)
    session = mounted(scripted.url)
    with pytest.raises(requests.ConnectionError) as failure:
        session.get(scripted.url, headers={"X-Mine": "1"}, timeout=30)
    error = failure.value
    assert error.request is not None
    assert error.request.headers["X-Mine"] == "1"
    assert "Authorization" not in error.request.headers
    assert error.__context__ is not None
    assert "urlopen" in [frame.name for frame in traceback.extract_tb(error.__context__.__traceback__)]
    assert token_service.tokens[0].value not in everything(error)


def test_an_error_that_is_none_of_requests(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """Whatever is raised below, by the caller's own body for example, keeps its places and shows no token."""

    def body() -> Iterator[bytes]:
        yield b"first"
        raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller") as failure:
        mounted().post(api.base_url + "upload", data=body(), timeout=30)
    assert traceback.extract_tb(failure.value.__traceback__)[-1].name == "body"
    assert token_service.tokens[0].value not in everything(failure.value)


def test_a_response_on_an_error_has_the_callers_request(mounted: Mounted, api: ProtectedApi) -> None:
    """An inner adapter that raises with its response raises it with the caller's request on both."""

    class Strict(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            response = super().send(*args, **kwargs)
            response.raise_for_status()
            return response

    api.fail_next(500)
    with pytest.raises(requests.HTTPError) as failure:
        mounted(inner=Strict()).get(api.base_url + "test", timeout=30)
    assert failure.value.request is not None
    assert failure.value.response is not None
    assert failure.value.response.request is failure.value.request
    assert "Authorization" not in failure.value.request.headers


def test_what_the_caller_was_handling_is_left_alone(mounted: Mounted, scripted: ScriptedServer) -> None:
    """An error in the middle of the caller's own error handling leaves the variables of that one's frames."""

    def fails_first() -> None:
        clue = "needed by the debugger"
        raise ValueError(len(clue))

    scripted.script.append(reset)
    session = mounted(scripted.url)

    def fails_twice() -> None:
        try:
            fails_first()
        finally:
            session.get(scripted.url, timeout=30)

    with pytest.raises(requests.ConnectionError) as second:
        fails_twice()
    contexts = [second.value.__context__]
    while contexts[-1] is not None:
        contexts.append(contexts[-1].__context__)
    (first,) = [context for context in contexts if isinstance(context, ValueError)]
    *_, (frame, _) = traceback.walk_tb(first.__traceback__)
    assert frame.f_locals == {"clue": "needed by the debugger"}


def test_a_request_without_a_token_is_not_sent(
    mounted: Mounted, api: ProtectedApi, token_service: TokenService
) -> None:
    """The error is a ``RequestException`` with the API request on it; the API hears nothing."""
    token_service.fail_always(400, {"error": "invalid_scope"})
    request = requests.Request("GET", api.base_url + "test").prepare()
    with pytest.raises(TokenEndpointError) as failure:
        mounted().send(request, timeout=30)
    assert failure.value.request is request
    request.prepare_auth(TokenRequestParameters(scope="reports"))
    with pytest.raises(TokenEndpointError, match="invalid_scope") as failure:
        mounted().send(request, timeout=30)
    assert failure.value.request is request
    assert api.requests == []


@pytest.mark.parametrize(
    "timeout", [0.05, (30, 0.05), urllib3.Timeout(connect=30, read=0.05)], ids=["seconds", "pair", "urllib3"]
)
def test_the_read_timeout_bounds_the_wait_for_a_token(
    mounted: Mounted, api: ProtectedApi, token_service: TokenService, timeout: Any
) -> None:
    """In each form that requests takes."""
    session = mounted()
    with token_service.hold(), pytest.raises(TokenRequestTimeout, match=r"no token within 0\.05 s"):
        session.get(api.base_url + "test", timeout=timeout)


@pytest.mark.parametrize(
    "timeout", [None, (0.05, None), urllib3.Timeout(connect=0.05)], ids=["none", "pair", "urllib3"]
)
def test_without_a_read_timeout_the_fetch_is_waited_for(
    mounted: Mounted, api: ProtectedApi, token_service: TokenService, timeout: Any
) -> None:
    """The backchannel bounds it; the connect timeout has nothing to do with it."""
    session = mounted()
    answers: list[requests.Response] = []
    caller = threading.Thread(target=lambda: answers.append(session.get(api.base_url + "test", timeout=timeout)))
    with token_service.hold():
        caller.start()
        token_service.wait_for_requests(1)
        caller.join(0.1)
        assert caller.is_alive()
    caller.join(30)
    assert answers[0].ok


def test_a_timeout_that_makes_no_sense_is_told_by_requests(mounted: Mounted, api: ProtectedApi) -> None:
    """A triple is the same error as on a plain session."""
    with pytest.raises(ValueError, match="Pass a \\(connect, read\\) timeout tuple"):
        mounted().get(api.base_url + "test", timeout=(1, 2, 3))  # type: ignore[arg-type]


# Pickles


def test_a_session_travels_or_says_why_not(mounted: Mounted, api: ProtectedApi) -> None:
    """A session that cannot be pickled refuses in one clear sentence."""
    with pytest.raises(TypeError) as refusal:
        pickle.dumps(mounted())
    assert "is pickled by reference only: give it a name" in str(refusal.value)
    assert str(refusal.value).isprintable()
