"""What one request may ask for differently, and how it says so."""

from __future__ import annotations

import copy
import json
import pickle
import string
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import NO_TOKEN, AccessTokenManagement, ConfigurationError, TokenRequestParameters
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.netrc import NoNetrc
from requests_cc_token.parameters import (
    RESERVED_PARAMETERS,
    authorization_details,
    further_parameters,
    parameters_of,
    resources,
    scope_tokens,
)

SCOPES = st.text(alphabet=[c for c in map(chr, range(0x21, 0x7F)) if c not in '"\\'], min_size=1)


def prepared(auth: Any) -> requests.PreparedRequest:
    return requests.Request("GET", "https://api.example.com/", auth=auth).prepare()


@given(st.lists(SCOPES))
def test_a_scope_is_a_string_or_several(scopes: list[str]) -> None:
    """Both forms give the same tokens, in order, once each."""
    expected = tuple(dict.fromkeys(scopes))
    assert scope_tokens(scopes, "x") == scope_tokens(" ".join(scopes), "x") == expected
    assert scope_tokens(iter(scopes), "x") == expected


def test_a_scope_that_is_empty_is_none() -> None:
    """None, the empty string and blanks alone ask for no scope."""
    assert scope_tokens(None, "x") == scope_tokens("", "x") == scope_tokens("  ", "x") == ()


@pytest.mark.parametrize("scope", ["a\tb", "a\nb", 'a"b', "a\\b", "é", ["a b"], [5], "\x7f"], ids=repr)
def test_characters_that_a_scope_must_not_hold(scope: Any) -> None:
    """What RFC 6749 section 3.3 forbids is refused when it is given."""
    with pytest.raises(ConfigurationError, match=r"client 'a': scope .* RFC 6749 section 3.3 forbids"):
        scope_tokens(scope, "client 'a'")


@pytest.mark.parametrize("given", [5, b"api", {"api": 1}, object()], ids=lambda g: type(g).__name__)
def test_what_is_neither_text_nor_several(given: Any) -> None:
    """Anything else is refused with the option's name, and without what was given."""
    for read, option in ((scope_tokens, "scope"), (resources, "resource")):
        with pytest.raises(ConfigurationError, match=rf"^x: {option} must be text, or several texts, not "):
            read(given, "x")
    with pytest.raises(ConfigurationError, match=r"^x: the parameter 'p' must be text, or several texts, not "):
        further_parameters({"p": given}, "x")


def test_resources_are_absolute_uris() -> None:
    """A resource is one absolute URI or several, without a fragment; each counts once."""
    uri = "https://api.example.com/v1?tenant=a"
    assert resources(uri, "x") == (uri,)
    assert resources([uri, "urn:example:api", uri], "x") == (uri, "urn:example:api")
    assert resources(None, "x") == ()
    for wrong in ("", "api", "/v1", "https://a.test/#x", "https://a.test/ b", "https://ä.test/", "https:"):
        with pytest.raises(ConfigurationError, match="must be an absolute URI without a fragment"):
            resources(wrong, "x")
    with pytest.raises(ConfigurationError, match="resource must be text, not int"):
        resources([5], "x")  # type: ignore[list-item]


def test_further_parameters_are_sorted_and_not_empty() -> None:
    """Vendor parameters come in the order of their names; those without a value are left out."""
    found = further_parameters({"b": "2", "a": ["1"], "c": "", "d": [], "e": ["", "x"]}, "x")
    assert found == (("a", ("1",)), ("b", ("2",)), ("e", ("x",)))
    assert further_parameters(None, "x") == further_parameters({}, "x") == ()


@pytest.mark.parametrize("name", sorted(RESERVED_PARAMETERS))
def test_reserved_parameters_are_refused(name: str) -> None:
    """What has an option of its own is not overridden by the back door."""
    with pytest.raises(ConfigurationError, match=f"'{name}' is set by its own option"):
        further_parameters({name: "x"}, "x")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"a": ["1", "2"]}, "'a' is given twice"),
        ({"a": [1]}, "'a' must be text"),
        ({1: "a"}, "parameters must be a mapping"),
        ({"": "a"}, "parameters must be a mapping"),
        ([("a", "b")], "parameters must be a mapping"),
    ],
)
def test_parameters_that_cannot_be_sent(parameters: Any, sentence: str) -> None:
    """No parameter twice (RFC 6749 section 3.2), and nothing but texts."""
    with pytest.raises(ConfigurationError, match=rf"^x: .*{sentence}"):
        further_parameters(parameters, "x")


def test_authorization_details_are_canonical() -> None:
    """Equal details, as JSON text or as values, one or several, have one form (RFC 9396 section 2)."""
    detail = {"type": "payment", "amount": {"value": "1.00", "currency": "EUR"}}
    form = authorization_details([detail], "x")
    assert form == '[{"amount":{"currency":"EUR","value":"1.00"},"type":"payment"}]'
    assert form == authorization_details(detail, "x") == authorization_details(json.dumps([detail], indent=2), "x")
    assert authorization_details(None, "x") is None


@pytest.mark.parametrize(
    "details",
    [
        "",
        "{",
        "[]",
        "5",
        5,
        [],
        {},
        [{}],
        ["payment"],
        [{"type": 5}],
        [{"type": "a", "b": float("nan")}],
        [{"type": "a", 1: 2, "b": 3}],
    ],
    ids=repr,
)
def test_authorization_details_that_are_none(details: Any) -> None:
    """Anything but objects with a type is refused."""
    with pytest.raises(ConfigurationError, match="authorization_details must be a JSON array of objects"):
        authorization_details(details, "x")


def test_parameters_with_the_same_meaning_are_equal() -> None:
    """They compare and hash by what they ask for, so that they share a token."""
    one = TokenRequestParameters(scope="a b", resource="urn:a", parameters={"x": "1"})
    two = TokenRequestParameters(("a", "b"), ["urn:a"], parameters={"x": ["1"]})
    assert one == two
    assert hash(one) == hash(two)
    assert one != TokenRequestParameters(scope="a")
    assert TokenRequestParameters() != TokenRequestParameters(force_renewal=True)


def test_the_values_of_parameters_are_not_shown() -> None:
    """Vendor parameters may hold anything, so the repr leaves them out."""
    shown = repr(TokenRequestParameters(scope="write", parameters={"assertion": "t41nt"}))
    assert "write" in shown
    assert "t41nt" not in shown


def test_parameters_that_make_no_sense_are_refused_at_once() -> None:
    """The mistake is told where the parameters are made, not in a later send."""
    for wrong in (
        {"scope": "a\nb"},
        {"resource": "api"},
        {"audience": 5},
        {"parameters": {"scope": "a"}},
        {"force_renewal": 1},
    ):
        with pytest.raises(ConfigurationError, match=r"^TokenRequestParameters: "):
            TokenRequestParameters(**wrong)


def test_requests_carries_the_note_of_an_auth_object() -> None:
    """The note stays on a prepared request through copies and pickles, and adds nothing to what is sent."""
    plain = prepared(NoNetrc())
    for auth in (TokenRequestParameters(scope="write", audience="a"), NO_TOKEN):
        request = prepared(auth)
        assert request.headers == plain.headers
        for twin in (request, request.copy(), copy.deepcopy(request), pickle.loads(pickle.dumps(request))):
            assert parameters_of(twin) == auth
    assert parameters_of(plain) is None


def test_a_note_does_not_disturb_other_hooks() -> None:
    """Hooks of the caller run as they would, and the answer stays what it is."""
    seen: list[str] = []
    auth = TokenRequestParameters()
    request = requests.Request(
        "GET", "https://a.test/", auth=auth, hooks={"response": lambda *_, **__: seen.append("hook")}
    ).prepare()
    answer = requests.Response()
    assert parameters_of(request) is auth
    assert requests.hooks.dispatch_hook("response", request.hooks, answer) is answer
    assert seen == ["hook"]
    assert NO_TOKEN(answer, timeout=5) is None


def test_parameters_on_a_session_without_an_adapter(api: ProtectedApi, management: AccessTokenManagement) -> None:
    """Nobody who writes that wants an anonymous request: the response raises, and says what is missing."""
    auth = TokenRequestParameters(scope="reports")
    with pytest.raises(ConfigurationError, match="no adapter of this package is mounted there") as refusal:
        requests.get(api.base_url + "test?key=t41nt", auth=auth, timeout=30)
    assert "management.mount(session, prefix)" in str(refusal.value)
    assert "t41nt" not in str(refusal.value)
    session = requests.Session()
    session.auth = auth
    with pytest.raises(ConfigurationError, match="carried none"):
        session.get(api.base_url + "test", timeout=30)
    assert session.get(api.base_url + "test", auth=NO_TOKEN, timeout=30).status_code == 401
    management.mount(session, api.base_url)
    assert session.get(api.base_url + "test", timeout=30).ok
    # A redirect out of the mount was asked for as much as the request was.
    assert session.get(api.base_url + "redirect", params={"to": api.origin + "/open"}, timeout=30).ok
    assert [request.scheme for request in api.requests][-3:] == ["Bearer", "Bearer", None]


def test_parameters_and_what_answers_in_place_of_an_adapter() -> None:
    """A cache's answer, and that of a double which replaces the adapters, is let pass."""
    request = prepared(TokenRequestParameters())
    answer = requests.Response()
    assert requests.hooks.dispatch_hook("response", request.hooks, answer) is answer
    answer.connection = object()  # type: ignore[assignment]
    assert requests.hooks.dispatch_hook("response", request.hooks, answer) is answer


def test_no_token_is_one_object() -> None:
    """It stays itself when pickled or copied, and is shown by its name."""
    assert pickle.loads(pickle.dumps(NO_TOKEN)) is NO_TOKEN
    assert copy.deepcopy(NO_TOKEN) is NO_TOKEN
    assert repr(NO_TOKEN) == "NO_TOKEN"


def test_the_object_that_keeps_netrc_out() -> None:
    """It changes nothing, is truthy, and equals its like in another process."""
    auth = NoNetrc()
    request = prepared(None)
    assert auth(request) is request
    assert bool(auth) is True
    assert pickle.loads(pickle.dumps(auth)) == auth
    assert hash(NoNetrc()) == hash(auth)
    assert auth != NO_TOKEN


def test_each_set_of_parameters_has_a_token_of_its_own(
    management: AccessTokenManagement, token_service: TokenService
) -> None:
    """Equal parameters share a token, others do not, and a forced renewal takes the place of the cached one."""
    get = management.service.get_access_token
    write = get("worker", TokenRequestParameters(scope="reports"))
    assert write.scope == "reports"
    assert get("worker", TokenRequestParameters(scope=["reports"])) is write
    assert get("worker").value != write.value
    new = get("worker", TokenRequestParameters(scope="reports", force_renewal=True))
    assert new.value != write.value
    assert get("worker", TokenRequestParameters(scope="reports")) is new
    assert len(token_service.requests) == 3


@given(
    scope=st.none() | st.lists(st.sampled_from(string.ascii_letters), max_size=3),
    audience=st.none() | st.text(max_size=3),
    parameters=st.none() | st.dictionaries(st.sampled_from(["x", "y"]), st.text(max_size=2)),
)
def test_parameters_are_hashable(**given: Any) -> None:
    """Whatever they were made of, they are a key."""
    tokens = {TokenRequestParameters(**given): "token"}
    assert tokens[TokenRequestParameters(**given)] == "token"


def test_one_requests_parameters_over_anothers() -> None:
    """What either says alone holds; where both say something, the nearer one's word; a renewal is wanted if by one."""
    near = TokenRequestParameters(scope="a", resource="urn:r", parameters={"x": "1"})
    far = TokenRequestParameters(audience="b", authorization_details={"type": "t"}, force_renewal=True)
    both = TokenRequestParameters(
        "a", "urn:r", "b", {"x": "1"}, force_renewal=True, authorization_details={"type": "t"}
    )
    assert near.over(far) == far.over(near) == both
    others = TokenRequestParameters("z", "urn:z", "z", {"x": "z"}, authorization_details={"type": "z"})
    assert both.over(others) == both


def test_one_audience_and_several() -> None:
    """Several are a set; one of them is as one; an empty one asks for none."""
    audiences = ["b", ["b", "a", "b"], ["a", "a"], "", None]
    assert [TokenRequestParameters(audience=each).audience for each in audiences] == ["b", ("a", "b"), "a", "", None]


def test_texts_that_utf_8_can_carry() -> None:
    """All but the halves of a character, from the first one to the last."""
    for text in ("\ud7ff", "\ue000"):
        assert TokenRequestParameters(audience=text).audience == text
    for half in ("\ud800", "\udfff"):
        with pytest.raises(ConfigurationError, match="audience must be text that UTF-8 can carry"):
            TokenRequestParameters(audience=half)
