"""S6: tokens never cross keys: two registrations that differ in what shapes the request never share a token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from requests_cc_token import AccessTokenManagement, ClientCredentialsClient, TokenRequestParameters
from requests_cc_token.demand import Demand

from .scripted_server import Request, ScriptedServer, answer, token_answer

SECRET = "T41NT-secret"

#: Few and treacherous: parts of one another, separators, what escapes look like.
_words = st.sampled_from(["a", "b", "ab", "a:b", "b,a", 'a","b', "a]", "null", "None", "[]", "é", "%61", "A"])
_scope_words = st.sampled_from(["a", "b", "ab", "a:b", "a,b", "A", "null", "[]"])
_uris = st.sampled_from(["urn:a", "urn:b", "urn:a,urn:b", "https://api.test/", "https://api.test/a", "URN:a"])

registrations: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "token_endpoint": st.sampled_from(
            ["https://t.test/a", "https://t.test/b", "https://t.test/a?x=1", "https://t.test:8443/a", "https://u.test/a"]
        ),
        "client_id": _words,
    },
    optional={
        "scope": st.lists(_scope_words, max_size=3),
        "resource": st.lists(_uris, max_size=2),
        "audience": _words,
        "parameters": st.dictionaries(_words, _words, max_size=2),
        "authorization_details": st.lists(st.fixed_dictionaries({"type": _words}, optional={"x": _words}), min_size=1),
        "auth": st.sampled_from(["client_secret_basic", "client_secret_post"]),
        "issuer": st.sampled_from(["https://t.test", "https://u.test"]),
    },
)

overrides: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.lists(_scope_words, max_size=3),
        "resource": st.lists(_uris, max_size=2),
        "audience": _words,
        "parameters": st.dictionaries(_words, _words, max_size=2),
    },
)


def client(registration: dict[str, Any], override: dict[str, Any] | None = None) -> Demand:
    """The client, asking for what one request wants instead."""
    made = ClientCredentialsClient("any", client_secret=SECRET, **registration)
    return Demand.of(made, None if override is None else TokenRequestParameters(**override))


def what_is_asked(made: Demand) -> tuple[Any, ...]:
    """What a client asks for, where and as whom, by the plain meaning of each field."""
    return (
        made.client.token_endpoint,
        made.client.issuer,
        made.client.client_id,
        made.client.auth.method,
        frozenset(made.scope),
        frozenset(made.resource),
        made.audience or None,
        frozenset(made.form_parameters),
        made.authorization_details,
    )


@settings(max_examples=150)
@given(registrations, registrations, st.none() | overrides, st.none() | overrides)
def test_s6_one_key_means_one_request(
    one: dict[str, Any], other: dict[str, Any], of_one: dict[str, Any] | None, of_other: dict[str, Any] | None
) -> None:
    """Two clients have one key exactly if they ask for the same, at the same place, as the same."""
    first, second = client(one, of_one), client(other, of_other)
    assert (first.cache_key == second.cache_key) == (what_is_asked(first) == what_is_asked(second))


@settings(max_examples=150)
@given(registrations, registrations, st.data())
def test_s6_one_difference_is_enough(registration: dict[str, Any], other: dict[str, Any], data: st.DataObject) -> None:
    """A registration in which one field is taken from another one has another key, unless the field means the same."""
    field = data.draw(st.sampled_from(sorted({*registration, *other})))
    changed = dict(registration)
    changed.pop(field, None)
    if field in other:
        changed[field] = other[field]
    first, second = client(registration), client(changed)
    assume(what_is_asked(first) != what_is_asked(second))
    assert first.cache_key != second.cache_key


def test_s6_the_key_is_no_secret() -> None:
    """A key is a hash that says nothing; another secret has another one (A1), and a name has none of its own."""
    registration: dict[str, Any] = {"token_endpoint": "https://t.test/", "client_id": "m2m"}
    first = Demand.of(ClientCredentialsClient("a", client_secret=SECRET, **registration))
    second = Demand.of(ClientCredentialsClient("b", client_secret=SECRET + "2", **registration))
    third = Demand.of(ClientCredentialsClient("c", client_secret=SECRET, **registration))
    assert first.cache_key == third.cache_key != second.cache_key
    assert len(first.cache_key) == 64
    assert int(first.cache_key, 16) >= 0


def issue(request: Request) -> Any:
    """A token that says what it was asked with; an API that says what it was sent."""
    if not request.target.startswith("/token"):
        return answer(200, request.headers["authorization"].encode())
    asked = f"{request.target} {request.headers.get('authorization')} {sorted(request.form.items())}"
    return token_answer("T41NT" + asked.encode().hex())


REGISTRATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scope": {"scope": "a b"},
    "less scope": {"scope": "a"},
    "resource": {"resource": "urn:a"},
    "audience": {"audience": "urn:a"},
    "parameters": {"parameters": {"tenant": "a"}},
    "other parameters": {"parameters": {"tenant": "b"}},
    "details": {"authorization_details": [{"type": "a"}]},
    "post": {"auth": "client_secret_post"},
    "other id": {"client_id": "m2n"},
    "other endpoint": {"token_endpoint": "token?tenant=b"},
}

PER_REQUEST: list[TokenRequestParameters | None] = [
    None,
    TokenRequestParameters(scope="c"),
    TokenRequestParameters(resource="urn:c"),
    TokenRequestParameters(audience="c"),
    TokenRequestParameters(parameters={"tenant": "c"}),
]


@pytest.mark.conformance("C08")
def test_s6_tokens_on_the_wire() -> None:
    """Each of many registrations and per-request parameters gets the token issued for exactly it, each time."""
    with ScriptedServer() as server, AccessTokenManagement() as management:
        server.respond = issue
        for name, registration in REGISTRATIONS.items():
            fields = {"token_endpoint": "token", "client_id": "m2m", **registration}
            fields["token_endpoint"] = server.url + fields["token_endpoint"]
            management.add_client(name, client_secret=SECRET, **fields)
            management.add_session(name, base_url=server.url + "api/", client=name)
        answers: dict[tuple[str, int], set[str]] = {}
        for _ in range(2):
            for name in REGISTRATIONS:
                session = management.make_session(name)
                for number, parameters in enumerate(PER_REQUEST):
                    answers.setdefault((name, number), set()).add(session.get("x", auth=parameters).text)
        assert all(len(tokens) == 1 for tokens in answers.values())
        # Where an override says what the registration says already, the request is the same, and so is the token.
        requests_sent = {
            f"{r.target} {r.headers.get('authorization')} {r.body!r}" for r in server.requests if "/token" in r.target
        }
        assert len({token for tokens in answers.values() for token in tokens}) == len(requests_sent)
        count = sum("/token" in request.target for request in server.requests)
        assert count == len(requests_sent)
