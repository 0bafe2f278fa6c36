"""``WWW-Authenticate``, parsed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token.www_authenticate import MAX_CHALLENGES, MAX_TEXT, Challenge, parse_challenges

TOKEN = st.text(alphabet="abcXYZ019!#$%&'*+-.^_`|~", min_size=1)


@pytest.mark.parametrize(
    ("lines", "challenges"),
    [
        ([], []),
        ([""], []),
        (["  , ,"], []),
        (["Bearer"], [("bearer", {}, None)]),
        (["BEARER  "], [("bearer", {}, None)]),
        (["Bearer realm=api"], [("bearer", {"realm": "api"}, None)]),
        (['Bearer Realm = "api"'], [("bearer", {"realm": "api"}, None)]),
        (['Bearer realm="a, b=\\"c\\"\\\\"'], [("bearer", {"realm": 'a, b="c"\\'}, None)]),
        (['Bearer realm=""'], [("bearer", {"realm": ""}, None)]),
        (["Negotiate dG9rZW4="], [("negotiate", {}, "dG9rZW4=")]),
        (["Negotiate a=="], [("negotiate", {}, "a==")]),
        (["Negotiate, Bearer"], [("negotiate", {}, None), ("bearer", {}, None)]),
        (["Negotiate abc, Bearer a=b"], [("negotiate", {}, "abc"), ("bearer", {"a": "b"}, None)]),
        (
            ['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'],
            [
                ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}, None),
                ("basic", {"realm": "simple"}, None),
            ],
        ),
        (["Basic realm=a", "Bearer error=b"], [("basic", {"realm": "a"}, None), ("bearer", {"error": "b"}, None)]),
        (['Bearer a="1", , b="2"'], [("bearer", {"a": "1", "b": "2"}, None)]),
        (["Bearer a=1, A=2, DPoP a=1"], [("dpop", {"a": "1"}, None)]),
        (['Bearer a="1" b="2"'], [("bearer", {}, None)]),
        (['Bearer a="open'], [("bearer", {}, None)]),
        (["Bearer a=1, é=2"], [("bearer", {"a": "1"}, None)]),
        (["@"], []),
        (["Bearer " + "x" * MAX_TEXT], []),
    ],
)
def test_challenges(lines: list[str], challenges: list[tuple[str, dict[str, str], str | None]]) -> None:
    """Several lines, several challenges in a line, quotes, token68, any case; garbage ends its line."""
    assert parse_challenges(lines) == tuple(Challenge(*challenge) for challenge in challenges)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    st.lists(
        st.tuples(TOKEN, st.dictionaries(TOKEN.map(str.lower), st.text(alphabet='ab,="\\ é;'), max_size=3)), max_size=4
    )
)
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    """Any challenges with any quoted values, in one line or one each, are read as they were written."""
    written = [
        scheme + " " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    ]
    expected = tuple(Challenge(scheme.lower(), parameters) for scheme, parameters in challenges)
    assert parse_challenges(written) == expected
    assert parse_challenges([", ".join(written)]) == expected


@given(st.lists(st.text() | st.text(alphabet='Bearer ,="\\\t')))
def test_no_header_breaks_the_parser(lines: list[str]) -> None:
    """Whatever comes, there are challenges or none."""
    assert all(challenge.scheme for challenge in parse_challenges(lines))


def test_the_error_code() -> None:
    """``error`` is the parameter of that name, or None."""
    first, second = parse_challenges(['Bearer error="invalid_token"', "Basic"])
    assert (first.error, second.error) == ("invalid_token", None)


def test_several_challenges_in_one_line() -> None:
    """A comma separates parameters and challenges alike."""
    line = 'Basic realm="x, Bearer y", Negotiate abc=, DPoP error="invalid_token", algs="ES256", Bearer error=b, Digest'
    assert [(c.scheme, c.error, c.token68) for c in parse_challenges([line])] == [
        ("basic", None, None),
        ("negotiate", None, "abc="),
        ("dpop", "invalid_token", None),
        ("bearer", "b", None),
        ("digest", None, None),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Bearer error=a, error=b",
        'Bearer error="a", ERROR="a"',
        "Bearer realm=x, error=a, realm=y",
        "Bearer error=a, error=b, realm=x",
    ],
)
def test_a_parameter_named_twice(line: str) -> None:
    """Nobody can know which one was meant, so the challenge is dropped; others count."""
    assert parse_challenges([line]) == ()
    assert [c.scheme for c in parse_challenges([line + ', DPoP error="x"'])] == ["dpop"]


@pytest.mark.parametrize(
    "hostile", ["a ", ",", "a , ", "a b=c,", 'a b="c",', 'a b="\\x', "a b" + "c" * 40 + " ", "a=", " \t"], ids=repr
)
def test_a42_challenges_are_read_up_to_a_bound(hostile: str) -> None:
    """An answer full of challenges costs milliseconds, in few lines or in as many as a header takes."""
    for lines in ([hostile * (60_000 // len(hostile))] * 90, [hostile * (MAX_TEXT // 90 // len(hostile))] * 90):
        took: list[float] = []
        for _ in range(5):
            started = time.thread_time()
            challenges = parse_challenges(lines)
            took.append(time.thread_time() - started)
            assert len(challenges) <= MAX_CHALLENGES
        # The least, since the collector may come at any time, for all that the tests before have left.
        assert min(took) < 0.05, "microseconds, but this machine has other work too"


def test_a42_what_is_short_is_read_beside_what_is_not() -> None:
    """A line that is too much is left out; the others count."""
    assert parse_challenges(["x" * 60_000, 'Bearer error="invalid_token"']) == (
        Challenge("bearer", {"error": "invalid_token"}),
    )
    assert len(parse_challenges(["Bearer, " * 100])) == MAX_CHALLENGES
    half, rest = "Bearer" + " " * (MAX_TEXT // 2 - 6), "DPoP" + " " * (MAX_TEXT // 2 - 4)
    assert [challenge.scheme for challenge in parse_challenges([half, rest, "Basic"])] == ["bearer", "dpop"]
