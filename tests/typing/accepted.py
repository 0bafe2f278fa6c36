"""What users write; a strict checker has nothing to say. Checked, never run."""

from __future__ import annotations

import requests
from typing_extensions import assert_type

import requests_cc_token
from requests_cc_token import (
    AccessToken,
    AccessTokenAdapter,
    AccessTokenManagement,
    AccessTokenSession,
    Challenge,
    ClientCredentialsClient,
    ClientStats,
    JwtBearerGrant,
    MemoryTokenCache,
    PrivateKeyJwt,
    TokenCache,
    TokenEndpointError,
    TokenEvent,
    TokenExchangeGrant,
    TokenRequestError,
    TokenRequestParameters,
    session_for,
)


def one_api() -> int:
    with session_for(
        "https://api.example.com/v1/",
        token_endpoint="https://login.example.com/token",
        client_id="worker",
        client_secret={"env": "SECRET"},
        scope="api",
        renew_on=(401, 419),
        timeout=10,
    ) as session:
        assert_type(session, AccessTokenSession)
        return session.get("orders", timeout=(3, 30)).status_code


def several_apis() -> None:
    management = AccessTokenManagement(cache=MemoryTokenCache(100))
    management.add_client(
        "erp",
        issuer="https://login.example.com",
        client_id="worker",
        auth=PrivateKeyJwt({"file": "/run/secrets/key.pem"}),
        scope=["orders", "stock"],
    )
    management.configure_backchannel(max_tries=3, timeout=(3, 10))
    management.add_session("erp", base_url="https://erp.example.com/", client="erp")
    assert_type(management.make_session("erp"), AccessTokenSession)
    session = requests.Session()
    assert_type(management.mount(session, "https://erp.example.com/", client="erp"), AccessTokenAdapter)
    requests.get("https://erp.example.com/", auth=management.auth("erp", "https://erp.example.com/"), timeout=5)
    parameters = TokenRequestParameters(scope="orders", force_renewal=True)
    token = management.service.get_access_token("erp", parameters, timeout=5)
    assert_type(token, AccessToken)
    assert_type(token.expires_at, float)


def other_grants(management: AccessTokenManagement) -> None:
    endpoint = "https://login.example.com/token"
    bearer = JwtBearerGrant({"file": "/run/secrets/key.pem"}, "ES256", subject="", claims={"scope": "a", "n": [1]})
    management.add_client("bearer", token_endpoint=endpoint, client_id="worker", grant=bearer)
    management.add_client(
        "exchange",
        token_endpoint=endpoint,
        client_id="worker",
        client_secret=[{"file": "/run/secrets/new"}, lambda: "old"],
        grant=TokenExchangeGrant({"client": "bearer"}, "access_token", requested_token_type="jwt"),
    )


def what_happens(management: AccessTokenManagement) -> None:
    noted: list[object] = []

    def seen(event: TokenEvent) -> None:
        noted.append((event.kind, event.client, event.duration, event.reason, event.scope))
        if event.challenge is not None:
            assert_type(event.challenge, Challenge)

    management.subscribe(seen)
    for line in management.stats():
        assert_type(line, ClientStats)
        assert_type(line.scope, "str | None")
        noted.append((line.client, line.requests + line.hits, [failure.code for failure in line.failures]))
    try:
        requests_cc_token.make_session("erp").get("orders")
    except TokenEndpointError as error:
        noted.append((error.status_code, error.error))
    except TokenRequestError as error:
        noted.append((error.client, error.transient))


class Kept:
    """A cache of a user's own."""

    def __init__(self) -> None:
        self.tokens: dict[str, AccessToken] = {}

    def get(self, key: str) -> AccessToken | None:
        return self.tokens.get(key)

    def set(self, key: str, token: AccessToken) -> None:
        self.tokens[key] = token

    def delete(self, key: str) -> None:
        self.tokens.pop(key, None)


cache: TokenCache = Kept()


def tenant(name: str) -> ClientCredentialsClient | None:
    return ClientCredentialsClient(
        token_endpoint="https://login.example.com/token", client_id=name, client_secret=lambda: "secret"
    )


AccessTokenManagement().add_client_resolver(tenant)
