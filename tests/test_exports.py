"""The public face."""

from __future__ import annotations

import subprocess
import sys

import pytest

import requests_cc_token

PUBLIC = {
    # management and service
    "AccessTokenManagement",
    "AccessTokenService",
    "ClientCredentialsClient",
    # requests and tokens
    "AccessToken",
    "AccessTokenAdapter",
    "NO_TOKEN",
    "TokenRequestParameters",
    # caches
    "FileTokenCache",
    "MemoryTokenCache",
    "RedisTokenCache",
    "TokenCache",
    "Lease",
    "SharedTokenCache",
    # what else is met in signatures
    "AccessTokenSession",
    "Challenge",
    "ClientAuthentication",
    "ClientStats",
    "Clock",
    "FailureCount",
    "TokenEvent",
    # grants
    "JwtBearerGrant",
    "TokenExchangeGrant",
    # client authentication
    "AmbientAssertion",
    "ClientAssertion",
    "ClientSecretBasic",
    "ClientSecretJwt",
    "ClientSecretPost",
    "DPoPKey",
    "PrivateKeyJwt",
    "TlsClientAuth",
    # the default management
    "configure",
    "get_access_token",
    "make_auth",
    "make_session",
    # one session for one API
    "session_for",
    # errors
    "CCTokenError",
    "ConfigurationError",
    "InvalidTokenResponseError",
    "TokenEndpointConnectionError",
    "TokenEndpointError",
    "TokenRequestError",
    "TokenRequestTimeout",
    "UnknownClientError",
}


def test_all_is_exactly_the_public_names() -> None:
    """``__all__`` holds the names of the contract and no other, sorted, and each of them exists."""
    assert set(requests_cc_token.__all__) == PUBLIC
    assert len(requests_cc_token.__all__) == len(PUBLIC)
    assert all(hasattr(requests_cc_token, name) for name in PUBLIC)


def test_optional_parts_are_not_loaded_with_the_package() -> None:
    """Importing the package and its every name loads nothing that an extra brings."""
    program = (
        "import sys; from requests_cc_token import *; "
        "print(*sorted({'joserfc', 'cryptography', 'filelock', 'platformdirs', 'redis', 'click', 'rich', 'flask', "
        "'authlib', 'prometheus_client', 'opentelemetry'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def loaded_by(program: str) -> set[str]:
    """What a program loads beyond requests."""
    program = f"import sys, requests; before = set(sys.modules); {program}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_the_package_loads_little() -> None:
    """A room is loaded with the first of its names that is asked for; the import alone costs next to nothing (P8)."""
    room = "requests_cc_token.{}".format
    loaded = loaded_by("import requests_cc_token")
    assert loaded.isdisjoint(map(room, ("adapter", "management", "service", "session", "tokens", "clients")))
    assert loaded.isdisjoint({"asyncio", "backoff", "cachetools", "dataclasses", "inspect", "contextvars"})
    loaded = loaded_by("from requests_cc_token import AccessTokenManagement, TokenRequestError")
    assert room("management") in loaded
    late = "caches.file caches.redis config"
    assert loaded.isdisjoint(map(room, late.split()))


def test_a_session_loads_what_its_client_needs() -> None:
    """Grants, methods and the auth object come with the first client or call that means them (P11)."""
    options = "token_endpoint='https://t.test/token', client_id='m2m', client_secret='s'"
    session = f"from requests_cc_token import session_for; session_for('https://a.test/', {options}"
    room = "requests_cc_token.{}".format
    assertions = room("authentication.assertions")
    others = "authentication.ambient authentication.mutual_tls grants.jwt_bearer grants.token_exchange"
    late = {assertions, *map(room, others.split())}
    assert loaded_by(f"{session})").isdisjoint({*late, room("access_token_auth")})
    assert loaded_by(f"{session}, auth='client_secret_jwt')") & late == {assertions}


def test_each_name_is_where_it_is_said_to_be() -> None:
    """Whichever name is asked for first, in a new process, is the one of its room."""
    program = "import requests_cc_token as r; assert r.{0} is r.{0}; assert '{0}' in vars(r)".format
    for name in ("NO_TOKEN", "AccessTokenAdapter", "make_session", "RedisTokenCache", "TokenEndpointError"):
        loaded_by(program(name))


def test_a_name_that_there_is_not() -> None:
    """A misspelt name is an ``AttributeError`` as for any module, and names that are loaded late are listed too."""
    with pytest.raises(AttributeError, match="module 'requests_cc_token' has no attribute 'FileTokenCash'"):
        requests_cc_token.FileTokenCash  # type: ignore[attr-defined]  # noqa: B018
    assert set(dir(requests_cc_token)) >= PUBLIC


def test_every_public_thing_has_a_docstring() -> None:
    """What a user can import says what it is."""
    undocumented = [name for name in requests_cc_token.__all__ if not getattr(requests_cc_token, name).__doc__]
    assert undocumented == []
