"""Token clients: registrations that can work, and the key under which their tokens are kept."""

from __future__ import annotations

import base64
import dataclasses
import pickle
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import (
    AccessTokenManagement,
    ClientCredentialsClient,
    ClientSecretBasic,
    ClientSecretPost,
    ConfigurationError,
    DPoPKey,
    TokenEndpointError,
    TokenRequestParameters,
)
from requests_cc_token.authentication.by_name import client_authentication
from requests_cc_token.authentication.client_secret import form_encode
from requests_cc_token.authentication.method import Applicant, ClientAuthentication, TokenRequest
from requests_cc_token.clients import ClientOptions
from requests_cc_token.demand import Demand
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.secret_source import SecretSource

from .scripted_server import ScriptedServer, answer, token_answer

TAINT = "t41nted-s3cret"
ENDPOINT = "https://login.example.com/token"


def client(name: str = "a", **changes: Any) -> ClientCredentialsClient:
    options: dict[str, Any] = {"token_endpoint": ENDPOINT, "client_id": "m2m", "client_secret": TAINT}
    options.update(changes)
    return ClientCredentialsClient(name, **options)


def authenticated(registration: ClientCredentialsClient) -> TokenRequest:
    request = TokenRequest(ENDPOINT)
    registration.auth.authenticate(request, registration)
    return request


# Registration


def test_a_registration_is_a_value() -> None:
    """It holds what was given in one form, cannot be changed, and shows no secret."""
    registration = client(scope="api api read", resource="urn:a", audience="", parameters={"b": "2", "a": "t41nt"})
    assert registration.scope == ("api", "read")
    assert registration.resource == ("urn:a",)
    assert registration.audience is None
    assert registration.parameters == (("a", ("t41nt",)), ("b", ("2",)))
    assert isinstance(registration.auth, ClientSecretBasic)
    assert "t41nt" not in f"{registration!r} {registration}"
    assert "m2m" in repr(registration)
    with pytest.raises(dataclasses.FrozenInstanceError):
        registration.client_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("keyword", "sentence"),
    [
        ("scopes", "token client 'a' has no keyword 'scopes'; did you mean 'scope'?"),
        ("grand_type", "token client 'a' has no keyword 'grand_type'; did you mean 'grant_type'?"),
        ("x", "token client 'a' has no keyword 'x'"),
        ("name_", "token client 'a' has no keyword 'name_'"),
    ],
)
def test_a_keyword_that_there_is_not(keyword: str, sentence: str) -> None:
    """It is a ``TypeError`` as for any function, and says which keyword may have been meant."""
    with AccessTokenManagement() as management, pytest.raises(TypeError) as refusal:
        management.add_client("a", client_id="m2m", token_endpoint=ENDPOINT, **{keyword: TAINT})  # type: ignore[arg-type]
    assert str(refusal.value) == sentence


def test_a_client_without_an_id() -> None:
    """``client_id`` is the one keyword that must be there."""
    with pytest.raises(TypeError, match="token client 'a' lacks the keyword 'client_id'"):
        ClientCredentialsClient("a", token_endpoint=ENDPOINT)  # type: ignore[call-arg]


def test_the_keywords_are_known_to_whoever_asks() -> None:
    """Annotations can be evaluated, which documentation and dependency injection do, and name each field once."""
    fields = {field.name for field in dataclasses.fields(ClientCredentialsClient) if field.init}
    assert set(typing.get_type_hints(ClientOptions)) == fields - {"name"}
    for function in (AccessTokenManagement.add_client, ClientCredentialsClient.__init__):
        assert "options" in typing.get_type_hints(function)
    assert set(typing.get_type_hints(ClientCredentialsClient)) >= fields
    assert typing.get_type_hints(TokenRequestParameters.__init__)["force_renewal"] is bool


def test_a_registration_with_something_replaced() -> None:
    """``dataclasses.replace`` works: what a registration holds is taken as what was given."""
    one = client(
        scope="api",
        resource="app-id",
        allow_any_resource=True,
        parameters={"a": "1"},
        headers={"X-Key": "k"},
        authorization_details={"type": "t"},
    )
    two = dataclasses.replace(one, scope="other")  # type: ignore[arg-type]
    assert two.scope == ("other",)
    assert all(
        getattr(one, field.name) == getattr(two, field.name)
        for field in dataclasses.fields(one)
        if field.name not in ("scope", "mark")
    )


def test_what_a_vendor_wants_otherwise() -> None:
    """A grant type of another name, headers, a resource that is no URI, a token type taken for granted."""
    registration = client(
        grant_type="account_credentials",
        headers={"X-API-Key": TAINT, "User-Agent": "worker/1"},
        resource=["app-id", "app-id", "urn:a"],
        allow_any_resource=True,
        token_type="bearer",
    )
    assert registration.grant_type == "account_credentials"
    assert registration.headers == (("User-Agent", "worker/1"), ("X-API-Key", TAINT))
    assert registration.resource == ("app-id", "urn:a")
    assert registration.token_type == "Bearer"
    assert TAINT not in repr(registration)
    assert client().grant_type == "client_credentials"
    assert client(grant_type="!~").grant_type == "!~"
    assert client(headers={"X": "a\t ~\xa0\xffb"}).headers == (("X", "a\t ~\xa0\xffb"),)
    with pytest.raises(ConfigurationError, match="must be an absolute URI without a fragment; allow_any_resource=True"):
        client(resource="app-id")
    key = DPoPKey.generate()
    with pytest.raises(ConfigurationError, match=r"tokens for dpop=\.\.\. name their type themselves"):
        client(token_type="Bearer", dpop=key)


def test_what_a_registration_says_of_its_proofs(tmp_path: Path) -> None:
    """Whether its key may change while the program runs, and whether a wrong clock makes its token requests fail."""
    changes = client(dpop=DPoPKey({"file": str(tmp_path / "key")}))
    stays = client(dpop=DPoPKey.generate())
    signed = client(auth="client_secret_jwt", client_secret="x" * 32)
    assert [each.is_fixed for each in (client(), stays, changes, signed)] == [True, True, False, True]
    assert [each.makes_dated_proofs for each in (client(), stays, changes, signed)] == [False, True, True, True]


def test_a_token_request_as_a_vendor_wants_it(server: ScriptedServer) -> None:
    """The grant type and the headers are sent, by this client only."""
    server.default = token_answer("a-token")
    options: dict[str, Any] = {"token_endpoint": server.token_endpoint, "client_id": "m2m", "client_secret": TAINT}
    with AccessTokenManagement() as management:
        management.add_client("plain", **options)
        management.add_client(
            "vendor", **options, headers={"X-API-Key": "k", "User-Agent": "worker/1"}, grant_type="account_credentials"
        )
        for name in ("vendor", "plain"):
            management.service.get_access_token(name)
    vendor, plain = server.requests
    assert (vendor.headers["x-api-key"], vendor.headers["user-agent"]) == ("k", "worker/1")
    assert vendor.form["grant_type"] == ["account_credentials"]
    assert plain.form["grant_type"] == ["client_credentials"]
    assert plain.headers.get("x-api-key") is None


def test_a_registration_is_not_pickled() -> None:
    """It holds a secret, and the sentence says what to do instead."""
    with pytest.raises(TypeError, match="token client 'a' holds a secret and is not pickled; register it on the other"):
        pickle.dumps(client())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"token_endpoint": None}, "give its token_endpoint, or its issuer"),
        ({"token_endpoint": "http://login.example.com/"}, "token_endpoint http://login.example.com/ is plain http"),
        ({"token_endpoint": 5}, "token_endpoint must be text, not int"),
        ({"issuer": "http://login.example.com/"}, "issuer http://login.example.com/ is plain http"),
        ({"client_id": ""}, "client_id must be printable text"),
        ({"client_id": "a\nb"}, "client_id must be printable text"),
        ({"client_id": 5}, "client_id must be printable text"),
        ({"client_secret": None}, "client_secret_basic needs a client_secret"),
        ({"client_secret": None, "auth": "client_secret_post"}, "client_secret_post needs a client_secret"),
        ({"client_secret": ""}, "client_secret is empty"),
        ({"client_secret": 5}, "client_secret must be text, a callable"),
        ({"scope": "a\tb"}, "scope holds a character"),
        ({"scope": 5}, "scope must be text, or several texts, not int"),
        ({"resource": "a"}, "resource must be an absolute URI"),
        ({"audience": ["a"]}, "audience must be text, not list"),
        ({"parameters": {"client_secret": "x"}}, "'client_secret' is set by its own option"),
        ({"authorization_details": "x"}, "authorization_details must be"),
        ({"allow_http": "no"}, "allow_http must be true or false, not str"),
        ({"strict_scope": "no"}, "strict_scope must be true or false"),
        ({"allow_any_resource": 1}, "allow_any_resource must be true or false"),
        ({"resource": "", "allow_any_resource": True}, "resource must be text that UTF-8 can carry, and not empty"),
        ({"resource": [5], "allow_any_resource": True}, "resource must be text, not int"),
        ({"token_type": "mac"}, 'token_type must be "Bearer"'),
        ({"token_type": 5}, 'token_type must be "Bearer"'),
        ({"grant_type": ""}, "grant_type must be a name or URI without blanks"),
        ({"grant_type": "a b"}, "grant_type must be a name or URI without blanks"),
        ({"grant_type": "a\x7f"}, "grant_type must be a name or URI without blanks"),
        ({"grant_type": 5}, "grant_type must be a name or URI without blanks"),
        ({"headers": "x"}, "headers must be a mapping of names to texts"),
        ({"headers": {1: "x"}}, "headers must be a mapping of names to texts"),
        *(
            ({"headers": headers}, "headers must be such that HTTP can carry them")
            for headers in ({"a b": "x"}, {"a": "x\ny"}, {"a": " x"}, {"a": 5}, {"a": ""}, {"a": "\u20ac"}, {"a:": "x"})
        ),
        ({"headers": {"Authorization": TAINT}}, "the header 'authorization' is set by the package"),
        ({"headers": {"Content-Type": "x"}}, "the header 'content-type' is set by the package"),
        ({"customize_request": 5}, "customize_request must be a function"),
        ({"read_answer": "json.loads"}, "read_answer must be a function"),
        ({"audience": "a\ud800"}, "audience must be text that UTF-8 can carry"),
        ({"parameters": {"a": "b\ud800"}}, "the parameter 'a' must be text that UTF-8 can carry"),
        ({"parameters": {"a\udc00": "b"}}, "parameters: a name must be text that UTF-8 can carry"),
        *(
            ({"default_lifetime": value}, "default_lifetime must be a number of seconds, more than 0")
            for value in (0, -1, float("nan"), float("inf"), "300", True, None)
        ),
    ],
)
def test_registrations_that_cannot_work(changes: dict[str, Any], sentence: str) -> None:
    """The error comes with the registration, names the client, says what is wrong, and shows no secret."""
    with pytest.raises(ConfigurationError) as refusal:
        client(**changes)
    message = str(refusal.value)
    assert message.startswith("token client 'a': ")
    assert sentence in message
    assert TAINT not in message


def test_further_names_and_wants_are_the_same_registration() -> None:
    """``named`` gives a twin that differs in just that; a demand has what one request wants, else what is registered.

    Both leave the original alone.
    """
    original = client(scope="api", audience="x", parameters={"a": "1", "b": "2"})
    assert original.named("b").name == "b"
    assert Demand.of(original.named("b")).cache_key == Demand.of(original).cache_key
    plain = Demand.of(original)
    assert (plain.scope, plain.resource, plain.audience) == (original.scope, original.resource, original.audience)
    assert (plain.form_parameters, plain.authorization_details) == (original.parameters, None)
    twin = Demand.of(
        original,
        TokenRequestParameters(
            scope="write",
            resource="urn:r",
            audience="y",
            parameters={"b": "3", "c": "4"},
            authorization_details={"type": "t"},
        ),
    )
    assert (twin.scope, twin.resource, twin.audience) == (("write",), ("urn:r",), "y")
    assert twin.form_parameters == (("a", ("1",)), ("b", ("3",)), ("c", ("4",)))
    assert twin.authorization_details == '[{"type":"t"}]'
    assert (original.scope, original.parameters) == (("api",), (("a", ("1",)), ("b", ("2",))))
    assert Demand.of(original, TokenRequestParameters(scope="")).scope == ()


def test_the_stamp_changes_with_the_secret(tmp_path: Path) -> None:
    """A rotated secret is seen without reading it; one that never changes has one stamp."""
    file = tmp_path / "secret"
    file.write_text("one")
    registration = client(client_secret={"file": file})
    before = Demand.of(registration).stamp()
    assert Demand.of(registration).stamp() == before
    file.write_text("three")
    assert Demand.of(registration).stamp() != before
    assert Demand.of(client()).stamp() == Demand.of(client()).stamp()


def test_a_stamp_that_cannot_be_had_is_no_obstacle(token_service: TokenService) -> None:
    """A source of somebody's own whose stamp fails neither hangs nor hides the error of the fetch."""

    class Broken(SecretSource):
        def read(self) -> str:
            return TAINT

        def stamp(self) -> str:
            raise OSError("the vault")

    assert Demand.of(client(client_secret=Broken())).stamp() is None
    token_service.fail_always(400, {"error": "invalid_scope"})
    with AccessTokenManagement() as management:
        management.add_client("a", token_endpoint=token_service.token_endpoint, client_id="m2m", client_secret=Broken())
        for _ in range(2):
            with pytest.raises(TokenEndpointError, match="invalid_scope"):
                management.service.get_access_token()
    assert len(token_service.requests) == 1, "the second call was held off"


# The cache key

SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "token_endpoint": st.sampled_from([ENDPOINT, ENDPOINT + "/2", ENDPOINT + "?a"]),
    "issuer": st.sampled_from([None, "https://login.example.com", ENDPOINT]),
    "client_id": st.sampled_from(["m2m", "m2m.short", "api"]),
    "scope": st.frozensets(st.sampled_from(["api", "read", "api,read", "m2m"]), max_size=2).map(sorted),
    "resource": st.frozensets(st.sampled_from(["urn:a", "urn:b", "urn:a,urn:b"]), max_size=2).map(sorted),
    "audience": st.sampled_from([None, "api", "read"]),
    "parameters": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
    "authorization_details": st.sampled_from([None, [{"type": "a"}], [{"type": "b"}]]),
    "auth": st.sampled_from(["client_secret_basic", "client_secret_post"]),
    "default_lifetime": st.sampled_from([300.0, 60.0]),
    "strict_scope": st.booleans(),
    "grant_type": st.sampled_from(["client_credentials", "account_credentials"]),
    "token_type": st.sampled_from([None, "Bearer"]),
}


@given(st.fixed_dictionaries(SHAPES), st.fixed_dictionaries(SHAPES))
def test_keys_are_equal_where_the_requests_are(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Two registrations share a key exactly where everything that shapes the token request is the same."""
    assert (Demand.of(client(**one)).cache_key == Demand.of(client(**two)).cache_key) == (one == two)


@given(st.fixed_dictionaries(SHAPES), st.sampled_from(sorted(SHAPES)), st.data())
def test_one_difference_is_another_key(shape: dict[str, Any], field: str, data: st.DataObject) -> None:
    """A single field that differs makes another key."""
    other = {**shape, field: data.draw(SHAPES[field].filter(lambda value: value != shape[field]))}
    assert Demand.of(client(**shape)).cache_key != Demand.of(client(**other)).cache_key


def test_what_does_not_count_for_the_key() -> None:
    """Order of scopes and resources, name and permission for http are no part of the token request."""
    one = Demand.of(client("a", scope="x y", resource=["urn:a", "urn:b"]))
    two = Demand.of(client("b", scope="y x", resource=["urn:b", "urn:a"], allow_http=True))
    assert one.cache_key == two.cache_key
    assert len(one.cache_key) == 64
    assert set(one.cache_key) <= set("0123456789abcdef")


# Client authentication with a secret


@given(client_id=st.text(min_size=1).filter(str.isprintable), secret=st.text(min_size=1))
def test_basic_is_form_encoded_first(client_id: str, secret: str) -> None:
    """RFC 6749 section 2.3.1: a server that decodes both parts gets both back, whatever they hold."""
    header = authenticated(client(client_id=client_id, client_secret=secret)).headers["Authorization"]
    scheme, _, credentials = header.partition(" ")
    user, colon, password = base64.b64decode(credentials).decode("ascii").partition(":")
    assert (scheme, colon) == ("Basic", ":")
    assert (unquote_plus(user), unquote_plus(password)) == (client_id, secret)


def test_basic_may_be_raw() -> None:
    """``encoding="raw"`` sends id and secret as they are, for servers that never decode."""
    registration = client(client_id="a b+c", client_secret="d:e%f", auth=ClientSecretBasic(encoding="raw"))
    header = authenticated(registration).headers["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == b"a b+c:d:e%f"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a b", "a%20b"),
        ("a+b", "a%2Bb"),
        ("a~b", "a%7Eb"),
        ("a*b", "a*b"),
        ("é", "%C3%A9"),
        (":%&=/()", "%3A%25%26%3D%2F%28%29"),
    ],
)
def test_form_encoding(text: str, encoded: str) -> None:
    """As the HTML form encoding has it, which is what RFC 6749 appendix B refers to."""
    assert form_encode(text) == encoded


def test_post_puts_both_into_the_body() -> None:
    """``client_secret_post`` sends id and secret as fields and no header."""
    request = authenticated(client(auth=ClientSecretPost()))
    assert request.form == {"client_id": "m2m", "client_secret": TAINT}
    assert request.headers == {}


def test_a_token_request_shows_its_address_only() -> None:
    """Neither header nor form of a request under construction is in its repr; its credential is known by a hash."""
    for auth in (ClientSecretBasic(), ClientSecretPost()):
        request = authenticated(client(auth=auth))
        assert TAINT not in repr(request)
        assert ENDPOINT in repr(request)
        assert request.credential == authenticated(client(auth=auth)).credential
        assert request.credential != authenticated(client(auth=auth, client_secret="x")).credential


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("client_secret_basic", "ClientSecretBasic(encoding='form')"),
        ("client_secret_post", "ClientSecretPost()"),
        (ClientSecretBasic(encoding="raw"), "ClientSecretBasic(encoding='raw')"),
    ],
)
def test_methods_by_name_and_object(given: Any, shown: str) -> None:
    """A method is meant by its IANA name or by an object, and shows how it is set."""
    assert repr(client_authentication(given, "a")) == shown


@pytest.mark.parametrize("given", ["basic", "none", "", 5, {"client_secret": TAINT}, ClientSecretBasic], ids=repr)
def test_unknown_methods(given: Any) -> None:
    """The error lists the names there are and does not repeat what is no name."""
    with pytest.raises(ConfigurationError) as refusal:
        client_authentication(given, "token client 'a'")
    message = str(refusal.value)
    assert message.startswith("token client 'a': auth")
    assert " is no known method; one of " in message
    assert "client_secret_basic, client_secret_jwt" in message or "client_secret_basic, client_secret_post" in message
    assert TAINT not in message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ClientSecretBasic(encoding="url"),  # type: ignore[arg-type]
        lambda: client(client_id="a:b", auth=ClientSecretBasic(encoding="raw")),
    ],
)
def test_basic_that_cannot_be_sent(wrong: Callable[[], object]) -> None:
    """An unknown encoding, and an id whose colon the raw form cannot carry."""
    with pytest.raises(ConfigurationError, match=r"encoding|colon"):
        wrong()


def test_a_method_of_ones_own() -> None:
    """A method derived from the base authenticates each try, and one that uses no secret takes none."""

    class Header(ClientAuthentication):
        method = "x_header"

        def authenticate(self, request: TokenRequest, client: Applicant) -> None:
            request.headers["X-Client"] = client.client_id

    assert authenticated(client(client_secret=None, auth=Header())).headers == {"X-Client": "m2m"}
    one, registration = Header(), client(auth=Header(), client_secret=None)
    assert one.identity(registration)[0] == "x_header"
    assert one.identity(registration) == one.identity(registration) != Header().identity(registration)
    assert one.proof(registration, str.upper) == one.identity(registration)
    assert Header().stamp() is None
    assert repr(Header()) == "Header()"
    with pytest.raises(ConfigurationError, match="x_header uses no client_secret; leave it out"):
        client(auth=Header())
    with pytest.raises(NotImplementedError):
        ClientAuthentication().authenticate(TokenRequest(ENDPOINT), client())


@pytest.mark.parametrize(
    ("auth", "on_the_wire", "encoding"),
    [
        ("client_secret_basic", "client_secret_basic", "form"),
        ("client_secret_post", "client_secret_post", "form"),
        (ClientSecretBasic(encoding="raw"), "client_secret_basic", "raw"),
    ],
)
def test_a_real_server_accepts_each_method(
    token_service: TokenService, auth: Any, on_the_wire: str, encoding: Any
) -> None:
    """The embedded service, which is strict, takes id and secret with every special character there is."""
    client_id, secret = "m2m/a b+c%é~", "s:e c+r&e=t/%~*é"
    token_service.add_client(client_id, secret, scopes="api", auth_methods=[on_the_wire], basic_encoding=encoding)
    with AccessTokenManagement() as management:
        management.add_client(
            "a", token_endpoint=token_service.token_endpoint, client_id=client_id, client_secret=secret, auth=auth
        )
        token = management.service.get_access_token()
    assert token_service.find_token(token.value) is not None
    (request,) = token_service.requests
    assert (request.client_id, request.auth_method) == (client_id, on_the_wire)


def test_what_is_registered_is_what_is_asked_for(token_service: TokenService) -> None:
    """Scope, resources, audience and further parameters arrive; nothing else does."""
    token_service.add_client("m2m", TAINT, scopes="api read")
    with AccessTokenManagement() as management:
        (
            management.add_client(
                "a",
                token_endpoint=token_service.token_endpoint + "?tenant=t",
                client_id="m2m",
                client_secret=TAINT,
                scope=["api", "read"],
                resource=["urn:a", "urn:b"],
                audience="aud",
                parameters={"acr": "high", "empty": ""},
                authorization_details={"type": "t"},
            ),
        )
        management.service.get_access_token("a")
    (request,) = token_service.requests
    assert dict(request.form.lists()) == {
        "grant_type": ["client_credentials"],
        "scope": ["api read"],
        "resource": ["urn:a", "urn:b"],
        "audience": ["aud"],
        "acr": ["high"],
        "authorization_details": ['[{"type":"t"}]'],
    }
    assert dict(request.query.lists()) == {"tenant": ["t"]}


@pytest.mark.parametrize(
    ("secret", "advised"),
    [
        ({"env": "M2M_SECRET"}, True),
        ({"env_or_file": "M2M_SECRET"}, True),
        ([{"file": "secret"}, {"env": "M2M_SECRET"}], True),
        ({"file": "secret"}, False),
        ([{"file": "secret"}, lambda: TAINT], False),
        ({"env_or_file": "NAMES_A"}, False),
        (TAINT, False),
    ],
    ids=["env", "env_or_file", "file and env", "file", "file and function", "file by env_or_file", "text"],
)
@pytest.mark.parametrize("answered", [{"error": "invalid_client"}, {"error": "unauthorized_client"}, {}])
def test_a_refused_secret_of_the_environment_is_told_to_need_a_restart(
    server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    secret: Any,
    advised: bool,
    answered: dict[str, str],
) -> None:
    """Else `check` says that the new one is fine, and the worker goes on with what it was started with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(TAINT)
    monkeypatch.setenv("M2M_SECRET", TAINT)
    monkeypatch.setenv("NAMES_A_FILE", "secret")
    server.respond = lambda request: answer(401, answered)
    with AccessTokenManagement() as management:
        management.configure_backchannel(max_tries=1)
        management.add_client("a", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=secret)
        with pytest.raises(TokenEndpointError) as caught:
            management.service.get_access_token("a")
    assert ("; a new value of M2M_SECRET counts after a restart only" in str(caught.value)) == advised
    assert "check" in str(caught.value)


def test_a_wrong_secret_is_told_with_what_to_check(token_service: TokenService) -> None:
    """``invalid_client`` names the client and what to look at, not the secret."""
    token_service.add_client("m2m", "right")
    with AccessTokenManagement() as management:
        management.add_client("a", token_endpoint=token_service.token_endpoint, client_id="m2m", client_secret=TAINT)
        with pytest.raises(
            TokenEndpointError, match=r"token client 'a': .* 401 invalid_client.*; check client_id"
        ) as e:
            management.service.get_access_token()
    assert TAINT not in str(e.value)
    assert not e.value.transient
    assert len(token_service.requests) == 1
