"""A strict token service that takes the grants of machines: JWT bearer (RFC 7523) and token exchange (RFC 8693)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

from .scripted_server import Request
from .strict_service import RefusedError, StrictTokenService, unverified, verified

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"


class GrantingService(StrictTokenService):
    """Checks assertions and subject tokens as the RFCs let it; clients that authenticate do so as ever.

    ``keys`` are by client id and by issuer of assertions. ``takes`` are the subject and actor tokens that are valid, by
    type; an access token of its own is valid until it is revoked.
    """

    def __init__(self, now: Callable[[], float] = time.time, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self._now = now
        #: The audiences that an assertion may be for; the token endpoint by default.
        self.audiences = {self.token_endpoint}
        #: Header and claims of each assertion that was granted.
        self.granted: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.takes: dict[str, set[str]] = {}
        self.revoked: set[str] = set()
        #: What is issued where nobody says what is wanted; None is not said.
        self.issues: str | None = TYPE + "access_token"

    def _client(self, request: Request, certificate: str | None) -> str:
        form = request.form
        proofs = {"client_assertion", "client_secret"} & form.keys() or "authorization" in request.headers
        if form["grant_type"] == [JWT_BEARER] and not proofs:
            # RFC 7523 section 2.1: the assertion says who asks.
            return str(unverified(form["assertion"][0])[1]["iss"])
        return "nobody" if form["grant_type"] == [EXCHANGE] and not proofs else super()._client(request, certificate)

    def _granted(self, request: Request, client_id: str) -> Mapping[str, Any]:
        (grant_type,) = request.form["grant_type"]
        if grant_type == JWT_BEARER:
            return self._bearer(request.form)
        return self._exchanged(request.form) if grant_type == EXCHANGE else {}

    def _bearer(self, form: Mapping[str, list[str]]) -> Mapping[str, Any]:
        """RFC 7523 section 3."""
        (assertion,) = form["assertion"]
        _, claims = unverified(assertion)
        try:
            header, claims = verified(assertion, self.keys[str(claims["iss"])])
        except Exception:
            raise RefusedError(400, "invalid_grant") from None
        fresh = claims["nbf"] - 30 <= self._now() < claims["exp"] <= self._now() + 3600
        new = claims["jti"] not in {earlier["jti"] for _, earlier in self.granted}
        if claims["aud"] not in self.audiences or not fresh or not new:
            raise RefusedError(400, "invalid_grant")
        self.granted.append((header, claims))
        return {"subject": claims.get("sub"), "scope": claims["scope"]} if "scope" in claims else {}

    def _exchanged(self, form: Mapping[str, list[str]]) -> Mapping[str, Any]:
        """RFC 8693 sections 2.1 and 2.2."""
        self._check_token(form, "subject")
        if "actor_token" in form or "actor_token_type" in form:
            self._check_token(form, "actor")
        issued = form.get("requested_token_type", [self.issues])[0]
        kind = "Bearer" if issued in (None, TYPE + "access_token") else "N_A"
        return {"token_type": kind} if issued is None else {"token_type": kind, "issued_token_type": issued}

    def _check_token(self, form: Mapping[str, list[str]], role: str) -> None:
        (token,), (kind,) = form[f"{role}_token"], form[f"{role}_token_type"]
        own = {issued.value for issued in self.issued} - self.revoked if kind == TYPE + "access_token" else set()
        if token not in self.takes.get(kind, set()) | own:
            raise RefusedError(400, "invalid_request")
