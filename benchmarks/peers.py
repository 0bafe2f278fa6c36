"""The peers, each as its documentation shows it: a function that makes a GET with a token, or says what is missing.

A maker gets the API's URL and the token endpoint's, and returns what is to be called once per GET and, where the peer
gives tokens without a request, what is to be called once per token.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import requests
import urllib3

from requests_cc_token import AccessTokenAdapter, AccessTokenManagement

Call = Callable[[], Any]
Maker = Callable[[str, str], "tuple[Call, Call | None]"]

TOKEN = "t" * 200


def management(api: str, tokens: str) -> AccessTokenManagement:
    """A management with one token client and one session."""
    made = AccessTokenManagement()
    made.add_client("worker", token_endpoint=tokens, client_id="worker", client_secret="secret")
    made.add_session("api", base_url=api.rpartition("/")[0])
    return made


def requests_cc_token(api: str, tokens: str) -> tuple[Call, Call]:
    made = management(api, tokens)
    session = made.make_session("api")
    path = api.rpartition("/")[2]
    return lambda: session.get(path), lambda: made.service.get_access_token("worker")


def mounted_by_management(api: str, tokens: str) -> tuple[Call, None]:
    made, session = management(api, tokens), requests.Session()
    made.mount(session, api.rpartition("/")[0] + "/")
    return lambda: (made, session.get(api)), None


def adapter_alone(api: str, tokens: str) -> tuple[Call, None]:
    made, session = management(api, tokens), requests.Session()
    prefix = api.rpartition("/")[0] + "/"
    session.mount(prefix, AccessTokenAdapter(made.service, "worker", prefix=prefix))
    return lambda: (made, session.get(api)), None


def plain_requests(api: str, _: str) -> tuple[Call, None]:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    return lambda: session.get(api), None


def plain_requests_without_environment(api: str, _: str) -> tuple[Call, None]:
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    return lambda: session.get(api), None


def bare_urllib3(api: str, _: str) -> tuple[Call, None]:
    pools = urllib3.PoolManager(headers={"Authorization": f"Bearer {TOKEN}"})
    return lambda: pools.request("GET", api), None


def httpx(api: str, _: str) -> tuple[Call, None]:
    import httpx

    client = httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"})
    return lambda: client.get(api), None


def requests_oauth2client(api: str, tokens: str) -> tuple[Call, Call]:
    from requests_oauth2client import OAuth2Client, OAuth2ClientCredentialsAuth

    client = OAuth2Client(tokens, client_id="worker", client_secret="secret", testing=True)
    session = requests.Session()
    session.auth = auth = OAuth2ClientCredentialsAuth(client)
    prepared = requests.Request("GET", api).prepare()
    return lambda: session.get(api), lambda: auth(prepared)


def requests_oauthlib(api: str, tokens: str) -> tuple[Call, None]:
    import os

    from oauthlib.oauth2 import BackendApplicationClient
    from requests_oauthlib import OAuth2Session

    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    session = OAuth2Session(client=BackendApplicationClient(client_id="worker"))
    session.fetch_token(token_url=tokens, client_id="worker", client_secret="secret")
    return lambda: session.get(api), None


def authlib(api: str, tokens: str) -> tuple[Call, Call]:
    from authlib.integrations.requests_client import OAuth2Session

    session = OAuth2Session("worker", "secret", token_endpoint=tokens, grant_type="client_credentials")
    session.fetch_token()
    return lambda: session.get(api), lambda: session.ensure_active_token(session.token)


def google_auth(api: str, _: str) -> tuple[Call, Call]:
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    credentials = Credentials(TOKEN)
    session = AuthorizedSession(credentials)
    return lambda: session.get(api), lambda: credentials.before_request(None, "GET", api, {})


def google_service_account(api: str, tokens: str) -> tuple[Call, None]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2 import service_account

    key = rsa.generate_private_key(65_537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"client_email": "worker@example.com", "token_uri": tokens, "private_key": key.decode()}
    session = AuthorizedSession(
        service_account.Credentials.from_service_account_info(account, scopes=["https://api.example.com/auth/api"])
    )
    return lambda: session.get(api), None


def requests_auth(api: str, tokens: str) -> tuple[Call, None]:
    from requests_auth import OAuth2ClientCredentials

    session = requests.Session()
    session.auth = OAuth2ClientCredentials(tokens, client_id="worker", client_secret="secret")
    return lambda: session.get(api), None


class _OnLoopback:
    """The ``http_client=`` by which MSAL, which takes https addresses only, asks a token service on loopback.

    It answers MSAL's question for the metadata itself, and sends token requests by a session like MSAL's own.
    """

    class _Metadata:
        status_code = 200
        headers: Mapping[str, str] = MappingProxyType({})

        def __init__(self, authority: str) -> None:
            self.text = json.dumps(
                {
                    "issuer": f"{authority}/v2.0",
                    "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{authority}/oauth2/v2.0/token",
                }
            )

    def __init__(self, tokens: str) -> None:
        self._tokens = tokens
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(max_retries=1))

    def get(self, url: str, **_: Any) -> Any:
        return self._Metadata(url.partition("/v2.0")[0])

    def post(self, _: str, **options: Any) -> Any:
        return self._session.post(self._tokens, **options)

    def close(self) -> None:
        self._session.close()


def msal_with_requests(api: str, tokens: str) -> tuple[Call, Call]:
    import msal

    application = msal.ConfidentialClientApplication(
        "worker",
        client_credential="secret",
        authority="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000",
        instance_discovery=False,
        http_client=_OnLoopback(tokens),
    )
    session = requests.Session()

    def token() -> str:
        return str(application.acquire_token_for_client(["api/.default"])["access_token"])

    return lambda: session.get(api, headers={"Authorization": f"Bearer {token()}"}), token


def azure_core(api: str, _: str) -> tuple[Call, None]:
    from azure.core import PipelineClient
    from azure.core.credentials import AccessToken
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy
    from azure.core.rest import HttpRequest

    class Credential:
        def get_token(self, *_: str, **__: Any) -> Any:
            return AccessToken(TOKEN, int(time.time()) + 86_400)

    policy = BearerTokenCredentialPolicy(Credential(), "api/.default", enforce_https=False)
    client = PipelineClient(api, policies=[policy])
    return lambda: client.send_request(HttpRequest("GET", api), enforce_https=False).read(), None


#: What P1 compares, in the order of the table.
PEERS: dict[str, Maker] = {
    "requests, static header": plain_requests,
    "requests, trust_env=False": plain_requests_without_environment,
    "requests_cc_token, make_session": requests_cc_token,
    "requests_cc_token, management.mount": mounted_by_management,
    "requests_cc_token, adapter alone": adapter_alone,
    "bare urllib3": bare_urllib3,
    "httpx": httpx,
    "requests-oauth2client": requests_oauth2client,
    "requests-oauthlib": requests_oauthlib,
    "Authlib": authlib,
    "google-auth": google_auth,
    "requests-auth": requests_auth,
    "MSAL with requests": msal_with_requests,
    "azure-core": azure_core,
}


def cachetools_under_a_lock() -> Call:
    """A token in a TTL cache, as one writes it oneself."""
    from cachetools import TTLCache

    cache: Any = TTLCache(1000, 3600)
    cache["worker"] = TOKEN
    lock = threading.Lock()

    def token() -> Any:
        with lock:
            return cache["worker"]

    return token


def attribute_and_clock() -> Call:
    """The least that can be done: a comparison and an attribute."""

    class Kept:
        token, expires = TOKEN, time.monotonic() + 3600

    def token() -> Any:
        return Kept.token if time.monotonic() < Kept.expires else None

    return token
