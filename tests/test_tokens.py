"""The access token: a value that shows itself to nobody."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import AccessToken
from requests_cc_token.tokens import is_presentable

TAINT = "t41nted-t0ken"
TOKENS = st.from_regex(r"\A[A-Za-z0-9\-._~+/]+=*\Z")
MOMENTS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def token(**changes: Any) -> AccessToken:
    members: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": "api",
        "expires_at": 2_000.0,
        "renew_at": 1_900.0,
        "issued_at": 1_000.0,
        "extra": {"issued_token_type": TAINT},
        "key": "k",
        "soft_expiry": 1.0,
        "hard_expiry": 2.0,
    }
    return AccessToken(TAINT, **{**members, **changes})


def test_a_token_is_shown_without_its_value() -> None:
    """Neither repr nor str nor a format shows the value or what came with it; type, scope and expiry are shown."""
    shown = f"{token()!r} {token()} {[token()]} {token()!s:>3}"
    assert TAINT not in shown
    assert "Bearer" in shown
    assert "'api'" in shown
    assert "2000.0" in shown


def test_the_header_value_is_type_and_token() -> None:
    """``authorization`` is what goes into the header."""
    assert token().authorization == f"Bearer {TAINT}"
    assert token(token_type="DPoP").authorization == f"DPoP {TAINT}"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_token_is_not_pickled(protocol: int) -> None:
    """Pickling refuses with a sentence that says what to do instead."""
    with pytest.raises(TypeError, match="ask the token service of the other process"):
        pickle.dumps(token(), protocol)


def test_a_copy_is_the_token_itself() -> None:
    """Copies, deep ones too, are the same object: it cannot change."""
    original = token()
    assert copy.copy(original) is original
    assert copy.deepcopy([original])[0] is original


def test_a_token_cannot_be_changed() -> None:
    """Neither a field nor what else the answer held can be set, and what was passed in is not held on to."""
    extra = {"a": 1}
    frozen = token(extra=extra)
    extra["a"] = 2
    assert frozen.extra == {"a": 1}
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.value = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        frozen.extra["a"] = 3  # type: ignore[index]


def test_equal_tokens_are_equal() -> None:
    """Equality and hash are of what was issued; where and when this process keeps it does not count."""
    assert token() == token(key="other", soft_expiry=None, hard_expiry=None)
    assert hash(token()) == hash(token(key="other", soft_expiry=None))
    assert token() != token(scope="other")
    assert token() != token(expires_at=1.0)


def test_what_is_left_out() -> None:
    """A bare token is a Bearer token without scope whose renewal is wanted at its expiry."""
    bare = AccessToken("v", expires_at=5.0)
    assert (bare.token_type, bare.scope, bare.renew_at, dict(bare.extra)) == ("Bearer", None, 5.0, {})
    assert (bare.key, bare.soft_expiry, bare.hard_expiry) == ("", None, None)


@given(
    value=TOKENS,
    token_type=st.sampled_from(["Bearer", "DPoP"]),
    scope=st.none() | st.text(),
    expires_at=MOMENTS,
    renew_at=MOMENTS,
    issued_at=st.none() | MOMENTS,
    extra=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3),
    key=st.text(),
)
def test_a_record_gives_the_token_back(value: str, key: str, **members: Any) -> None:
    """What was stored, as JSON, is read as an equal token of the same key, without moments of another process."""
    original = AccessToken(value, key=key, soft_expiry=1.0, hard_expiry=2.0, **members)
    twin = AccessToken.from_record(json.loads(json.dumps(original.to_record())))
    assert twin == original
    assert twin.key == key
    assert twin.soft_expiry is twin.hard_expiry is None


def test_a_record_from_before_tokens_had_a_moment_of_issue_is_read() -> None:
    """It is the same token, of which that moment is not known."""
    record = token().to_record()
    del record["issued_at"]
    assert AccessToken.from_record(record) == token(issued_at=None)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"value": ""},
        {"value": "a b"},
        {"value": "a\r\nX: y"},
        {"value": 5},
        {"token_type": "bearer"},
        {"token_type": "mac"},
        {"token_type": None},
        {"scope": ["api"]},
        {"key": None},
        {"expires_at": None},
        {"expires_at": "2000"},
        {"expires_at": float("nan")},
        {"expires_at": float("inf")},
        {"expires_at": True},
        pytest.param({"expires_at": 10**400}, id="huge"),
        {"renew_at": None},
        {"renew_at": float("-inf")},
        {"issued_at": "1000"},
        {"issued_at": float("inf")},
        {"extra": None},
        {"extra": []},
    ],
    ids=repr,
)
def test_a_malformed_record_is_no_token(change: dict[str, Any]) -> None:
    """A record with one member that ``to_record`` would not have written is refused without repeating it."""
    with pytest.raises(ValueError, match="token record") as refusal:
        AccessToken.from_record({**token().to_record(), **change})
    assert TAINT not in str(refusal.value)


@given(JSON, st.dictionaries(st.sampled_from(list(token().to_record())), JSON))
def test_no_record_breaks_the_reader(record: Any, changes: dict[str, Any]) -> None:
    """Whatever a store gives back is a token or a ValueError."""
    for candidate in (record, {**token().to_record(), **changes}):
        try:
            found = AccessToken.from_record(candidate)
        except ValueError:
            continue
        assert is_presentable(found.value)


@given(st.text() | TOKENS)
def test_f1_what_a_header_carries(text: str) -> None:
    """Every visible ASCII character may be in a token, of the service and of a store; nothing else may."""
    assert is_presentable(text) == (re.fullmatch(r"[!-~]+", text) is not None)
