"""``discover``: what an issuer or an API publishes, made into a configuration to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.cli.app import run
from requests_cc_token.config import read_file

from .scripted_server import Action, Request, ScriptedServer, answer, reset

ISSUER_PLACE = "/.well-known/oauth-authorization-server"
RESOURCE_PLACE = "/.well-known/oauth-protected-resource"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def publishes(server: ScriptedServer, places: Mapping[str, Action | Mapping[str, Any]]) -> None:
    """Have the server answer so at these paths, and with 404 elsewhere."""

    def respond(request: Request) -> Action:
        found = places.get(request.target, answer(404))
        return answer(200, found) if isinstance(found, Mapping) else found

    server.respond = respond


def issuer(server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"issuer": server.url.rstrip("/"), "token_endpoint": server.token_endpoint, **more}


def test_an_issuer(server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is a configuration that works once client id and secret are there."""
    metadata = issuer(
        server,
        token_endpoint_auth_methods_supported=["client_secret_basic", "private_key_jwt", 7],
        scopes_supported=["api", "reports"],
    )
    publishes(server, {ISSUER_PLACE: metadata})
    assert run(["discover", server.url]) == 0
    text = capsys.readouterr().out
    assert '# auth is one of "client_secret_basic", "private_key_jwt"\n' in text
    assert '# scope is some of "api", "reports"\n' in text
    config = tmp_path / "config.toml"
    config.write_text(text.replace('client_id = ""', 'client_id = "worker"'))
    with AccessTokenManagement.from_config(config) as management:
        assert management.clients["main"].issuer == metadata["issuer"]
    assert not any("authorization" in request.headers for request in server.requests)


@pytest.mark.parametrize("grants", [["implicit"], ["implicit", "client_credentials"], None])
def test_an_issuer_that_does_not_list_the_grant(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], grants: list[str] | None
) -> None:
    """The configuration says so; one that lists it, or no grants at all, needs no word."""
    publishes(server, {ISSUER_PLACE: issuer(server, grant_types_supported=grants)})
    assert run(["discover", server.url]) == 0
    said = '# it does not list the grant client_credentials, only "implicit"\n' in capsys.readouterr().out
    assert said is (grants == ["implicit"])


@pytest.mark.parametrize("place", [f"{ISSUER_PLACE}/realms/a", "/realms/a/.well-known/openid-configuration"])
def test_an_issuer_with_a_path(server: ScriptedServer, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The metadata is where RFC 8414 has it, or where OpenID Connect does."""
    publishes(server, {place: issuer(server)})
    assert run(["discover", server.url + "realms/a"]) == 0
    assert f"# {server.url.rstrip('/')}{place}\n" in capsys.readouterr().out


def test_an_api_that_publishes_its_metadata(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The first of its token services that publishes metadata is taken, and the session has its base URL."""
    resource = {
        "resource": server.url + "api",
        "authorization_servers": ["http://127.0.0.1:1/nobody", 5, server.url.rstrip("/")],
        "scopes_supported": ["of the api"],
    }
    publishes(server, {f"{RESOURCE_PLACE}/api": resource, ISSUER_PLACE: issuer(server, scopes_supported=["all"])})
    assert run(["discover", server.url + "api"]) == 0
    text = capsys.readouterr().out
    assert f'base_url = "{server.url}api"\nclient = "main"\n' in text
    assert f'resource = "{server.url}api"\n' in text
    assert '# scope is some of "of the api"\n' in text


def test_an_api_whose_challenge_names_its_metadata(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Where they are not in their usual place (RFC 9728 section 5); as JSON, both documents."""
    resource = {"resource": server.url + "api", "authorization_servers": [server.url.rstrip("/")]}
    challenge = f'Basic realm="x", Bearer resource_metadata="{server.url}elsewhere"'
    publishes(
        server,
        {
            "/api": answer(401, b"", [("WWW-Authenticate", challenge)]),
            "/elsewhere": resource,
            ISSUER_PLACE: issuer(server),
        },
    )
    assert run(["discover", server.url + "api", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"issuer": issuer(server), "resource": resource}
    assert run(["discover", server.url + "api"]) == 0


def test_an_issuer_as_json(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """No API was asked for, so there is none."""
    publishes(server, {ISSUER_PLACE: issuer(server)})
    assert run(["discover", server.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"issuer": issuer(server), "resource": None}


@pytest.mark.parametrize(
    "places",
    [
        {},
        {ISSUER_PLACE: answer(200, b"<html>")},
        {ISSUER_PLACE: answer(200, b"[" * 100_000)},
        {ISSUER_PLACE: answer(200, b"[1]")},
        {ISSUER_PLACE: {"issuer": "without an endpoint"}},
        {ISSUER_PLACE: reset},
        {"/": answer(401, b"", [("WWW-Authenticate", "Bearer")])},
        {"/": answer(401, b"", [("WWW-Authenticate", 'Bearer resource_metadata="file:///etc/passwd"')])},
        {"/": answer(401, b"", [("WWW-Authenticate", 'Bearer resource_metadata="http://["')])},
        {"/": answer(401, b"", [("WWW-Authenticate", 'Bearer resource_metadata="http://127.0.0.1/\x9b31m"')])},
        {RESOURCE_PLACE: {"authorization_servers": "no list"}},
        {RESOURCE_PLACE: {"authorization_servers": ["http://[", "http://127.0.0.1:1/\x1b[31m"]}},
        {RESOURCE_PLACE: {"authorization_servers": ["http://127.0.0.1:1/nobody"]}},
    ],
)
def test_what_publishes_nothing(
    server: ScriptedServer, places: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is there instead: one line, exit code 1."""
    publishes(server, places)
    assert run(["discover", server.url]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "publishes neither" in err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The same."""
    assert run(["discover", "http://127.0.0.1:1/"]) == 1
    assert "publishes neither" in capsys.readouterr().err


def test_a_password_in_the_url_is_not_repeated(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in what is found nor where nothing is."""
    host = server.url.removeprefix("http://")
    for place, code in ({ISSUER_PLACE: issuer(server)}, 0), ({}, 1):
        publishes(server, place)
        assert run(["discover", f"http://user:T41NT@{host}"]) == code
        printed = "".join(capsys.readouterr())
        assert "T41NT" not in printed
        assert f"http://***@{host}" in printed


def test_hostile_texts_stay_texts(server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quotes, line breaks and things that are no texts cannot add a line to the configuration."""
    evil = 'x"\nclient_secret = "theirs'
    publishes(server, {ISSUER_PLACE: {"issuer": evil, "token_endpoint": 7, "scopes_supported": [evil]}})
    assert run(["discover", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("client_secret")] == ['client_secret = { env = "CLIENT_SECRET" }']


def test_any_text_is_text_in_toml(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What TOML reads is what the issuer publishes, whatever character is in it; half of one is shown as such."""
    scopes = ["\U0001f511", "\x7f\x9b", '"\\', "caf\u00e9", "\ud800"]
    publishes(server, {ISSUER_PLACE: issuer(server, issuer="".join(scopes), scopes_supported=scopes)})
    assert run(["discover", server.url]) == 0
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    expected = "".join(scopes).replace("\ud800", "\N{REPLACEMENT CHARACTER}")
    config = tmp_path / "config.toml"
    config.write_text(text, encoding="utf-8")
    assert read_file(config)["clients"]["main"]["issuer"] == expected


def test_numbers_that_json_lacks(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """What --json prints is JSON, whatever Python takes for it."""
    published = b'{"token_endpoint": "x", "a": NaN, "b": [1, -Infinity, 1e999, 1.5]}'
    publishes(server, {ISSUER_PLACE: answer(200, published)})
    assert run(["discover", server.url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["issuer"]
    assert found == {"token_endpoint": "x", "a": None, "b": [1, None, None, 1.5]}


@pytest.mark.parametrize("url", ["ftp://a.test/", "a.test", "", "http://[", "http://a.test/\x1b[31m"])
def test_what_is_no_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage."""
    assert run(["discover", url]) == 2
    assert "no http or https URL" in capsys.readouterr().err
