"""What must hold for any input: of the token service, of an API, of a configuration file.

Each target takes bytes, judges them, and raises ``AssertionError`` (or whatever escaped) where a promise is broken.
The same targets run under `atheris` for minutes and under `hypothesis` in the normal suite.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any

from requests_cc_token import AccessToken, AccessTokenManagement, ClientCredentialsClient
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.demand import Demand
from requests_cc_token.endpoint.answer import Answer
from requests_cc_token.endpoint.retry_after import MAX_RETRY_AFTER, parse_retry_after
from requests_cc_token.endpoint.token_answer import MAX_LIFETIME, read_token_answer
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError
from requests_cc_token.expiry import Moment
from requests_cc_token.tracebacks import sealed
from requests_cc_token.www_authenticate import parse_challenges

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECRET = "T41NT-fuzzed-secret"

#: A message is one line that a person reads: longer ones flood a log.
LONGEST_MESSAGE = 2_000

_client = ClientCredentialsClient(
    "fuzzed",
    token_endpoint="https://token.example.com/token",
    client_id="m2m",
    client_secret=SECRET,
    scope="read write",
)
_demand = Demand.of(_client)

_STATUSES = (200, 200, 200, 400, 401, 302, 429, 500, 503)


def check_message(error: BaseException) -> None:
    """One line, printable, bounded, without the secret."""
    message = str(error)
    assert message, f"{type(error).__name__} says nothing"
    assert message.isprintable(), f"control characters in {message!r}"
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters"
    assert SECRET not in message


def token_answer(data: bytes) -> None:
    """An answer of the token service is a sound token or a named error with a presentable message."""
    status = _STATUSES[data[0] % len(_STATUSES)] if data else 200
    retry_after, _, body = data[1:].partition(b"\x00")
    headers = {"Retry-After": retry_after.decode("latin-1")}
    request = TokenRequest("https://token.example.com/token")
    request.note_secret(SECRET)
    try:
        # Behind a seal, as in a fetch.
        token = sealed(read_token_answer)(Answer(request, Moment(10.0, 1e9), status, headers, body), _demand)
    except TokenRequestError as error:
        outcome = error
    else:
        _check_token(token)
        return
    check_message(outcome)
    assert outcome.retry_after is None or 0 <= outcome.retry_after <= MAX_RETRY_AFTER
    for name in ("error", "error_description", "error_uri", "response_text"):
        text = getattr(outcome, name, None)
        assert text is None or (isinstance(text, str) and text.isprintable() and SECRET not in text)


def _check_token(token: AccessToken) -> None:
    assert token.value.isascii()
    assert token.value.isprintable()
    assert " " not in token.value
    assert token.token_type == "Bearer"
    assert token.authorization.isascii()
    assert token.authorization.isprintable()
    assert token.soft_expiry is not None
    assert token.hard_expiry is not None
    assert 10.0 <= token.soft_expiry <= token.hard_expiry <= 10.0 + MAX_LIFETIME
    assert math.isfinite(token.expires_at)
    assert token.scope is None or token.scope.isprintable()
    assert "refresh_token" not in token.extra
    shown = repr(token)
    assert len(token.value) < 12 or token.value not in shown
    # A shared cache stores it as JSON, and reads what it stored.
    record = json.loads(json.dumps(token.to_record(), allow_nan=False).encode("utf-8"))
    assert AccessToken.from_record(record) == token


def www_authenticate(data: bytes) -> None:
    """Header lines become challenges with lower-case names and no parameter twice; nothing escapes."""
    lines = data.decode("latin-1").split("\n")
    for challenge in parse_challenges(lines):
        assert challenge.scheme
        assert challenge.scheme == challenge.scheme.lower()
        assert challenge.token68 is None or not challenge.parameters
        for name, value in challenge.parameters.items():
            assert name == name.lower()
            assert isinstance(value, str)
        assert challenge.error is None or isinstance(challenge.error, str)


def retry_after(data: bytes) -> None:
    """Any text is seconds within the bounds, or nothing."""
    text = data.decode("latin-1")
    for now in (0.0, 784_111_777.0, 4e9):
        seconds = parse_retry_after(text, now)
        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


def configuration(data: bytes) -> None:
    """Any TOML, any mapping of the shape, is a management or a ``ConfigurationError`` with a presentable message."""
    if data[:1] == b"\x00":
        mapping(_Drawn(data[1:]).configuration())
        return
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        return
    except tomllib.TOMLDecodeError as error:
        check_message(error)
        return
    except (RecursionError, ValueError, TypeError):
        return  # Python's parser, on brackets in brackets, years above 9999 and the like; tested with files
    # A fuzzer that learns to write [cache] would write files of its choice.
    content.pop("cache", None)
    mapping(content)


class _Drawn:
    """A configuration of known words and odd values, as the bytes choose them."""

    _NAMES = ("a", "", "two words", "a\x1b[31m", "\u202e", "s", "é")
    _KEYS = (
        *("token_endpoint", "issuer", "client_id", "client_secret", "scope", "resource", "audience", "parameters"),
        *("auth", "allow_http", "authorization_details", "default_lifetime", "strict_scope", "base_url", "client"),
        *("timeout", "pool_size", "retries", "headers", "renew_on", "keep_authorization", "token_patience"),
        *("wait", "max_time", "max_tries", "verify", "proxies", "odd\nkey", "dpop"),
    )
    _VALUES: tuple[Any, ...] = (
        *("https://t.example.com/token", "http://127.0.0.1:1/", "https://u:p@h/", "https://[::1", "https://h:99999/"),
        *("", "a", "a b", "\x00\x1b", "\ud800", "\u202e", "é", "a" * 3_000, "urn:x", "#"),
        *("client_secret_basic", "client_secret_post", "private_key_jwt"),
        *(0, 1, -1, 1.5, math.nan, math.inf, -math.inf, 10**400, True, False, None),
        *([], [1], [[]], ["a", "b"], [None, 2], {}, {"file": "/nowhere"}, {"env": "X"}, {"env": "X", "x": 1}),
        *({"x": "y"}, {"x": ["y", "z"]}, {1: 2}, {"type": "t"}, [{"type": "t"}], {"x": math.nan}, b"bytes", object()),
    )

    _SECRETS: tuple[Any, ...] = (
        *(SECRET, "", None, 1, [SECRET], {SECRET: SECRET}, {"file": [SECRET]}, {"env": SECRET, "x": 1}),
        SECRET.encode(),
    )

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def _one_of(self, values: tuple[Any, ...]) -> Any:
        return values[next(self._data, 0) % len(values)]

    def _table(self, defaults: dict[str, Any]) -> Any:
        if next(self._data, 0) == 255:
            return self._one_of(self._VALUES)
        table = dict(defaults)
        for _ in range(next(self._data, 0) % 6):
            key = self._one_of(self._KEYS)
            table[key] = self._one_of(self._SECRETS if key == "client_secret" else self._VALUES)
        return table

    def configuration(self) -> dict[str, Any]:
        """A table for each entry, or something else in its place."""
        client = {"token_endpoint": "https://t.example.com/token", "client_id": "m2m", "client_secret": SECRET}
        session = {"base_url": "https://api.example.com/"}
        return {
            "clients": {self._one_of(self._NAMES): self._table(client) for _ in range(next(self._data, 0) % 3)},
            "backchannel": self._table({}),
            "sessions": {self._one_of(self._NAMES): self._table(session) for _ in range(next(self._data, 0) % 3)},
            **({self._one_of(self._NAMES): 1} if next(self._data, 0) == 7 else {}),
        }


def mapping(content: dict[str, Any]) -> None:
    """Any mapping is a management or a ``ConfigurationError`` with a presentable message."""
    management = None
    try:
        management = AccessTokenManagement.from_config(content)
    except ConfigurationError as error:
        check_message(error)
    if management is not None:
        with contextlib.closing(management):
            assert SECRET not in repr(management)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "token-answer": token_answer,
    "www-authenticate": www_authenticate,
    "retry-after": retry_after,
    "configuration": configuration,
}

#: What the fuzzer starts from.
SEEDS: dict[str, list[bytes]] = {
    "token-answer": [
        b'\x00\x00{"access_token": "abc.def-ghi", "token_type": "Bearer", "expires_in": 3600, "scope": "read"}',
        b'\x00\x00{"access_token": "abc", "token_type": "bearer", "expires_in": "3600", "refresh_in": 10}',
        b'\x00\x00{"access_token": "abc", "token_type": "DPoP", "expires_in": 1e400, "refresh_token": "r"}',
        b'\x00\x00{"access_token": "a\\r\\nb", "token_type": "Bearer", "expires_in": NaN}',
        b'\x03120\x00{"error": "invalid_client", "error_description": "\\u001b[31mno\\u202e", "error_uri": "x"}',
        b'\x03\x00{"error": "T41NT-fuzzed-secret", "error_description": "T41NT-fuzzed-secret"}',
        b"\x06Sun, 06 Nov 1994 08:49:37 GMT\x00<html>",
        b"\x00\x00" + b"[" * 200,
        b'\x00\x00{"a": 1, "a": 2}',
        b'\x00\x00{"access_token": "abc", "token_type": "Bearer", "expires_in": ' + b"9" * 400 + b"}",
    ],
    "www-authenticate": [
        b'Bearer realm="api", error="invalid_token", error_description="it \\"expired\\""',
        b'Basic realm="a", Bearer, DPoP algs="ES256", error="use_dpop_nonce"',
        b"Negotiate YWJj==\nBearer",
        b'bearer error = "x" , ERROR=y',
    ],
    "retry-after": [
        b"120",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun, 06 Nov 9999 08:49:37 +9999",
        b"-1",
        b"1e9",
    ],
    "configuration": [
        b"\x00" + bytes(range(40)),
        b"\x00\x01\x00\x00\x03\x03\x0f\x04\x10\x05\x1a",
        (b'[clients.a]\ntoken_endpoint = "https://t.example.com/token"\nclient_id = "m2m"\n'
        b'client_secret = "T41NT-fuzzed-secret"\nscope = "api"\n'
        b'[backchannel]\ntimeout = 10\nwait = [1, 2]\n[sessions.s]\nbase_url = "https://api.example.com/"\n'),
        (b'[clients.a]\nissuer = "https://t.example.com/"\nclient_id = "m2m"\nclient_secret = { env = "X" }\n'
        b'resource = ["urn:a"]\nparameters = { x = "y" }\nauth = "client_secret_post"\ndefault_lifetime = 1.5\n'
        b"strict_scope = true\nallow_http = false\n"),
        (b'[sessions.s]\nbase_url = "http://127.0.0.1:1/v1"\nclient = "a"\ntimeout = [1, 2]\npool_size = 3\n'
        b'retries = 2\nheaders = { a = "b" }\nrenew_on = [401]\ntoken_patience = 3\n'),
        b"[backchannel]\nmax_time = nan\nmax_tries = -1\nverify = false\nproxies = { https = 1 }\n",
        b"[clients.a]\nclient_id = 1979-05-27T07:32:00Z\nclient_secret = inf\n",
    ],
}

#: Words that a fuzzer would take long to find.
DICTIONARIES: dict[str, list[str]] = {
    "token-answer": [
        *("access_token", "token_type", "expires_in", "refresh_in", "refresh_token", "scope", "error"),
        *("error_description", "error_uri", "Bearer", "DPoP", "NaN", "Infinity", "1e999", "null", "true"),
        *("invalid_client", "invalid_scope", SECRET),
    ],
    "www-authenticate": ["Bearer", "DPoP", "Basic", "error", "realm", "invalid_token", "use_dpop_nonce", '=\\"', '\\"'],
    "retry-after": ["GMT", "Sun, ", " Nov ", "-94", "08:49:37", "+0000", "-9999", "1994", "99999999999999999999"],
    "configuration": [
        *("[clients.a]", "[backchannel]", "[sessions.s]", "token_endpoint", "issuer", "client_id", "client_secret"),
        *("scope", "resource", "audience", "parameters", "auth", "dpop", "allow_http", "authorization_details"),
        *("default_lifetime", "strict_scope", "base_url", "client", "timeout", "pool_size", "retries", "headers"),
        *("renew_on", "keep_authorization", "token_patience", "wait", "max_time", "max_tries", "verify", "proxies"),
        *("https://", "http://", "127.0.0.1", "true", "nan", "inf", " = ", "[1]", "{}", "[]", "client_secret_post"),
        *("private_key_jwt", "file", "env"),
    ],
}
