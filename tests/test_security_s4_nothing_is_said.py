"""S4: secrets and tokens are in no log line, repr, str, exception, traceback with locals, event, pickle, or argv.

The search itself is `taint`, which watches the whole suite. Here is shown that it finds what gets out, and what is
searched for where it is hardest: in errors from within requests and urllib3, and in the answers of servers that repeat
what they were sent.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import logging
import pickle
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus

import pytest
import requests
from requests.adapters import HTTPAdapter

from requests_cc_token import (
    AccessTokenManagement,
    CCTokenError,
    ClientCredentialsClient,
    ConfigurationError,
    TokenEndpointError,
    TokenRequestError,
    configure,
)
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.config import read_plan
from requests_cc_token.endpoint.answer import Answer
from requests_cc_token.expiry import Moment
from requests_cc_token.session_options import SessionDescription

from .scripted_server import Action, Request, ScriptedServer, answer, broken_off, reset, token_answer

SECRET = "T41NT-secret"
TOKEN = "T41NT-token"
MARK = "T41NT"

#: A way out each, as the lines of a test; ``SECRET`` is marked.
LEAKS = {
    "log": "logging.getLogger('requests_cc_token').warning('%s', SECRET)",
    "logged_traceback": """
        try:
            raise KeyError(SECRET)
        except KeyError:
            logging.exception('no')
    """,
    "stdout": "print(SECRET)",
    "stderr": "print(SECRET, file=sys.stderr)",
    "captured": """
        print(SECRET)
        capsys.readouterr()
    """,
    "repr": "client = ClientCredentialsClient(SECRET, issuer='https://t.test/', client_id='a', client_secret='b')",
    "error": """
        with pytest.raises(ValueError):
            raise ConfigurationError(SECRET)
    """,
    "cause": """
        with pytest.raises(KeyError):
            try:
                raise ValueError(SECRET)
            except ValueError as error:
                raise KeyError(1) from error
    """,
    "attribute": """
        error = ValueError()
        error.hidden = SECRET
        with pytest.raises(ValueError):
            raise error
    """,
    "variable": """
        scope = {}
        exec(compile('def f(value): raise ValueError', 'room.py', 'exec'), scope)
        with pytest.raises(ValueError):
            scope['f'](SECRET)
    """,
    "event": "Events().emit(TokenEvent('requested', SECRET))",
    "argv": "subprocess.run([sys.executable, '-c', 'pass', SECRET])",
    "child": "subprocess.run([sys.executable, '-c', 'print(\"T41\" + \"NT\")'], capture_output=True)",
    "response": """
        response = requests.Response()
        response.connection = AccessTokenAdapter(AccessTokenManagement().service, prefix='https://a.test/')
        response.request = requests.Request('GET', 'https://a.test', headers={'Authorization': SECRET}).prepare()
    """,
}

PLANTED = """
import logging, subprocess, sys, warnings
import pytest, requests
from requests_cc_token import AccessTokenAdapter, AccessTokenManagement, ClientCredentialsClient, ConfigurationError
from requests_cc_token.events import Events, TokenEvent

SECRET = 'T41' + 'NT'

def test_clean():
    assert SECRET
"""

WARNS = "import warnings\n\ndef test_warns():\n    warnings.warn('T41' + 'NT')\n"


def test_s4_the_search_finds_a_planted_leak(tmp_path: Path) -> None:
    """A test that lets a secret out by any way fails for that reason, and one that does not passes."""
    code = PLANTED
    for name, leak in LEAKS.items():
        fixture = "capsys" if name == "captured" else ""
        code += f"\ndef test_{name}({fixture}):\n{textwrap.indent(textwrap.dedent(leak), '    ')}\n"
    status, text = run_with_the_search(tmp_path, code)
    outcome = dict(re.findall(r"::test_(\w+) (PASSED|FAILED|ERROR)", text))
    assert outcome.pop("clean", text) == "PASSED"
    assert {name for name, verdict in outcome.items() if verdict != "PASSED"} == set(LEAKS)
    assert text.count("a secret got out") >= len(LEAKS)
    assert status == 1
    status, text = run_with_the_search(tmp_path, WARNS)
    assert "a secret got out: warning in" in text
    assert status == 1


def run_with_the_search(folder: Path, code: str) -> tuple[int, str]:
    """The exit status and the output of pytest over these tests."""
    planted = folder / "test_planted.py"
    planted.write_text(code, encoding="utf-8")
    said = folder / "said"
    with said.open("wb") as file:
        # Into a file: what a child says to us is searched, too.
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "tests.taint", "-vv", "-rN", f"--rootdir={folder}", str(planted)],
            cwd=Path(__file__).parent.parent,
            stdout=file,
            stderr=file,
            check=False,
            timeout=120,
        )
    return run.returncode, said.read_text(encoding="utf-8")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """The token service at ``/token`` and the API elsewhere."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def management(server: ScriptedServer) -> Iterator[AccessTokenManagement]:
    """A management of one client and one session."""
    with AccessTokenManagement() as management:
        management.configure_backchannel(wait=())
        management.add_client("worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=SECRET)
        management.add_session("api", base_url=server.url + "api/")
        yield management


def everything_said(error: BaseException) -> str:
    """An error as the most talkative crash reporter shows it, without the frames of the tests."""
    texts = []
    current: BaseException | None = error
    while current is not None:
        texts += [str(current), repr(current), str(vars(current))]
        texts.append(str(getattr(getattr(current, "request", None), "headers", "")))
        for frame, _ in traceback.walk_tb(current.__traceback__):
            if not frame.f_code.co_filename.startswith(str(Path(__file__).parent)):
                texts.append(str({name: shown(value) for name, value in frame.f_locals.items()}))
        current = current.__cause__ or current.__context__
    return "\n".join(texts)


def shown(value: object) -> str:
    """The repr of a variable, which may be of something half made."""
    try:
        return repr(value)
    except AttributeError:
        return "?"


def caught(call: Callable[[], Any], kind: type[BaseException]) -> BaseException:
    """What the call raises."""
    with pytest.raises(kind) as info:
        call()
    return info.value


class Interrupted(BaseException):
    """What Ctrl-C, gevent and others raise: no ``Exception``."""


def interrupted(kind: type[BaseException]) -> Iterator[bytes]:
    """A body that fails while it is sent."""
    yield b"some"
    raise kind("in the middle")


class Talkative(HTTPAdapter):
    """An adapter of somebody else that keeps what it sends in its variables when it fails."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Fail."""
        headers = dict(request.headers)
        raise OSError(f"no {len(headers)}")


API_FAILURES: dict[str, tuple[Action, Callable[[requests.Session], Any], type[BaseException]]] = {
    "reset": (reset, lambda session: session.get("x"), requests.ConnectionError),
    "no http": (broken_off(b"\x00garbage\r\n\r\n"), lambda session: session.get("x"), requests.ConnectionError),
    "half": (
        broken_off(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        lambda session: session.get("x"),
        requests.RequestException,
    ),
    "too many redirects": (
        answer(302, b"", [("Location", "/api/x")]),
        lambda session: session.get("x"),
        requests.TooManyRedirects,
    ),
    "status": (answer(500), lambda session: session.get("x").raise_for_status(), requests.HTTPError),
    "json": (answer(200, b"{"), lambda session: session.get("x").json(), requests.JSONDecodeError),
    "invalid timeout": (answer(200), lambda session: session.get("x", timeout=cast("float", ("1", 2))), ValueError),
    "body raises": (
        answer(200),
        lambda session: session.post("x", data=interrupted(RuntimeError)),
        RuntimeError,
    ),
    "body interrupts": (
        answer(200),
        lambda session: session.post("x", data=interrupted(Interrupted)),
        Interrupted,
    ),
}


@pytest.mark.parametrize("how", API_FAILURES)
def test_s4_errors_of_an_api_call(server: ScriptedServer, management: AccessTokenManagement, how: str) -> None:
    """Whatever an API call ends with, neither the error nor a variable of any frame nor its pickle holds the token."""
    failing, call, kind = API_FAILURES[how]
    server.respond = lambda request: token_answer(TOKEN) if request.target == "/token" else failing
    session = management.make_session("api")
    assert management.service.get_access_token().value == TOKEN
    error = caught(lambda: call(session), kind)
    assert MARK not in everything_said(error)
    try:
        pickled = pickle.dumps(error)
    except (TypeError, AttributeError):
        return  # of what cannot be pickled
    assert MARK.encode() not in pickled


def test_s4_errors_of_an_inner_adapter(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """The variables of an inner adapter are gone too when its error leaves."""
    server.default = token_answer(TOKEN)
    session = requests.Session()
    management.mount(session, server.url, inner=Talkative())
    assert MARK not in everything_said(caught(lambda: session.get(server.url), OSError))


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/", "https://"])
def test_s4_errors_of_a_connection(management: AccessTokenManagement, server: ScriptedServer, target: str) -> None:
    """An API that cannot be reached, or whose TLS fails, costs no secret."""
    server.default = token_answer(TOKEN)
    url = target if target != "https://" else server.url.replace("http", "https")
    session = requests.Session()
    management.mount(session, url)
    error = caught(lambda: session.get(url, timeout=20), requests.ConnectionError)
    assert isinstance(error, requests.RequestException)
    assert error.request is not None
    assert "Authorization" not in error.request.headers
    assert MARK not in everything_said(error)
    assert MARK.encode() not in pickle.dumps(error)


def echo(request: Request) -> Action:
    """An answer that repeats everything it was sent."""
    said = f"{request.headers} {request.body.decode()} {request.form} {SECRET} {quote_plus(SECRET)}"
    return answer(401, {"error": SECRET, "error_description": said, "error_uri": said, "access_token": TOKEN})


TOKEN_FAILURES: dict[str, Action | None] = {
    "echo": None,
    "reset": reset,
    "garbage": broken_off(b"\x00\r\n\r\n"),
    "html with the secret": answer(502, f"<html>{SECRET}".encode()),
    "no token type": answer(200, {"access_token": TOKEN}),
    "secret as token type": answer(200, {"access_token": TOKEN, "token_type": SECRET}),
    "secret at the end of what is shown of a type": answer(
        200, {"access_token": TOKEN, "token_type": "x" * 95 + SECRET}
    ),
    "a redirect to the secret": answer(302, b"", [("Location", f"/login/{SECRET}")]),
    "a token that no header can carry": answer(200, {"access_token": TOKEN + "\r\n", "token_type": "Bearer"}),
    "not json": answer(200, f'{{"access_token": "{TOKEN}"'.encode()),
    "twice": answer(200, f'{{"access_token": "{TOKEN}", "access_token": "{TOKEN}"}}'.encode()),
    "a redirect": answer(307, b"", [("Location", f"https://evil.test/?{SECRET}")]),
}


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("how", TOKEN_FAILURES)
def test_s4_errors_of_a_token_request(
    server: ScriptedServer, how: str, auth: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a token request ends with, nothing that is said of it holds the secret, in any form, or a token."""
    failing = TOKEN_FAILURES[how]
    server.respond = echo if failing is None else lambda _: failing
    events: list[Any] = []
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(f"m2m:{SECRET}".encode()).decode()
    with AccessTokenManagement() as management:
        management.configure_backchannel(wait=())
        management.subscribe(events.append)
        management.add_client(
            "worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=SECRET, auth=auth
        )
        error = caught(management.service.get_access_token, TokenRequestError)
        said = [everything_said(error), str(events), *map(str, [e.error for e in events]), str(management.stats())]
    said += [caplog.text, pickle.dumps(error).decode("latin-1")]
    for text in said:
        assert MARK not in text
        assert encoded not in text


def test_s4_what_libraries_log(
    server: ScriptedServer, management: AccessTokenManagement, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger at DEBUG, no line of the package, of requests or of urllib3 holds a secret or a token."""
    caplog.set_level(logging.DEBUG)
    refusals = iter([answer(401), answer(200, b"ok"), answer(302, b"", [("Location", "/api/y")]), answer(200), reset])
    tokens = (token_answer(f"{TOKEN}{number}") for number in range(9))
    server.respond = lambda request: next(tokens) if request.target == "/token" else next(refusals)
    session = management.make_session("api")
    session.get("x")
    session.get("x")
    caught(lambda: session.get("x"), requests.ConnectionError)
    names = {record.name.partition(".")[0] for record in caplog.records}
    assert {"requests_cc_token", "urllib3"} <= names
    assert MARK not in caplog.text


def test_s4_a_subscriber_and_a_hook_see_no_token(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """What is handed to response hooks and subscribers holds no token."""
    server.respond = lambda request: token_answer(TOKEN) if request.target == "/token" else answer(200, b"ok")
    events: list[Any] = []
    management.subscribe(events.append)
    seen: list[requests.Response] = []
    session = management.make_session("api")
    session.hooks["response"].append(lambda response, **_: seen.append(response))
    session.get("x")
    assert MARK not in str(seen[0].request.headers)
    assert [event.kind for event in events] == ["requested", "obtained"]
    assert MARK not in str(events)


REGISTRATIONS: dict[str, Callable[[AccessTokenManagement], Any]] = {
    "an option that does not exist": lambda m: m.add_client(  # type: ignore[call-arg]
        "a", token_endpoint="https://t.test/", client_id="m", client_secret=SECRET, nope=1
    ),
    "a scope of two lines": lambda m: m.add_client(
        "a", token_endpoint="https://t.test/", client_id="m", client_secret=SECRET, scope="a\nb"
    ),
    "a method that does not exist": lambda m: m.add_client(
        "a", token_endpoint="https://t.test/", client_id="m", client_secret=SECRET, auth="nope"
    ),
    "a name that is taken": lambda m: m.add_client(
        "worker", token_endpoint="https://t.test/", client_id="m", client_secret=SECRET
    ),
    "a secret in a set": lambda m: m.add_client(
        "a", token_endpoint="https://t.test/", client_id="m", client_secret={SECRET}  # type: ignore[arg-type]
    ),
    "a secret in a list in a list": lambda m: m.add_client(
        "a", token_endpoint="https://t.test/", client_id="m", client_secret=[SECRET, [SECRET]]  # type: ignore[list-item]
    ),
    "a secret in a mapping": lambda m: m.add_client(
        "a", token_endpoint="https://t.test/", client_id="m", client_secret={"fiel": SECRET}
    ),
    "a secret in the URL": lambda m: m.add_client(
        "a", token_endpoint=f"https://m:{SECRET}@t.test/", client_id="m", client_secret=SECRET
    ),
    "plain http": lambda m: m.add_client(
        "a", token_endpoint=f"http://t.test/?key={SECRET}", client_id="m", client_secret=SECRET
    ),
    "a client of one's own": lambda m: ClientCredentialsClient("a", client_id="m", client_secret=SECRET),
    "a mapping": lambda m: AccessTokenManagement.from_config({"clients": {"a": {"client_secret": SECRET}}}),
    "the default's mapping": lambda m: configure({"clients": {"a": {"client_secret": SECRET}}}),
    "a mapping of the wrong type": lambda m: AccessTokenManagement.from_config(
        {"clients": {"a": {"token_endpoint": "https://t.test/", "client_id": 1, "client_secret": SECRET}}}
    ),
}


@pytest.mark.parametrize("how", REGISTRATIONS)
def test_s4_errors_of_a_registration(management: AccessTokenManagement, how: str) -> None:
    """A registration that is refused shows its secret neither in the message nor in the variables of any frame."""
    error = caught(lambda: REGISTRATIONS[how](management), Exception)
    assert isinstance(error, (ConfigurationError, TypeError))
    assert MARK not in everything_said(error)


@pytest.mark.parametrize(
    "text", ['client_secret = "{}"\nclient_id = ', 'client_secret = {{ fiel = "{}" }}', 'client_secret = ["{}"]']
)
def test_s4_errors_of_a_file(tmp_path: Path, text: str) -> None:
    """A file that is refused shows nothing of what it holds."""
    path = tmp_path / "worker.toml"
    path.write_text(
        "[clients.a]\ntoken_endpoint = 'https://t.test/'\nclient_id = 'm'\n".replace("client_id = 'm'\n", "")
        + text.format(SECRET),
        encoding="utf-8",
    )
    for call in (AccessTokenManagement.from_config, configure):
        error = caught(lambda call=call: call(path), ConfigurationError)  # type: ignore[misc]
        assert MARK not in everything_said(error)


def test_s4_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    """Python's own error has all of the file's bytes; it does not hang on ours."""
    path = tmp_path / "worker.toml"
    path.write_bytes(f"[clients.a]\nclient_secret = '{SECRET}'\n# ".encode() + b"\xff\n")
    for call in (AccessTokenManagement.from_config, configure):
        error = caught(lambda call=call: call(path), ConfigurationError)  # type: ignore[misc]
        assert "it is not UTF-8" in str(error)
        assert error.__context__ is None


def test_s4_secrets_that_callables_and_files_fail_to_give(tmp_path: Path, server: ScriptedServer) -> None:
    """A callable that raises with the secret in its hands, or returns it in the wrong type, shows nothing of it."""

    def raises() -> str:
        held = SECRET
        raise RuntimeError(f"{held} expired")

    for source in (raises, SECRET.encode, lambda: [SECRET], {"file": str(tmp_path / "none")}):
        with AccessTokenManagement() as management:
            management.configure_backchannel(wait=())
            management.add_client(
                "worker",
                token_endpoint=server.token_endpoint,
                client_id="m2m",
                client_secret=source,  # type: ignore[arg-type]
            )
            error = caught(management.service.get_access_token, CCTokenError)
            assert MARK not in everything_said(error)
            assert MARK not in repr(management) + repr(management._registry.find("worker").client_secret)


def test_s4_reprs(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """Repr and str of everything public, after use."""
    server.respond = lambda request: (
        token_answer(TOKEN, refresh_token=SECRET, id_token=SECRET) if request.target == "/token" else answer(200)
    )
    session: Any = management.make_session("api")
    session.get("x")
    token = management.service.get_access_token()
    client = management._registry.find("worker")
    adapter = session.get_adapter(session.base_url)
    for thing in (management, management.service, session, adapter, token, client, client.client_secret, client.auth):
        assert MARK not in f"{thing!r} {thing!s} {thing}"
    stream = io.StringIO()
    print(token, client, file=stream)
    assert MARK not in stream.getvalue()
    assert SECRET not in json.dumps([dataclasses.asdict(line) for line in management.stats()])


def test_s4_reprs_of_values_within_the_package() -> None:
    """Tables of a file, descriptions of sessions, answers of token services: tools that show locals meet these."""
    session = {"base_url": "https://api.test/", "headers": {"X-Key": SECRET}}
    client = {"client_id": "a", "client_secret": SECRET}
    plan = read_plan({"clients": {"a": client}, "sessions": {"api": session}}, None)
    assert "clients.a" in repr(plan)
    description = SessionDescription("https://api.test/", headers={"X-Key": SECRET})
    answered = Answer(TokenRequest("https://t.test/"), Moment(1, 2), 200, {"Set-Cookie": SECRET}, SECRET.encode())
    for thing in (plan, description, answered):
        assert MARK not in f"{thing!r} {thing!s} {thing}"


@pytest.mark.conformance("C21")
def test_s4_a_refresh_token_is_not_kept(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """A refresh token, which this grant does not bring, is dropped."""
    server.default = token_answer(TOKEN, refresh_token=SECRET)
    token = management.service.get_access_token()
    assert SECRET not in json.dumps(token.to_record())


def test_s4_a_description_without_the_secret(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """What a server repeats of the secret is blotted out, and the rest of what it says is kept."""
    server.default = answer(401, {"error": "invalid_client", "error_description": f"the secret {SECRET} is wrong"})
    error = caught(management.service.get_access_token, TokenEndpointError)
    assert isinstance(error, TokenEndpointError)
    assert error.error_description == "the secret *** is wrong"
    assert error.error == "invalid_client"


def test_s4_a_scope_without_the_secret(server: ScriptedServer, management: AccessTokenManagement) -> None:
    """A token shows its scope, so a credential that the server repeats there is blotted out."""
    server.default = token_answer(TOKEN, scope=f"read {SECRET}")
    token = management.service.get_access_token()
    assert token.scope == "read ***"
    assert MARK not in repr(token)


def test_s4_a_form_field_that_is_a_credential_by_its_name(
    server: ScriptedServer, management: AccessTokenManagement
) -> None:
    """A vendor's own credential is blotted out as the secret is; another field's value is repeated."""
    management.add_client(
        "vendor",
        token_endpoint=server.token_endpoint,
        client_id="m2m",
        client_secret=SECRET,
        parameters={"api_key": f"{MARK}-key", "tenant": "north"},
    )
    server.default = answer(400, {"error": "invalid_request", "error_description": f"{MARK}-key is not of north"})
    error = caught(lambda: management.service.get_access_token("vendor"), TokenEndpointError)
    assert isinstance(error, TokenEndpointError)
    assert error.error_description == "*** is not of north"
    assert MARK not in everything_said(error)
