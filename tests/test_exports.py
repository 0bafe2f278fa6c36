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
    # client authentication
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
    "make_session",
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
        "'authlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_importing_the_package_loads_little() -> None:
    """What only a token request or an optional part needs is loaded when that is there, and not with the package."""
    program = (
        "import sys, requests; before = set(sys.modules); import requests_cc_token; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "requests_cc_token.management" in loaded
    late = "backchannel cache_file cache_redis challenges client_assertion discovery dpop revocation token_endpoint"
    assert loaded.isdisjoint(f"requests_cc_token.{room}" for room in late.split())
    assert loaded.isdisjoint({"asyncio", "backoff", "cachetools", "dataclasses", "inspect", "contextvars"})


def test_a_name_that_there_is_not() -> None:
    """A misspelt name is an ``AttributeError`` as for any module, and names that are loaded late are listed too."""
    with pytest.raises(AttributeError, match="module 'requests_cc_token' has no attribute 'FileTokenCash'"):
        requests_cc_token.FileTokenCash  # noqa: B018
    assert set(dir(requests_cc_token)) >= PUBLIC


def test_every_public_thing_has_a_docstring() -> None:
    """What a user can import says what it is."""
    undocumented = [name for name in requests_cc_token.__all__ if not getattr(requests_cc_token, name).__doc__]
    assert undocumented == []
