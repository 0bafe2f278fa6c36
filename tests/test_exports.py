"""The public face."""

from __future__ import annotations

import subprocess
import sys

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


def test_every_public_thing_has_a_docstring() -> None:
    """What a user can import says what it is."""
    undocumented = [name for name in requests_cc_token.__all__ if not getattr(requests_cc_token, name).__doc__]
    assert undocumented == []
