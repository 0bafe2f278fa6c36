"""One token request: what is asked, and what each answer means."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    ClientCredentialsClient,
    InvalidTokenResponseError,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.authentication.method import Applicant, ClientAuthentication, TokenRequest
from requests_cc_token.clients import DEFAULT_LIFETIME
from requests_cc_token.demand import Demand
from requests_cc_token.endpoint.answer import Answer
from requests_cc_token.endpoint.token_answer import MAX_LIFETIME, error_of, read_token_answer
from requests_cc_token.exceptions import one_line
from requests_cc_token.expiry import EXPIRY_MARGIN, Moment

from .scripted_server import ScriptedServer, error_answer, token_answer
from .skipping_clock import SkippingClock

TAINT = "t41nted-s3cret"
ENDPOINT = "https://login.example.com/token"
WALL, MONOTONIC = 1_700_000_000.0, 500.0


def client(**options: Any) -> ClientCredentialsClient:
    return ClientCredentialsClient("a", token_endpoint=ENDPOINT, client_id="m2m", client_secret=TAINT, **options)


def answered(
    body: Any, status: int = 200, headers: dict[str, str] | None = None, *, endpoint: str = ENDPOINT
) -> Answer:
    """An answer to a request that carried the secret."""
    request = TokenRequest(endpoint)
    request.note_secret(TAINT)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(request, Moment(MONOTONIC, WALL), status, CaseInsensitiveDict(headers or {}), data)


def read(
    body: Any, status: int = 200, headers: dict[str, str] | None = None, **options: Any
) -> AccessToken | TokenRequestError:
    try:
        return read_token_answer(answered(body, status, headers), Demand.of(client(**options)), "key")
    except TokenRequestError as error:
        return error


def good(**members: Any) -> dict[str, Any]:
    return {"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600, **members}


def token_of(body: Any, **options: Any) -> AccessToken:
    outcome = read(body, **options)
    assert isinstance(outcome, AccessToken), outcome
    return outcome


def refusal_of(body: Any, **options: Any) -> str:
    outcome = read(body, **options)
    assert isinstance(outcome, InvalidTokenResponseError), outcome
    message = str(outcome)
    assert message.startswith(f"the token endpoint {ENDPOINT} answered 200, but ")
    return message


# Answers that are tokens


def test_a_token_of_the_answer() -> None:
    """Value, type, scope, expiry and the rest of the answer are the token's, but never a refresh token."""
    token = token_of(good(scope="api", refresh_token=TAINT, issued_token_type="x", authorization_details=[]))
    assert (token.value, token.token_type, token.scope, token.key) == ("t0ken", "Bearer", "api", "key")
    assert (token.issued_at, token.expires_at) == (WALL, WALL + 3600)
    assert token.hard_expiry == MONOTONIC + 3600 - EXPIRY_MARGIN
    assert token.soft_expiry is not None
    assert MONOTONIC + 3600 * 0.8 <= token.soft_expiry <= MONOTONIC + 3600 * 0.85
    assert token.renew_at == pytest.approx(WALL + token.soft_expiry - MONOTONIC)
    assert token.extra == {"expires_in": 3600, "issued_token_type": "x", "authorization_details": []}


@pytest.mark.conformance("C15")
@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER"])
def test_the_type_is_compared_without_case(token_type: str) -> None:
    """RFC 6749 section 5.1; it is presented as RFC 6750 writes it."""
    assert token_of(good(token_type=token_type)).authorization == "Bearer t0ken"


@pytest.mark.conformance("C16")
@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (3600, 3600),
        ("3600", 3600),
        ("0003600", 3600),
        (3600.0, 3600),
        (0.5, 0.5),
        (1, 1),
        (None, DEFAULT_LIFETIME),
        (MAX_LIFETIME + 1, MAX_LIFETIME),
        (1e300, MAX_LIFETIME),
        (10**400, MAX_LIFETIME),
        ("9" * 30, MAX_LIFETIME),
    ],
)
def test_lifetimes_that_are_believed(expires_in: Any, lifetime: float) -> None:
    """Numbers, also as text; none at all is the default, more than a year is a year."""
    assert token_of(good(expires_in=expires_in)).expires_at == WALL + lifetime


@pytest.mark.conformance("C16")
@pytest.mark.parametrize("expires_in", ["-1", "1,5", "1e3", "soon", "١٢", True, False, [], {}, [3600]], ids=repr)
def test_lifetimes_that_are_no_numbers(expires_in: Any) -> None:
    """A token of unknown lifetime is not used."""
    assert "its expires_in is no number of seconds" in refusal_of(good(expires_in=expires_in))


@pytest.mark.conformance("C16")
@pytest.mark.parametrize("expires_in", [0, -1, -0.5, "0", "0.0", -(10**400)], ids=lambda value: str(value)[:5])
def test_lifetimes_that_are_over(expires_in: Any) -> None:
    """A token that had expired when it was issued is none; the next one may come after a second."""
    refusal = read(good(expires_in=expires_in))
    assert isinstance(refusal, InvalidTokenResponseError)
    assert (refusal.transient, refusal.retry_after) == (True, 1.0)
    message = refusal_of(good(expires_in=expires_in))
    assert "the token had expired when it was issued" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("refresh_in", "renewal"),
    [(1800, 1800), ("1800", 1800), (0, 3060), (-5, 3060), ("soon", 3060), ([], 3060), (1e300, 3060), (10**400, 3060)],
    ids=lambda value: str(value)[:5],
)
def test_the_server_may_say_when_to_renew(refresh_in: Any, renewal: float) -> None:
    """``refresh_in`` is followed, less a little jitter; an odd one is ignored."""
    token = token_of(good(refresh_in=refresh_in))
    assert renewal * 0.95 <= token.renew_at - WALL <= renewal


@pytest.mark.conformance("C19")
@pytest.mark.parametrize(
    ("asked", "granted", "scope"),
    [
        (None, None, None),
        ("b a", None, "b a"),
        ("a b", "b a", "b a"),
        ("a b", "a", "a"),
        ("a", "a b", "a b"),
        (None, "", ""),
        ("a", "a\x1b[31m", "a?[31m"),
    ],
)
def test_the_scope_granted(asked: str | None, granted: str | None, scope: str | None) -> None:
    """What the answer says, else what was asked for (RFC 6749 section 5.1)."""
    body = good() if granted is None else good(scope=granted)
    assert token_of(body, scope=asked).scope == scope


@pytest.mark.conformance("C19")
def test_less_scope_may_be_an_error() -> None:
    """With ``strict_scope`` a token that may do less than was asked for is refused, and the rest is named."""
    assert "is missing (strict_scope)" in refusal_of(good(scope="a"), scope="a b", strict_scope=True)
    assert token_of(good(scope="b a c"), scope="a b", strict_scope=True).scope == "b a c"
    assert token_of(good(), scope="a b", strict_scope=True).scope == "a b"


@given(st.from_regex(r"\A[A-Za-z0-9._~+/-]{1,9000}=*\Z"))
def test_tokens_of_any_size(value: str) -> None:
    """RFC 6749 section 5.1: the client makes no assumption about the size."""
    assert token_of(good(access_token=value)).value == value


# Answers that are none


@pytest.mark.conformance("C14")
@pytest.mark.conformance("C15")
@pytest.mark.conformance("C22")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "its body is no JSON object"),
        (b"<html>", "its body is no JSON object"),
        (b"[]", "its body is no JSON object"),
        (b'"t"', "its body is no JSON object"),
        (b"null", "its body is no JSON object"),
        (b"\xff\xfe{", "its body is no JSON object"),
        (b"[" * 200_000, "its body is no JSON object"),
        (b'{"expires_in": NaN}', "its JSON holds NaN, which is no JSON"),
        (b'{"expires_in": -Infinity}', "its JSON holds -Infinity, which is no JSON"),
        (b'{"expires_in": 1e999}', "too large"),
        (b'{"a": 1, "a": 2}', "it names a member twice"),
        (b'{"x": {"a": 1, "a": 2}}', "it names a member twice"),
        ({}, "there is no access_token in it"),
        (good(access_token=None), "there is no access_token in it"),
        (good(access_token=""), "there is no access_token in it"),
        (good(access_token=5), "there is no access_token in it"),
        (good(access_token=["t"]), "there is no access_token in it"),
        (good(access_token="a b"), "a header cannot carry"),
        (good(access_token="a\r\nX-Evil: 1"), "a header cannot carry"),
        (good(access_token="a\x7f"), "a header cannot carry"),
        (good(access_token="é"), "a header cannot carry"),
        (good(token_type=None), "there is no token_type in it"),
        (good(token_type=5), "there is no token_type in it"),
        (good(token_type="mac"), "its token_type 'mac' is none this package can use"),
        (good(token_type="\x1b[31mmac"), "its token_type '?[31mmac' is none"),
        (good(token_type="DPoP"), "the token is bound to a DPoP key, but the client has none"),
        (good(scope={"a": 1}), "its scope is no text"),
        (good(scope=["a", 1]), "its scope is no text"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_200_that_is_no_token(body: Any, reason: str) -> None:
    """Each is an error that says what is wrong with it, in one printable line, and repeats nothing long."""
    message = refusal_of(body)
    assert reason in message
    assert message.isprintable()
    assert len(message) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["access_token", "token_type", "expires_in", "scope", "error", "refresh_in", "error_uri"]),
    JSON | st.just("Bearer") | st.just("abc"),
)


@given(
    body=st.binary(max_size=200) | MEMBERS.map(lambda m: json.dumps(m).encode()),
    status=st.sampled_from([200, 200, 201, 302, 400, 401, 429, 500]),
    retry_after=st.text(max_size=20),
)
@example(body=b'{"error": 5}', status=200, retry_after="")
def test_no_answer_breaks_the_reader(body: bytes, status: int, retry_after: str) -> None:
    """Whatever comes, the outcome is a token that a header can carry, or an error of ours in one line."""
    outcome = read(body, status, {"Retry-After": retry_after})
    if isinstance(outcome, AccessToken):
        assert status in (200, 201)
        assert outcome.authorization.isascii()
        assert outcome.authorization.isprintable()
    else:
        assert isinstance(outcome, (TokenEndpointError, InvalidTokenResponseError))
        assert str(outcome).isprintable()


# OAuth errors


@pytest.mark.parametrize(
    ("status", "body", "transient"),
    [
        (400, {"error": "invalid_scope"}, False),
        (401, {"error": "invalid_client"}, False),
        (403, b"forbidden", True),
        (404, b"", True),
        (404, {"error": "Not Found"}, True),
        (302, b"", False),
        (200, {"error": "invalid_request"}, False),
        (400, {"error": "temporarily_unavailable"}, True),
        (400, {"error": "server_error"}, True),
        (400, {"error": "slow_down"}, True),
        (408, b"", True),
        (425, b"", True),
        (429, b"", True),
        (500, b"<html>", True),
        (502, b"", True),
        (503, {"error": "invalid_client"}, True),
        (599, b"", True),
    ],
)
def test_errors_are_permanent_or_transient(status: int, body: Any, transient: bool) -> None:
    """An error code and a redirect are the same the next time, but for codes that say otherwise; all else passes."""
    outcome = read(body, status)
    assert isinstance(outcome, TokenEndpointError)
    assert (outcome.status_code, outcome.transient) == (status, transient)


def test_an_error_says_what_the_server_said_and_what_to_do() -> None:
    """Code, description and URI are on the error; the message names client, endpoint, status and what to check."""
    outcome = read(
        {"error": "invalid_scope", "error_description": "no such scope", "error_uri": "https://e.test/"},
        400,
        {"Retry-After": "5"},
    )
    assert isinstance(outcome, TokenEndpointError)
    assert str(outcome) == (
        f"the token endpoint {ENDPOINT} answered 400 invalid_scope (no such scope); "
        "check scope=... against what the client may ask for; "
        "it asks to be left alone (Retry-After), so no request is made for 5 s"
    )
    assert (outcome.error, outcome.error_description, outcome.error_uri) == (
        "invalid_scope",
        "no such scope",
        "https://e.test/",
    )
    assert outcome.retry_after == 5


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ({"Date": "Sun, 06 Nov 1994 08:49:27 GMT"}, 10),
        ({"Date": "Sun, 06 Nov 1994 08:49:38 GMT"}, 0),
        ({"Date": "just now"}, 3600),
        ({}, 3600),
    ],
)
def test_a_date_to_come_back_at_is_by_the_clock_of_the_token_service(date: dict[str, str], seconds: float) -> None:
    """Whose clock is hours off waits as long as was meant; without a ``Date`` there is only its own to go by."""
    headers = {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", **date}
    hours_behind = answered({}, 503, headers)._replace(sent=Moment(MONOTONIC, 784_111_777.0 - 7200))
    error = error_of(hours_behind, Demand.of(client()), "it", {})
    assert error.retry_after == seconds


def test_the_query_of_an_endpoint_is_not_repeated() -> None:
    """It may hold somebody's key."""
    for status in (200, 400):
        with pytest.raises(TokenRequestError, match=f"{ENDPOINT} answered {status}") as refused:
            read_token_answer(answered(b"{}", status, endpoint=f"{ENDPOINT}?key={TAINT}"), Demand.of(client()))
        assert TAINT not in str(refused.value)


def test_an_error_of_unknown_code_gives_no_advice() -> None:
    """Nothing is made up."""
    assert str(read({"error": "x"}, 400)).endswith("answered 400 x")
    assert str(read(b"<html>", 502)).endswith("answered 502")
    assert str(read(b"", 400)).endswith("answered 400")


def test_what_the_server_says_is_not_trusted() -> None:
    """Control characters, long texts and our own secret do not get into message or attributes."""
    outcome = read(
        {"error": "\x1b[31mx\r\n", "error_description": f"client secret {TAINT} is wrong " + "y" * 1000}, 400
    )
    assert isinstance(outcome, TokenEndpointError)
    assert outcome.error == "?[31mx??"
    assert outcome.error_description is not None
    assert outcome.error_description.startswith("client secret *** is wrong yyy")
    assert len(outcome.error_description) == len("client secret *** is wrong ") + 1000
    assert TAINT not in f"{outcome} {vars(outcome)}"
    assert str(outcome).isprintable()


@given(st.text(), st.integers(1, 50))
def test_shown_text(text: str, limit: int) -> None:
    """One printable line of bounded length; what is fine and short stays as it is."""
    result = one_line(text, limit)
    assert result.isprintable()
    assert len(result) <= limit + 1
    assert (result == text) == (text.isprintable() and len(text) <= limit)


# Over the wire


@pytest.fixture
def worker(clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        yield management


def test_a_rotated_secret_gets_one_more_try(
    worker: AccessTokenManagement, server: ScriptedServer, tmp_path: Path
) -> None:
    """``invalid_client``, and the file holds another secret by now: it is tried once, at once."""
    file = tmp_path / "secret"
    file.write_text("old")
    worker.add_client("a", token_endpoint=server.token_endpoint, client_id="m2m", client_secret={"file": file})

    def rotate(connection: Any) -> bool:
        file.write_text("new")
        return error_answer(401, "invalid_client")(connection)

    server.script.extend([rotate, token_answer("t")])
    assert worker.service.get_access_token().value == "t"
    assert len({request.headers["authorization"] for request in server.requests}) == 2


def test_the_same_secret_is_not_tried_twice(
    worker: AccessTokenManagement, server: ScriptedServer, tmp_path: Path
) -> None:
    """A wrong secret is presented once: servers count failed logins. A second refusal is the answer."""
    file = tmp_path / "secret"
    file.write_text("old")
    worker.add_client("a", token_endpoint=server.token_endpoint, client_id="m2m", client_secret={"file": file})
    server.default = error_answer(401, "invalid_client")
    with pytest.raises(TokenEndpointError, match="invalid_client"):
        worker.service.get_access_token()
    assert len(server.requests) == 1

    def rotate(connection: Any) -> bool:
        file.write_text("newer")
        return error_answer(401, "invalid_client")(connection)

    server.script.append(rotate)
    worker.service.delete_access_token()
    with pytest.raises(TokenEndpointError, match="invalid_client"):
        worker.service.get_access_token()
    assert len(server.requests) == 3


def test_a_secret_that_cannot_be_read_is_an_error_of_the_client(
    worker: AccessTokenManagement, server: ScriptedServer
) -> None:
    """It names the client and the place, and nothing is sent."""
    worker.configure_backchannel(wait=())
    worker.add_client(
        "a", token_endpoint=server.token_endpoint, client_id="m2m", client_secret={"env": "NO_SUCH_VARIABLE"}
    )
    with pytest.raises(TokenRequestError, match=r"^token client 'a': the secret's environment variable NO_SUCH_VARIA"):
        worker.service.get_access_token()
    assert server.requests == []


def test_a_method_that_fails_is_told_by_place_alone(
    worker: AccessTokenManagement, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An error within somebody's authentication method ends the fetch; the log has its place, not its values."""

    class Broken(ClientAuthentication):
        method = "x_broken"

        def authenticate(self, request: TokenRequest, client: Applicant) -> None:
            raise LookupError(TAINT)

    worker.add_client("a", token_endpoint=server.token_endpoint, client_id="m2m", auth=Broken())
    with pytest.raises(TokenRequestError, match=r"failed unexpectedly \(LookupError\)") as failure:
        worker.service.get_access_token()
    assert not failure.value.transient
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"LookupError at {__file__}:" in record.getMessage()
    assert TAINT not in caplog.text
