"""``WWW-Authenticate``, parsed (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token.challenges import MAX_HEADER, Challenge, parse_challenges

TOKEN = st.text("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits, min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20)


def one(line: str) -> Challenge:
    (challenge,) = parse_challenges([line])
    return challenge


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Bearer", Challenge("bearer")),
        ('Bearer realm="a"', Challenge("bearer", {"realm": "a"})),
        ("BEARER Error=invalid_token", Challenge("bearer", {"error": "invalid_token"})),
        ('DPoP error="use_dpop_nonce", algs="ES256 PS256"', Challenge("dpop", {"error": "use_dpop_nonce",
                                                                               "algs": "ES256 PS256"})),
        ('Bearer error = "invalid_token" , realm\t=\tx', Challenge("bearer", {"error": "invalid_token", "realm": "x"})),
        (r'Basic realm="a \"quoted\", b=\"c\" \\ d"', Challenge("basic", {"realm": r'a "quoted", b="c" \ d'})),
        ("Negotiate YWJj==", Challenge("negotiate", {}, "YWJj==")),
        ("Negotiate abc", Challenge("negotiate", {}, "abc")),
        (', ,Bearer error="x"', Challenge("bearer", {"error": "x"})),
        ('Bearer error="", scope=""', Challenge("bearer", {"error": "", "scope": ""})),
    ],
)  # fmt: skip
def test_one_challenge(line: str, expected: Challenge) -> None:
    """Scheme and names without case, tokens, quoted strings with escapes, token68, blanks where they may be."""
    assert one(line) == expected


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


def test_several_lines() -> None:
    """Each header line has challenges of its own."""
    found = parse_challenges(['Basic realm="a"', 'Bearer error="invalid_token"', ""])
    assert [(c.scheme, c.error) for c in found] == [("basic", None), ("bearer", "invalid_token")]


@pytest.mark.parametrize(
    "line", ["Bearer error=a, error=b", 'Bearer error="a", ERROR="a"', "Bearer realm=x, error=a, realm=y"]
)
def test_a_parameter_named_twice(line: str) -> None:
    """Nobody can know which one was meant, so the challenge is dropped; others count."""
    assert parse_challenges([line]) == ()
    assert [c.scheme for c in parse_challenges([line + ', DPoP error="x"'])] == ["dpop"]


@pytest.mark.parametrize(
    ("line", "schemes"),
    [
        ("", []),
        ("  ,, ", []),
        ('Bearer error="unfinished', ["bearer"]),
        ('Bearer error="a" b', ["bearer"]),
        ("@@@", []),
        ('Basic realm="a", @@@, Bearer error=x', ["basic"]),
        ("Bearer =x", ["bearer"]),
    ],
)
def test_what_is_no_challenge_ends_the_line(line: str, schemes: list[str]) -> None:
    """What came before it counts."""
    assert [c.scheme for c in parse_challenges([line])] == schemes


def test_long_lines_are_not_parsed() -> None:
    """A line longer than any server sends is left alone; the next one counts."""
    assert parse_challenges(["Bearer " + "x" * MAX_HEADER, "DPoP"]) == (Challenge("dpop"),)


@given(st.text(max_size=300) | st.text('Bearer error="x",=\\ \t', max_size=300))
def test_anything_is_survived(line: str) -> None:
    """Whatever a server sends, the parser ends and every scheme is lower case."""
    assert all(c.scheme == c.scheme.lower() for c in parse_challenges([line]))


@given(st.lists(st.tuples(TOKEN, st.dictionaries(TOKEN.map(str.lower), VALUE, min_size=1, max_size=3)), max_size=4))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    """Challenges with quoted parameters come back as they were, however many stand in a line."""

    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    line = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges([line]) == tuple(Challenge(scheme.lower(), p) for scheme, p in challenges)
