"""When a request carries a token and when it is sent once more: decisions as values, then once over sockets."""

from __future__ import annotations

import io
import itertools
import logging
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from requests_cc_token import (
    NO_TOKEN,
    AccessToken,
    AccessTokenAdapter,
    AccessTokenManagement,
    Challenge,
    ConfigurationError,
    DPoPKey,
    TokenRequestError,
    TokenRequestParameters,
    resend,
)
from requests_cc_token.adapter_policy import AdapterPolicy, Try, read_timeout, send_tries
from requests_cc_token.authentication.dpop import Nonces
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.mounts import Mount
from requests_cc_token.service import AccessTokenService
from requests_cc_token.tokens import Binding

from .scripted_server import PATIENCE, ScriptedServer, answer
from .strict_fixtures import add_with_secret
from .strict_service import StrictApi, StrictTokenService

URL = "https://api.example.com/v1/things"
MOUNT = Mount("https://api.example.com/v1/")
KEY = cast("DPoPKey", object())
NONCE = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "n1"}
INVALID = {"WWW-Authenticate": 'DPoP error="invalid_token"'}


@dataclass
class Tokens:
    """A token service that counts its tokens, and says what it was told."""

    token_type: str = "Bearer"
    number: int = 1
    rejected: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    said: list[Challenge | None] = field(default_factory=list)
    api_nonces: Nonces = field(default_factory=Nonces)
    timeouts: list[float | None] = field(default_factory=list)
    patience: list[float | None] = field(default_factory=list)
    fails: bool = False
    same_again: bool = False

    def get_access_token(
        self, client: Any, parameters: Any, *, timeout: float | None, token_patience: Any
    ) -> AccessToken:
        self.timeouts.append(timeout)
        self.patience.append(token_patience)
        if self.fails:
            raise TokenRequestError("token client 'w': no", client="w")
        binding = Binding(KEY, None) if self.token_type == "DPoP" else None
        return AccessToken(f"t{self.number}", self.token_type, expires_at=0.0, binding=binding)

    def token_rejected(self, token: AccessToken, challenge: Challenge | None) -> None:
        self.rejected.append(token.value)
        self.said.append(challenge)
        self.number += not self.same_again

    def insufficient_scope(self, token: AccessToken, challenge: Challenge) -> None:
        self.said.append(challenge)

    def token_accepted(self, token: AccessToken) -> None:
        self.accepted.append(token.value)


def policy(tokens: Tokens, **options: Any) -> AdapterPolicy:
    return AdapterPolicy(cast("AccessTokenService", tokens), "w", MOUNT, what="x", **options)


def prepared(data: Any = None, **options: Any) -> requests.PreparedRequest:
    return requests.Request("POST", URL, data=data, **options).prepare()


def response(status: int, headers: dict[str, str] | None = None) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update(headers or {})
    made._content = b""
    return made


def play(
    tokens: Tokens, answers: list[requests.Response], data: Any = None, **options: Any
) -> tuple[requests.Response, list[tuple[str, str | None]]]:
    """The answer to a request whose tries are answered so, and what was tried."""
    tried: list[tuple[str, str | None]] = []
    waiting = iter(answers)

    def send(attempt: Try) -> requests.Response:
        tried.append((attempt.token.value, attempt.nonce))
        return next(waiting)

    request = prepared(data)
    return send_tries(policy(tokens, **options).tries(request, 5.0), send, request.body, "token client 'worker'"), tried


# Who gets a token


@pytest.mark.parametrize(
    ("given", "keep", "authorized"),
    [
        ({}, True, True),
        ({"auth": NO_TOKEN}, True, False),
        ({"auth": NO_TOKEN}, False, False),
        ({"auth": TokenRequestParameters(scope="s")}, True, True),
        ({"hooks": {"response": [lambda response, **options: None]}}, True, True),
        ({"headers": {"Authorization": "Bearer mine"}}, True, False),
        ({"headers": {"Authorization": "Bearer mine"}}, False, True),
        ({"headers": {"Authorization": b"Bearer mine"}}, True, False),
        ({"headers": {"Authorization": "Basic dXNlcjpwYXNz"}}, True, True),
        ({"headers": {"Authorization": "Basic dXNlcjpvdGhlcg=="}}, True, False),
        ({"url": "https://api.example.com/v2/things"}, True, False),
        ({"url": "https://api.example.com/v2/things"}, False, False),
        ({"url": "https://evil.test/v1/things"}, True, False),
    ],
)
def test_which_requests_are_authorized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], keep: bool, authorized: bool
) -> None:
    """Those under the prefix, unless the caller says no, or has a header that requests did not take from .netrc."""
    (tmp_path / "netrc").write_text("machine api.example.com login user password pass")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    request = requests.Request("GET", **{"url": URL, **given}).prepare()
    assert policy(Tokens(), keep_authorization=keep).authorizes(request) is authorized


def test_a_request_without_a_url_gets_no_token() -> None:
    """Nobody knows where it goes."""
    request = prepared()
    request.url = None
    assert policy(Tokens()).authorizes(request) is False


@pytest.mark.parametrize(
    ("token_type", "binding", "key"),
    [
        ("Bearer", None, None),
        ("DPoP", None, None),
        ("Bearer", Binding(KEY, None), None),
        ("DPoP", Binding(None, None), None),
        ("DPoP", Binding(KEY, None), KEY),
    ],
)
def test_which_tries_prove_a_key(token_type: str, binding: Binding | None, key: object) -> None:
    """Those of a token that the service bound to the key; one that came as a Bearer token is sent as such."""
    assert Try(AccessToken("t", token_type, expires_at=0.0, binding=binding)).dpop is key


@pytest.mark.parametrize("name", ["", 5, b"w"])
def test_what_is_no_name_of_a_client(name: Any) -> None:
    """It is refused where it is given; None is the only client."""
    with pytest.raises(ConfigurationError, match=r"^x: the name of a token client must be"):
        AdapterPolicy(cast("AccessTokenService", Tokens()), name, MOUNT, what="x")
    assert AdapterPolicy(cast("AccessTokenService", Tokens()), None, MOUNT, what="x").client is None


# Tries and history

SAID = {"nonce": (401, NONCE), "invalid": (401, INVALID), "bare": (401, {}), "ok": (200, {})}


@pytest.mark.parametrize("said", list(itertools.product(SAID, repeat=4)), ids="-".join)
def test_every_combination_of_nonce_and_renewal(said: tuple[str, ...]) -> None:
    """For each token one try, and one more with a nonce that was asked for; one renewal; history oldest first."""
    tokens = Tokens("DPoP")
    given = [response(*SAID[word]) for word in said]
    answered, tried = play(tokens, given)
    expected: list[tuple[str, str | None]] = []
    words = iter(said)
    known: str | None = None
    for token in ("t1", "t2"):
        expected.append((token, known))
        word = next(words)
        if word == "nonce":
            known = "n1"
            expected.append((token, known))
            word = next(words)
        if word in ("ok", "nonce"):
            break
    assert tried == expected
    assert answered is given[len(tried) - 1]
    assert answered.history == given[: len(tried) - 1]
    assert all(r.history == [] for r in answered.history)
    assert tokens.accepted == ([tried[-1][0]] if word == "ok" else [])


def test_what_is_in_the_history_already_stays() -> None:
    """An inner adapter's own history comes after what was refused before it."""
    earlier, refused, last = response(302), response(401), response(200)
    last.history.append(earlier)
    answered, _ = play(Tokens(), [refused, last])
    assert answered.history == [refused, earlier]


def test_a_nonce_follows_a_renewal() -> None:
    """Over sockets: a revoked token, then a nonce for the new one; each refusal is in the history, oldest first."""
    with (
        StrictTokenService() as service,
        StrictApi(service) as api,
        AccessTokenManagement() as management,
        requests.Session() as session,
    ):
        add_with_secret(management, service, dpop=DPoPKey.generate())
        management.mount(session, api.url)
        assert session.get(api.url + "x").json() == {"token": "token-1"}
        api.script.append(answer(401, b"first", INVALID.items()))
        api.script.append(answer(401, b"second", NONCE.items()))
        answered = session.post(api.url + "x", data=io.BytesIO(b"body"))
    assert answered.json() == {"token": "token-2"}
    assert [r.text for r in answered.history] == ["first", "second"]
    assert [r.body for r in api.requests[1:]] == [b"body"] * 3


TWO, ELSE = {"DPoP-Nonce": "n2"}, {"WWW-Authenticate": NONCE["WWW-Authenticate"]}


@pytest.mark.parametrize(
    ("token_type", "answers", "tried", "nonce"),
    [
        ("DPoP", [(400, NONCE)], [("t1", None)], "n1"),
        ("DPoP", [(401, ELSE)], [("t1", None)], None),
        ("DPoP", [(401, {**INVALID, "DPoP-Nonce": "n1"}), (200, {})], [("t1", None), ("t2", "n1")], "n1"),
        ("DPoP", [(401, NONCE), (200, TWO)], [("t1", None), ("t1", "n1")], "n2"),
        ("DPoP", [(200, TWO)], [("t1", None)], "n2"),
        ("Bearer", [(401, NONCE)], [("t1", None)], None),
    ],
)
def test_when_a_nonce_is_an_answer(
    token_type: str, answers: list[Any], tried: list[tuple[str, str | None]], nonce: str | None
) -> None:
    """Where a 401 asks for one, and gives it, for a token bound to a key; each that is given is kept for the next."""
    tokens = Tokens(token_type)
    assert play(tokens, [response(*each) for each in answers])[1] == tried
    assert tokens.api_nonces.get(URL) == nonce


@pytest.mark.parametrize("said", [["nonce"], ["bare"], ["invalid", "nonce"], ["nonce", "invalid"]])
def test_a_body_without_a_position_is_sent_once(said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Its refusal is the answer, and the log says why; the next request has the new token, or the nonce."""
    tokens = Tokens("DPoP")
    caplog.set_level(logging.INFO, "requests_cc_token")
    answered, tried = play(tokens, [response(*SAID[word]) for word in said], data=iter([b"body"]))
    assert len(tried) == 1
    assert answered.history == []
    assert tokens.rejected == ([] if said[0] == "nonce" else ["t1"])
    assert (tokens.api_nonces.get(URL) == "n1") == (said[0] == "nonce")
    (line,) = caplog.messages
    assert line == (
        "token client 'worker': the API's 401 is the answer, since the body of this request cannot be sent twice; "
        "the next request has the new token or nonce"
    )


def redirect(target: str, status: int = 307) -> requests.Response:
    made = response(status, {"Location": target})
    made.url = URL
    return made


def test_a_redirect_that_leaves_the_token_behind_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The 401 which that address gives is no refusal; without this line the log would say nothing of it."""
    made = policy(Tokens())
    for _ in range(2):
        for target in ("/v2/things?secret=1", "http://api.example.com/v1/things"):
            answers = iter([redirect(target)])
            send_tries(made.tries(prepared(), 5.0), lambda attempt, a=answers: next(a), None, made.about)  # type: ignore[misc]
    (line,) = caplog.messages
    assert line == (
        f"token client 'w': the API redirects {URL} to https://api.example.com/v2/things, which is not under "
        "https://api.example.com/v1/: the token does not go there, so a 401 of that address is no refusal of it. "
        "Call the address that is meant, or make it part of the base_url or prefix"
    )


@pytest.mark.parametrize(
    "target", ["/v1/other", "https://files.example.net/v1/things", "http://[api.example.com", "https://a/?api.example.com"]
)
def test_redirects_that_say_nothing(target: str, caplog: pytest.LogCaptureFixture) -> None:
    """Those that keep the token, those to another host, where nobody expects it, and those that lead nowhere."""
    play(Tokens(), [redirect(target)])
    assert caplog.messages == []


def test_a_redirect_that_repeats_the_token(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the API writes into it, the log shows no token."""
    play(Tokens(), [redirect("/t1/\x1b[1m")])
    assert "to https://api.example.com/***/" in caplog.messages[0]
    assert "\x1b" not in caplog.messages[0]


def test_lines_of_a_management_with_one_client(caplog: pytest.LogCaptureFixture) -> None:
    """A session that names no client has the only one, and so say its lines."""
    made = AdapterPolicy(cast("AccessTokenService", Tokens()), None, MOUNT, what="x")
    assert not made.authorizes(requests.Request("GET", "https://api.example.com/v2/").prepare())
    assert caplog.messages[0].startswith("the only token client: a request to https://api.example.com/v2/ carries no")


def test_no_new_token_leaves_the_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """Where the renewal fails, which is logged, or brings the same token again, the 401 is the answer."""
    for options in ({"fails": True}, {"same_again": True}):
        tokens, refusal = Tokens(), response(401)
        tries = policy(tokens).tries(prepared(), 5.0)
        assert next(tries).token.value == "t1"
        vars(tokens).update(options)
        with pytest.raises(StopIteration):
            tries.send(refusal)
        assert tokens.rejected == ["t1"]
        assert tokens.timeouts == [5.0, 5.0]
    assert caplog.messages == [
        "token client 'w': the API answered 401 and the token could not be renewed: token client 'w': no"
    ]


def test_a_token_that_is_known_already() -> None:
    """Whoever sent the first try comes back with its token, its response, and where its body started."""
    tokens = Tokens()
    body = io.BytesIO(b"0123456789")
    body.read()
    known = AccessToken("sent", expires_at=0.0)
    tried: list[str] = []

    def send(attempt: Try) -> requests.Response:
        tried.append(attempt.token.value)
        return response(200)

    tries = policy(tokens).tries(prepared(), None, known)
    answered = send_tries(tries, send, body, "token client 'worker'", first=(response(401), 3))
    assert (answered.status_code, tried, body.tell()) == (200, ["t2"], 3)
    assert tokens.rejected == ["sent"]


# Which answers renew


def says_expired(answered: requests.Response) -> bool:
    """A function of the response, at the top of a module, so that it can be pickled."""
    return answered.headers.get("X-Reason") == "expired"


@pytest.mark.parametrize(
    ("renew_on", "status", "headers", "renewed", "accepted"),
    [
        ((401,), 401, {}, True, False),
        ((401,), 403, {}, False, True),
        ((401, 419), 419, {}, True, False),
        ([403], 403, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, True, False),
        ([403], 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}, False, False),
        ([403], 403, {"WWW-Authenticate": 'Bearer error="invalid_request"'}, False, False),
        ([403], 403, {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"'}, False, False),
        ([403], 403, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}, False, False),
        ([403], 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope", DPoP error="other"'}, True, False),
        ([403], 401, {}, False, False),
        ((), 401, {}, False, False),
        (range(400, 500), 404, {}, True, False),
        ((401,), 500, {}, False, False),
        ((401,), 404, {}, False, True),
        ((401,), 499, {}, False, True),
        ((400, 599), 400, {}, True, False),
        ((400, 599), 599, {}, True, False),
        (says_expired, 400, {"X-Reason": "expired"}, True, False),
        (says_expired, 200, {"X-Reason": "expired"}, True, False),
        (says_expired, 400, {}, False, True),
        (says_expired, 401, {}, False, False),
    ],
)
def test_renew_on(renew_on: Any, status: int, headers: dict[str, str], renewed: bool, accepted: bool) -> None:
    """Statuses, or a function of the response, say that the token is dead; codes that no token helps still count."""
    tokens = Tokens()
    answered, tried = play(tokens, [response(status, headers), response(204)], renew_on=renew_on)
    assert len(tried) == (2 if renewed else 1)
    assert answered.status_code == (204 if renewed else status)
    assert tokens.rejected == (["t1"] if renewed else [])
    assert tokens.accepted == (["t2"] if renewed else ["t1"] if accepted else [])


def test_a_token_that_is_refused_by_a_function_twice_is_not_accepted() -> None:
    """Its word counts for the second token as for the first."""
    tokens, said = Tokens(), (400, {"X-Reason": "expired"})
    play(tokens, [response(*said), response(*said)], renew_on=says_expired)
    assert (tokens.rejected, tokens.accepted) == (["t1"], [])


def test_that_a_token_is_accepted_is_told_once() -> None:
    """Not for each answer, whatever it is; another token is another one."""
    tokens, known = Tokens(), [AccessToken(name, expires_at=0.0) for name in ("one", "two")]
    made = policy(tokens)
    for token, status in ((known[0], 200), (known[0], 404), (known[0], 204), (known[1], 200), (known[1], 500)):
        answered = response(status)
        send_tries(made.tries(prepared(), None, token), lambda attempt, answered=answered: answered, None, made.about)  # type: ignore[misc]
    assert tokens.accepted == ["one", "two"]


def test_what_is_said_of_a_request_that_leads_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """Once, and only where the token may have been expected: at the same host."""
    made = policy(Tokens())
    for url in ("https://elsewhere.test/v1/x", "https://api.example.com/v2/x?t=T41NT", "https://api.example.com/x"):
        assert not made.authorizes(requests.Request("GET", url).prepare())
    (message,) = caplog.messages
    assert message == (
        "token client 'w': a request to https://api.example.com/v2/x carries no token, it is not under "
        "https://api.example.com/v1/"
    )


def test_what_is_said_of_a_header_that_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing where there is none of the caller's: no header at all, or the token's own."""
    made, tokens = policy(Tokens()), Tokens()
    made.warn_of_authorization(prepared())
    carries = prepared()
    carries.headers = made.headers(carries, next(policy(tokens).tries(carries, None)))
    assert carries.headers["Authorization"] == "Bearer t1"
    made.warn_of_authorization(carries)
    elsewhere = requests.Request("GET", "https://api.example.com/v2/", headers={"Authorization": "x"}).prepare()
    made.warn_of_authorization(elsewhere)
    assert caplog.messages == []
    for _ in range(2):
        made.warn_of_authorization(prepared(headers={"Authorization": "x"}))
    assert len(caplog.messages) == 1


WIDER = 'error="insufficient_scope", scope="pay"'


@pytest.mark.parametrize(
    ("status", "header", "told"),
    [
        (401, None, [None]),
        (401, 'Basic realm="a"', [None]),
        (401, "Bearer", [Challenge("bearer", {})]),
        (401, 'Bearer, DPoP error="invalid_token"', [Challenge("dpop", {"error": "invalid_token"})]),
        # An API that repeats the token, and what would steer a terminal.
        (401, 'Bearer realm="t1 is \x1b[1mold"', [Challenge("bearer", {"realm": "*** is ?[1mold"})]),
        (403, f"Bearer {WIDER}", [Challenge("bearer", {"error": "insufficient_scope", "scope": "pay"})]),
        (401, f"Bearer {WIDER}", [Challenge("bearer", {"error": "insufficient_scope", "scope": "pay"})]),
        (403, 'Bearer error="invalid_request"', []),
        (403, None, []),
        (404, f"Bearer {WIDER}", []),
        (200, f"Bearer {WIDER}", []),
    ],
)
def test_what_a_challenge_says_is_told(status: int, header: str | None, told: list[Challenge | None]) -> None:
    """Why the token is refused, or which scope is wanted: each time, without the token and fit for a terminal."""
    tokens, headers = Tokens(), {} if header is None else {"WWW-Authenticate": header}
    made, said = policy(tokens), response(status, headers)
    for _ in range(2):
        tokens.number = 1
        answers = iter([said, response(204)])
        send_tries(made.tries(prepared(), 5.0), lambda attempt, answers=answers: next(answers), None, made.about)  # type: ignore[misc]
    assert tokens.said == told * 2


@pytest.mark.parametrize(
    "wrong", [401, "401", b"401", "", b"", None, [401.0], ["401"], [True], [399], [600], [None]], ids=repr
)
def test_what_is_no_renew_on(wrong: Any) -> None:
    """Anything else is refused where it is described."""
    with pytest.raises(ConfigurationError, match=r"^x: renew_on must be several statuses from 400 to 599, \(401,\)"):
        policy(Tokens(), renew_on=wrong)


@pytest.mark.parametrize("option", ["keep_authorization", "token_patience", "token_parameters"])
def test_options_that_are_refused(option: str) -> None:
    """Each names itself."""
    with pytest.raises(ConfigurationError, match=f"^x: {option} must be "):
        policy(Tokens(), **{option: "no"})


def test_patience_of_no_time_is_none() -> None:
    """Zero seconds are a number of seconds."""
    tokens = Tokens()
    next(policy(tokens, token_patience=0).tries(prepared(), 5.0))
    assert tokens.patience == [0.0]


def test_a_policy_travels_without_a_token() -> None:
    """What it has accepted stays here."""
    made = policy(Tokens(), renew_on=says_expired)
    made._accepted = AccessToken("T41NT", expires_at=0.0)
    twin = pickle.loads(pickle.dumps(made))
    assert twin.renew_on is says_expired
    assert (twin._accepted, twin.mount.prefix) == (None, MOUNT.prefix)


def test_renew_on_over_sockets(
    token_service: TokenService, api: ProtectedApi, management: AccessTokenManagement
) -> None:
    """A session whose API says 419 for a dead token: renewed, sent once more, and never more than that."""
    management.add_session("iceberg", base_url=api.base_url, renew_on=(401, 419))
    session = management.make_session("iceberg")
    session.get("test").raise_for_status()
    api.fail_next(419)
    answered = session.post("upload", data=io.BytesIO(b"body"))
    assert answered.status_code == 200
    assert [r.status_code for r in answered.history] == [419]
    assert len(token_service.requests) == 2
    api.fail_always(419)
    assert [session.get("test").status_code for _ in range(5)] == [419] * 5
    assert len(token_service.requests) <= 4, "a series of refusals is fenced off (T9)"


# urllib3's own retries


@pytest.mark.parametrize(
    ("retries", "renew_on", "refused"),
    [
        (urllib3.Retry(status_forcelist=[401]), (401,), "401"),
        (urllib3.Retry(status_forcelist=[401, 419, 503]), (401, 419), "401, 419"),
        (urllib3.Retry(status_forcelist=[401]), says_expired, "401"),
        (urllib3.Retry(status_forcelist=[401]), (), None),
        (urllib3.Retry(status_forcelist=[503]), (401,), None),
        (urllib3.Retry(), (401,), None),
        (3, (401,), None),
    ],
)
def test_f46_retries_that_would_hide_a_refusal(
    management: AccessTokenManagement, retries: Any, renew_on: Any, refused: str | None
) -> None:
    """urllib3 would send the dead token until it gives up, so that is refused where it is described."""
    ways: list[Callable[[], Any]] = [
        lambda: AccessTokenAdapter(management.service, prefix=URL + "/", renew_on=renew_on, max_retries=retries),
        lambda: AccessTokenAdapter(
            management.service, prefix=URL + "/", renew_on=renew_on, inner=HTTPAdapter(max_retries=retries)
        ),
        lambda: management.mount(requests.Session(), URL + "/", renew_on=renew_on, max_retries=retries),
        lambda: management.add_session("api", base_url=URL, renew_on=renew_on, max_retries=retries),
    ]
    for way in ways:
        if refused is None:
            way()
            continue
        with pytest.raises(ConfigurationError, match=f"urllib3 would retry {refused} with the same token") as refusal:
            way()
        assert "take it out of the Retry's status_forcelist" in str(refusal.value)


# How long


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, None),
        (2, 2),
        ((1, 3), 3),
        ((1, None), None),
        ((1, 2, 3), None),
        (urllib3.Timeout(total=2), 2),
        (urllib3.Timeout(total=2, read=5), 2),
        (urllib3.Timeout(total=5, read=2), 2),
        (urllib3.Timeout(read=2), 2),
        (urllib3.Timeout(connect=2), None),
        (urllib3.Timeout(connect=2, read=None), None),
    ],
    ids=repr,
)
def test_f36_every_timeout_bounds_the_wait_for_a_token(timeout: Any, expected: float | None) -> None:
    """By its read part, and by its total."""
    seconds = read_timeout(timeout)
    assert seconds == (expected if expected is None else pytest.approx(expected, abs=0.1))


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a24_a_refusal_that_drips(
    management: AccessTokenManagement, monkeypatch: pytest.MonkeyPatch, framing: str
) -> None:
    """A byte now and then keeps nobody: it costs the connection, at most a second, and the call goes on.

    In chunks it is the line with the size of one that drips.
    """
    monkeypatch.setattr(resend, "DRAIN_TIME", 0.2)
    release = threading.Event()

    def drips(connection: Any) -> bool:
        connection.sendall(f"HTTP/1.1 401 No\r\n{framing}\r\n\r\n".encode())
        while not release.wait(0.02):
            try:
                connection.sendall(b"0")
            except OSError:
                break
        return False

    with ScriptedServer(default=answer(200, b"fine")) as api, requests.Session() as session:
        management.mount(session, api.url, "worker")
        api.script.append(drips)
        started = time.monotonic()
        with session.get(api.url, stream=True, timeout=6 * PATIENCE) as answered:
            assert answered.text == "fine"
        release.set()
        assert time.monotonic() - started < PATIENCE
        assert api.connections == 2
        assert answered.history[0].content == b""


def test_f37_a_refusal_whose_body_hangs(management: AccessTokenManagement, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest that never comes is not waited for: the call goes on over another connection with a new token."""
    monkeypatch.setattr(resend, "DRAIN_TIME", 0.2)

    def half(connection: Any) -> bool:
        connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 10\r\n\r\nfour")
        return True

    with ScriptedServer(half, default=answer(200, b"fine")) as api, requests.Session() as session:
        management.mount(session, api.url, "worker")
        started = time.monotonic()
        answered = session.get(api.url, timeout=6 * PATIENCE)
        assert time.monotonic() - started < PATIENCE
        assert answered.text == "fine"
        assert api.connections == 2
        assert [r.status_code for r in answered.history] == [401]


def test_a24_a_refusal_that_ends_the_connection(management: AccessTokenManagement) -> None:
    """Nothing is to be kept by reading it, so it is not read."""
    with ScriptedServer(default=answer(200, b"fine")) as api, requests.Session() as session:
        management.mount(session, api.url, "worker")
        api.script.append(answer(401, b"no", [("Connection", "close")]))
        answered = session.get(api.url, timeout=30)
        assert answered.text == "fine"
        assert answered.history[0].content == b""


def test_a_function_of_the_response_may_read_it(management: AccessTokenManagement) -> None:
    """What it has read is in the history, and the connection is kept."""
    with ScriptedServer(default=answer(200, {"state": "fine"})) as api, requests.Session() as session:
        management.mount(session, api.url, "worker", renew_on=lambda r: r.json()["state"] == "expired")
        api.script.append(answer(200, {"state": "expired"}))
        answered = session.get(api.url, timeout=30)
        assert answered.json() == {"state": "fine"}
        assert answered.history[0].json() == {"state": "expired"}
        assert api.connections == 1


# What keeps the token out


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Authorization": "Bearer stale"}, 'session.headers["Authorization"] = ... or headers=...'),
        ({"Authorization": "Basic c3RhbGU6eA=="}, "session.auth = ... or auth=..."),
    ],
)
def test_f48_a_stale_header_is_named_once(
    management: AccessTokenManagement,
    api: ProtectedApi,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    named: str,
) -> None:
    """An API that refuses the caller's own header says so in the log once, with the line to delete."""
    session = requests.Session()
    management.mount(session, api.base_url, "worker")
    session.headers.update(headers)
    for _ in range(3):
        assert session.get(api.base_url + "test", timeout=30).status_code == 401
    (message,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert message == (
        f"token client 'worker': the API refused a request to {api.base_url}test that has an Authorization header of "
        f"its own, so it carried no token; delete the line that sets it ({named}), or pass keep_authorization=False"
    )


def mounts_named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "is mounted there" in r.getMessage()]


def test_f48_a_longer_mount_that_was_there(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """The longer prefix is what requests takes: one warning per session names the adapter that wins, and what to do."""
    session = requests.Session()
    session.mount(api.base_url + "v1/", HTTPAdapter())
    session.mount(api.base_url + "v2/", HTTPAdapter())
    session.mount(api.origin + "/other/", HTTPAdapter())
    management.mount(session, api.base_url, "worker")
    (message,) = mounts_named(caplog)
    assert message == (
        f"token client 'worker': requests under {api.base_url}v1/ carry no token, since a HTTPAdapter is mounted "
        f"there, which is a longer prefix than {api.base_url}; take that mount away, mount the token there too with "
        "inner=..., or give the session auth=management.auth(...) instead"
    )


def test_f48_a_longer_mount_that_comes_later(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """A session of ours says so when a framework mounts its adapter."""
    management.add_session("api", base_url=api.base_url)
    session = management.make_session("api")
    session.mount(api.origin.upper().replace("HTTP", "http") + "/api/v2/", HTTPAdapter())
    session.mount(api.base_url + "v3/", HTTPAdapter())
    assert len(mounts_named(caplog)) == 1
    assert "requests under http://127.0.0.1" in mounts_named(caplog)[0]


def test_f48_mounts_that_take_nothing_away(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Another adapter with a token, a shorter prefix, or one in our place on purpose is no reason to warn."""
    management.add_session("api", base_url=api.base_url)
    session = management.make_session("api")
    management.mount(session, api.base_url + "v2/", "worker")
    session.mount("http://", HTTPAdapter())
    session.mount(api.base_url, HTTPAdapter())
    assert mounts_named(caplog) == []


def test_f48_a_refusal_elsewhere_is_not_ours(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Outside of the mount, or where no header was given, nothing is said of it."""
    session = requests.Session()
    adapter = management.mount(session, api.base_url, "worker")
    elsewhere = session.prepare_request(requests.Request("GET", api.origin + "/open", headers={"Authorization": "x"}))
    api.fail_next(401)
    assert adapter.send(elsewhere, timeout=30).status_code == 401
    assert not [r for r in caplog.records if "of its own" in r.getMessage()]
