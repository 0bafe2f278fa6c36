"""Answers of token services as their vendors document them, with values of our own.

One table of tokens and one of refusals. ``options`` are what the client needs to be registered with; None as lifetime
is the client's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

#: Seconds since the epoch at which each answer comes.
NOW = 1_700_000_000.0

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2V4YW1wbGUifQ.c2lnbmF0dXJl"


@dataclass(frozen=True)
class Token:
    """An answer that is a token."""

    vendor: str
    body: Any
    value: str
    lifetime: float | None
    scope: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error: its code, what the message repeats of it, and whether it may pass."""

    vendor: str
    status: int
    body: Any
    code: str | None
    said: str
    transient: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def gocardless(response: requests.Response) -> dict[str, Any]:
    """``access`` and ``access_expires``."""
    said = response.json()
    return {"access_token": said["access"], "token_type": "Bearer", "expires_in": said["access_expires"]}


def feishu(response: requests.Response) -> dict[str, Any]:
    """The outcome as a code within a 200."""
    said = response.json()
    if said["code"]:
        return {"error": f"code-{said['code']}", "error_description": said["msg"]}
    return {"access_token": said["tenant_access_token"], "token_type": "Bearer", "expires_in": said["expire"]}


def enveloped(response: requests.Response) -> dict[str, Any]:
    """In camelCase, one level down."""
    said = response.json()["data"]
    return {"access_token": said["accessToken"], "token_type": said["tokenType"], "expires_in": said["expiresIn"]}


BEARER = {"token_type": "Bearer"}

TOKENS: list[Token] = [
    Token(
        "Salesforce",
        {
            "access_token": "00D5e000001N20Q!AR8AQJXg5oj8jXSgxJfA0lBog.39AsX.LVpxezPwuX5VAIrrbbHMuol7",
            "signature": "CMJ4l+CCaPQiKjoOEwEig9H4wqhpuLSk4J2urAe+fVg=",
            "instance_url": "https://example.my.salesforce.com",
            "id": "https://login.salesforce.com/id/00D5e/0055e",
            "token_type": "Bearer",
            "issued_at": "1699999999123",
            "scope": "api",
        },
        "00D5e000001N20Q!AR8AQJXg5oj8jXSgxJfA0lBog.39AsX.LVpxezPwuX5VAIrrbbHMuol7",
        None,
        "api",
    ),
    Token(
        "Twitch",
        {
            "access_token": "jostpf5q0uzmxmkba9iyug38kjtgh",
            "expires_in": 5011271,
            "scope": ["channel:read:subscriptions", "user:read:email"],
            "token_type": "bearer",
        },
        "jostpf5q0uzmxmkba9iyug38kjtgh",
        5011271,
        "channel:read:subscriptions user:read:email",
    ),
    Token(
        "Zoom",
        {
            "access_token": JWT,
            "token_type": "bearer",
            "expires_in": 3599,
            "scope": "user:read:user meeting:read:meeting",
            "api_url": "https://api.zoom.us",
        },
        JWT,
        3599,
        "user:read:user meeting:read:meeting",
        {"grant_type": "account_credentials", "parameters": {"account_id": "abc"}},
    ),
    Token("Okta", {"token_type": "Bearer", "expires_in": 3600, "access_token": JWT, "scope": "api"}, JWT, 3600, "api"),
    Token(
        "Entra v1",
        {
            "token_type": "Bearer",
            "expires_in": "3599",
            "ext_expires_in": "3599",
            "expires_on": "1700003599",
            "not_before": "1699999699",
            "resource": "https://graph.windows.net",
            "access_token": JWT,
        },
        JWT,
        3599,
    ),
    Token(
        "Entra, a managed identity",
        {
            "access_token": JWT,
            "client_id": "aaaa",
            "expires_on": "1700086400",
            "resource": "https://vault.azure.net",
            "token_type": "Bearer",
        },
        JWT,
        86400,
    ),
    Token(
        "Entra v2", {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": JWT}, JWT, 3599
    ),
    Token(
        "SharePoint ACS",
        {
            "token_type": "Bearer",
            "expires_in": "86399",
            "not_before": "1699999700",
            "expires_on": "1700086399",
            "resource": "00000003-0000-0ff1-ce00-000000000000/example.sharepoint.com@tenant",
            "access_token": JWT,
        },
        JWT,
        86399,
    ),
    Token("AD FS", {"access_token": JWT, "token_type": "bearer", "expires_in": 3600}, JWT, 3600),
    Token(
        "Apigee",
        {
            "issued_at": "1699999999658",
            "scope": "READ",
            "application_name": "ce1e94a2-9c3e-42fa-a2c6-1ee01815476b",
            "refresh_token_issued_at": "0",
            "status": "approved",
            "api_product_list": "[PremiumWeatherAPI]",
            "expires_in": "1799",
            "developer.email": "a@example.com",
            "token_type": "BearerToken",
            "client_id": "5jUAdGv9pBouF0wOH5keAVI35GBtx3dT",
            "access_token": "YlJBkgBrLcH5OGkRr5gI5fOnnvfP",
            "refresh_token_expires_in": "0",
            "refresh_count": "0",
        },
        "YlJBkgBrLcH5OGkRr5gI5fOnnvfP",
        1799,
        "READ",
        BEARER,
    ),
    Token(
        "WSO2",
        {
            "access_token": "ca19a540f544777860e44e75f605d927",
            "scope": "am_application_scope default",
            "token_type": "Bearer",
            "expires_in": 3600,
        },
        "ca19a540f544777860e44e75f605d927",
        3600,
        "am_application_scope default",
    ),
    Token("Cognito", {"access_token": JWT, "expires_in": 3600, "token_type": "Bearer"}, JWT, 3600),
    Token(
        "PayPal",
        {
            "scope": "https://uri.paypal.com/services/invoicing openid",
            "access_token": "A21AAFEpH4PsADK7qSS7pSRsgzfENtu-Q1ysgEDVDESseMHBYXVJYE8ovjj68elIDy8nF26A",
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": 31668,
            "nonce": "2023-11-14T22:13:20ZaYZlGvEkV4yVSz8g6bAKFoGSEzuy3CQcz3ljhibkOHg",
        },
        "A21AAFEpH4PsADK7qSS7pSRsgzfENtu-Q1ysgEDVDESseMHBYXVJYE8ovjj68elIDy8nF26A",
        31668,
        "https://uri.paypal.com/services/invoicing openid",
    ),
    Token(
        "SAP XSUAA",
        {
            "access_token": JWT,
            "token_type": "bearer",
            "expires_in": 43199,
            "scope": "uaa.resource app!t123.read",
            "jti": "c1c1f5a0",
        },
        JWT,
        43199,
        "uaa.resource app!t123.read",
    ),
    Token(
        "Workday",
        {"refresh_token": "r" * 40, "token_type": "Bearer", "access_token": "1bx5q8hgn2wz3mi0dgsl5gsn2"},
        "1bx5q8hgn2wz3mi0dgsl5gsn2",
        None,
    ),
    Token(
        "ServiceNow",
        {
            "access_token": "KVnOYqm5Ip-8kVWH6s4fYNpBoj87jVdYYIvZFYPPGh",
            "refresh_token": "oS4gWcjC",
            "scope": "useraccount",
            "token_type": "Bearer",
            "expires_in": 1799,
        },
        "KVnOYqm5Ip-8kVWH6s4fYNpBoj87jVdYYIvZFYPPGh",
        1799,
        "useraccount",
    ),
    Token(
        "Marketo",
        {
            "access_token": "cdf01657-110d-4155-99a7-f986b2ff13a0:int",
            "token_type": "bearer",
            "expires_in": 3599,
            "scope": "apis@example.com",
        },
        "cdf01657-110d-4155-99a7-f986b2ff13a0:int",
        3599,
        "apis@example.com",
    ),
    Token(
        "Keycloak",
        {
            "access_token": JWT,
            "expires_in": 300,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "profile email",
        },
        JWT,
        300,
        "profile email",
    ),
    Token(
        "Auth0",
        {"access_token": JWT, "scope": "read:a", "expires_in": 86400, "token_type": "Bearer"},
        JWT,
        86400,
        "read:a",
    ),
    Token(
        "eBay",
        {
            "access_token": "v^1.1#i^1#p^1#r^0#I^3#f^0#t^H4sIAAAAAAAAAOVXbWwURRju9Qs==",
            "expires_in": 7200,
            "token_type": "Application Access Token",
        },
        "v^1.1#i^1#p^1#r^0#I^3#f^0#t^H4sIAAAAAAAAAOVXbWwURRju9Qs==",
        7200,
        None,
        BEARER,
    ),
    Token("LinkedIn", {"access_token": "AQV8Example", "expires_in": "1800"}, "AQV8Example", 1800, None, BEARER),
    Token(
        "Sabre",
        {"access_token": "T1RLAQKvhOegyUujiZpE+uDAjHHm/f8g00qU8Zh6gQg**", "token_type": "bearer", "expires_in": 604800},
        "T1RLAQKvhOegyUujiZpE+uDAjHHm/f8g00qU8Zh6gQg**",
        604800,
    ),
    Token(
        "UPS",
        {
            "refresh_token_expires_in": "0",
            "refresh_token_status": "approved",
            "token_type": "Bearer",
            "issued_at": "1699999999000",
            "access_token": JWT,
            "refresh_count": "0",
            "expires_in": "14399",
            "scope": "",
            "status": "approved",
        },
        JWT,
        14399,
        "",
    ),
    Token(
        "Amadeus",
        {
            "type": "amadeusOAuth2Token",
            "username": "a@example.com",
            "token_type": "Bearer",
            "access_token": "CpjU0sEenniHCgPDrndzOSWFk5mN",
            "expires_in": 1799,
            "state": "approved",
            "scope": "",
        },
        "CpjU0sEenniHCgPDrndzOSWFk5mN",
        1799,
        "",
    ),
    Token(
        "IBM Cloud",
        {
            "access_token": JWT,
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": 3600,
            "expiration": 1700003600,
            "scope": "ibm openid",
        },
        JWT,
        3600,
        "ibm openid",
    ),
    Token(
        "Box",
        {
            "access_token": "c3FIOG9vSGV4VHo4QzAyg5T1JvNnJoZ3ExaVNyQWw6WjRsanRKZG5lQk9qUE1BVQ",
            "expires_in": 3600,
            "restricted_to": [],
            "token_type": "bearer",
        },
        "c3FIOG9vSGV4VHo4QzAyg5T1JvNnJoZ3ExaVNyQWw6WjRsanRKZG5lQk9qUE1BVQ",
        3600,
    ),
    Token("MuleSoft, no lifetime", {"access_token": "f648b540", "token_type": "bearer"}, "f648b540", None),
    Token(
        "one that answers as a form",
        b"access_token=gho_16C7e42F292c6912E7710c838347Ae178B4a&scope=repo%2Cgist&token_type=bearer",
        "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        None,
        "repo,gist",
        content_type="application/x-www-form-urlencoded; charset=utf-8",
    ),
    Token(
        "one that creates tokens",
        {"access_token": "t", "token_type": "Bearer", "expires_in": 60},
        "t",
        60,
        status=201,
    ),
    Token(
        "GoCardless bank data",
        {"access": JWT, "access_expires": 86400, "refresh": "r", "refresh_expires": 2592000},
        JWT,
        86400,
        None,
        {"read_answer": gocardless},
    ),
    Token(
        "Feishu",
        {"code": 0, "expire": 7140, "msg": "ok", "tenant_access_token": "t-g1044qeGEDXTB6NDJOGV4JQCYDGHRBARFTGT1234"},
        "t-g1044qeGEDXTB6NDJOGV4JQCYDGHRBARFTGT1234",
        7140,
        None,
        {"read_answer": feishu},
    ),
    Token(
        "one in an envelope",
        {"success": True, "data": {"accessToken": "abc.def", "tokenType": "Bearer", "expiresIn": 900}},
        "abc.def",
        900,
        None,
        {"read_answer": enveloped},
    ),
]

REFUSALS: list[Refusal] = [
    Refusal(
        "Salesforce",
        400,
        {"error": "invalid_client_id", "error_description": "client identifier invalid"},
        "invalid_client_id",
        "answered 400 invalid_client_id (client identifier invalid)",
    ),
    Refusal("Twitch", 403, {"status": 403, "message": "invalid client secret"}, None, '"invalid client secret"', True),
    Refusal(
        "Zoom",
        400,
        {"reason": "Bad Request", "error": "invalid_request"},
        "invalid_request",
        "answered 400 invalid_request; check the registration",
    ),
    Refusal(
        "Okta",
        401,
        {
            "errorCode": "invalid_client",
            "errorSummary": "Invalid value for 'client_id' parameter.",
            "errorLink": "invalid_client",
            "errorId": "oaebm7Q1bSwRjq",
            "errorCauses": [],
        },
        None,
        "Invalid value for 'client_id' parameter.",
        True,
    ),
    Refusal(
        "Entra",
        401,
        {
            "error": "invalid_client",
            "error_description": "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the "
            "request is the client secret value, not the client secret ID, for a secret added to app 'aaaa'.\r\nTrace "
            "ID: 1111\r\nCorrelation ID: 2222\r\nTimestamp: 2023-11-14 22:13:20Z",
            "error_codes": [7000215],
            "timestamp": "2023-11-14 22:13:20Z",
            "trace_id": "1111",
            "correlation_id": "2222",
            "error_uri": "https://login.microsoftonline.com/error?code=7000215",
        },
        "invalid_client",
        "not the client secret ID, for a secret added to app 'aaaa'",
    ),
    Refusal(
        "AD FS",
        400,
        {"error": "invalid_resource", "error_description": "MSIS9602: The received 'resource' parameter is invalid."},
        "invalid_resource",
        "allow_any_resource=True",
    ),
    Refusal(
        "Apigee, a fault",
        401,
        {
            "fault": {
                "faultstring": "Invalid client identifier",
                "detail": {"errorcode": "oauth.v2.InvalidClientIdentifier"},
            }
        },
        None,
        "Invalid client identifier",
        True,
    ),
    Refusal(
        "Apigee",
        401,
        {"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"},
        None,
        "ClientId is Invalid",
        True,
    ),
    Refusal(
        "WSO2",
        401,
        {"error_description": "A valid OAuth client could not be found.", "error": "invalid_client"},
        "invalid_client",
        "A valid OAuth client could not be found.",
    ),
    Refusal(
        "WSO2, XML",
        401,
        b'<ams:fault xmlns:ams="http://wso2.org/apimanager/security"><ams:code>900901</ams:code><ams:message>Invalid '
        b"Credentials</ams:message></ams:fault>",
        None,
        "(900901 Invalid Credentials)",
        True,
        {"Content-Type": "application/xml"},
    ),
    Refusal("Cognito", 400, {"error": "invalid_client"}, "invalid_client", "check client_id, the secret or key"),
    Refusal(
        "PayPal",
        401,
        {"error": "invalid_client", "error_description": "Client Authentication failed"},
        "invalid_client",
        "(Client Authentication failed)",
    ),
    Refusal(
        "SAP XSUAA",
        401,
        {"error": "unauthorized", "error_description": "Bad credentials"},
        "unauthorized",
        "answered 401 unauthorized (Bad credentials)",
        True,
    ),
    Refusal(
        "Keycloak",
        401,
        {"error": "unauthorized_client", "error_description": "Invalid client or Invalid client credentials"},
        "unauthorized_client",
        "some servers say this of a wrong one",
    ),
    Refusal(
        "Auth0",
        403,
        {"error": "access_denied", "error_description": "Service not enabled within domain: https://api"},
        "access_denied",
        "Service not enabled within domain",
    ),
    Refusal(
        "Hydra",
        401,
        {
            "error": "invalid_client",
            "error_description": "Client authentication failed (e.g., unknown client, no client authentication "
            "included, or unsupported authentication method). The OAuth 2.0 Client supports client authentication "
            "method 'client_secret_basic', but method 'client_secret_post' was requested. You must configure the OAuth "
            "2.0 client's 'token_endpoint_auth_method' value to accept 'client_secret_post'.",
        },
        "invalid_client",
        "value to accept 'client_secret_post'.)",
    ),
    Refusal("Reddit", 401, {"message": "Unauthorized", "error": 401}, None, '"message": "Unauthorized"', True),
    Refusal(
        "FedEx",
        401,
        {
            "transactionId": "624deea6-b709-470c-8c39-4b5511281492",
            "errors": [{"code": "NOT.AUTHORIZED.ERROR", "message": "The given client credentials were not valid."}],
        },
        None,
        "The given client credentials were not valid.",
        True,
    ),
    Refusal(
        "UPS",
        401,
        {"response": {"errors": [{"code": "10400", "message": "Invalid/Missing Authorization Header"}]}},
        None,
        "Invalid/Missing Authorization Header",
        True,
    ),
    Refusal(
        "Spring Boot, on the way",
        404,
        {"timestamp": "2023-11-14T22:13:20Z", "status": 404, "error": "Not Found", "path": "/oauth/token"},
        "Not Found",
        "answered 404 Not Found",
        True,
    ),
    Refusal(
        "Cloudflare",
        403,
        b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head><body>x</body></html>",
        None,
        "answered 403 (Attention Required! | Cloudflare); something may stand before the token service",
        True,
        {"Content-Type": "text/html"},
    ),
    Refusal("an AWS load balancer", 403, b'{"message":"Forbidden"}', None, '{"message": "Forbidden"}', True),
    Refusal("Envoy", 503, b"no healthy upstream", None, "answered 503 (no healthy upstream)", True),
    Refusal(
        "a challenge alone",
        401,
        b"",
        None,
        "answered 401 (the client is disabled)",
        True,
        {"WWW-Authenticate": 'Bearer realm="x", error_description="the client is disabled"'},
    ),
    Refusal(
        "a challenge with a code",
        401,
        b"",
        "invalid_client",
        "answered 401 invalid_client (locked)",
        False,
        {"WWW-Authenticate": 'Basic realm="x", error="invalid_client", error_description="locked"'},
    ),
    Refusal("an error object", 400, {"error": {"code": 7, "message": "no such app"}}, None, "no such app", True),
]
