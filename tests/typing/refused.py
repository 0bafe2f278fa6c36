"""What users misspell; a strict checker refuses each line that says so, and no other. Checked, never run."""

from __future__ import annotations

import requests

import requests_cc_token
from requests_cc_token import (
    AccessTokenAdapter,
    AccessTokenManagement,
    JwtBearerGrant,
    TokenCache,
    TokenExchangeGrant,
    TokenRequestParameters,
    session_for,
)

management = AccessTokenManagement()
client = {"token_endpoint": "https://login.example.com/token"}

requests_cc_token.make_sesion("erp")  # refused
AccessTokenManagement(cach=None)  # refused
AccessTokenManagement(cache={})  # refused
management.add_client("erp", token_endpont="https://login.example.com/token")  # refused
management.add_client("erp", client_id=7)  # refused
management.add_client("erp", scope=7)  # refused
management.add_session("erp", base_url="https://erp.example.com/", clinet="erp")  # refused
management.add_session("erp", base_url="https://erp.example.com/", renew_on="401")  # refused
management.configure_backchannel(retries=3)  # refused
management.mount(requests.Session())  # refused
management.mount(requests.Session(), "https://erp.example.com/", keep_autorization=True)  # refused
management.auth("erp")  # refused
management.service.get_access_token("erp", timeout="5")  # refused
management.service.get_acces_token("erp")  # refused
management.subscribe(lambda: None)  # refused
AccessTokenAdapter(management.service, "erp")  # refused
TokenRequestParameters(scopes="api")  # refused
JwtBearerGrant("key", subjekt="worker")  # refused
TokenExchangeGrant("a fixed token", "jwt")  # refused
management.add_client("erp", client_id="worker", grant="jwt_bearer")  # refused
session_for("https://api.example.com/", client_identifier="worker")  # refused
management.make_session("erp").get("orders", tiemout=5)  # refused


class Half:
    def get(self, key: str) -> None: ...


cache: TokenCache = Half()  # refused
