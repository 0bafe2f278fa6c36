"""Everything that a worker needs, on loopback: a token service, an API, and a management that knows both."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from requests_cc_token.management import AccessTokenManagement

from .api import ProtectedApi
from .token_service import TokenService
from .worker import TOKEN_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests_cc_token.clock import Clock

#: The names in the embedded management.
CLIENT, SESSION = "worker", "api"


@contextlib.contextmanager
def embedded(
    *, token_lifetime: int = TOKEN_LIFETIME, clock: Clock | None = None
) -> Iterator[tuple[AccessTokenManagement, TokenService, ProtectedApi]]:
    """A management with a token client and a session for the API, and the two services, for as long as the block."""
    secret = secrets.token_urlsafe()
    with (
        TokenService(token_lifetime=token_lifetime, clock=clock) as tokens,
        ProtectedApi(tokens, scope="api") as api,
        AccessTokenManagement(clock=clock) as management,
    ):
        tokens.add_client("demo-worker", secret, scopes="api")
        management.add_client(
            CLIENT,
            token_endpoint=tokens.token_endpoint,
            client_id="demo-worker",
            client_secret=secret,
            scope="api",
        )
        management.add_session(SESSION, base_url=api.base_url, client=CLIENT)
        yield management, tokens, api
