"""What to do about an error of the token service: a sentence for each code and status that has one."""

from __future__ import annotations

from requests_cc_token.demand import Demand

_BY_CODE = {
    "invalid_client": "check client_id, the secret or key, and the method (auth=...)",
    "unauthorized_client": "allow the client credentials grant for this client at the token service, and check "
    "client_id and the secret: some servers say this of a wrong one",
    "unsupported_grant_type": "the token service does not offer the client credentials grant here; grant_type=... "
    "asks by a vendor's own name",
    "invalid_grant": "check grant_type=... and the parameters that go with it, and that the client's account is active",
    "invalid_scope": "check scope=... against what the client may ask for",
    "invalid_target": "check resource=... or audience=... against what the token service knows; "
    "allow_any_resource=True sends one that is no URI",
    "invalid_resource": "check resource=... against what the token service knows; allow_any_resource=True sends one "
    "that is no URI",
    "invalid_request": "check the registration: a parameter is missing, repeated or malformed",
    "access_denied": "allow the client what it asks for at the token service: scope=..., audience=... or resource=...",
    "invalid_dpop_proof": "check that the server knows the algorithm of dpop=..., and this machine's clock",
    "use_dpop_nonce": "the token service wants a nonce but sent none that can be used (RFC 9449 section 8)",
    "invalid_authorization_details": "check authorization_details=...",
}

_BY_STATUS = {
    403: "something may stand before the token service and refuse this address, the User-Agent or a missing key; "
    "headers=... sends what it wants",
    404: "check token_endpoint=...: there is nothing at that address, or not at this moment",
    405: "check token_endpoint=...: what is at that address takes no POST",
    406: "customize_request=... can ask for another kind of answer",
    407: "the proxy wants credentials: put them into its URL",
    415: "customize_request=... can send another kind of body",
}

_REDIRECT = "redirects are not followed, since the secret would travel with them; register the final URL"
#: Entra says ``invalid_resource`` of a scope, the only thing that names the API there.
_NO_RESOURCE_GIVEN = "nothing names the API but scope=...; check that, or give resource=... or audience=..."


def advice_for(code: str | None, status: int = 0, demand: Demand | None = None) -> str | None:
    """What to do about an error code or, without one, a status; None where there is nothing to say.

    A 401 without a code is one of the client, too.
    """
    if code is None and status == 401:
        code = "invalid_client"
    if code is None:
        return _REDIRECT if 300 <= status < 400 else _BY_STATUS.get(status)
    advice = _BY_CODE.get(code)
    if demand is None:
        return advice
    if demand.client.grant is not None:
        advice = demand.client.grant.advice.get(code, advice)
    if code in ("invalid_resource", "invalid_target") and demand.scope and not (demand.resource or demand.audience):
        return _NO_RESOURCE_GIVEN
    if code in ("invalid_client", "unauthorized_client"):
        of_method = demand.client.auth.advice if code == "invalid_client" else None
        of_secret = None if demand.client.client_secret is None else demand.client.client_secret.advice
        return "; ".join(filter(None, (advice, of_method, of_secret)))
    return advice
