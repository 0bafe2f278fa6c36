"""An authority that vouches for workloads: what a Kubernetes cluster or a SPIRE server publishes and hands out."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from joserfc import jwk, jwt

from .api import listening
from .pki import SigningKey
from .registrations import SERVICE_ACCOUNT, SPIFFE_ID, Identity

#: Seconds that a handed-out assertion lives, as SPIRE's do by default.
LIFETIME = 300


@dataclass(frozen=True)
class WorkloadAuthority:
    """Where its keys are published, and how to get an assertion from it."""

    address: str
    key: SigningKey = field(repr=False)

    def _signed(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {**claims, "iat": now, "nbf": now, "exp": now + LIFETIME, "jti": uuid.uuid4().hex}
        key = jwk.ECKey.import_key(self.key.pem)
        return jwt.encode({"alg": "ES256", "typ": "JWT", "kid": self.key.key_id}, claims, key, algorithms=["ES256"])

    def service_account_token(self, audience: str) -> str:
        """What a projected volume of Kubernetes would hold."""
        return self._signed({"iss": self.address.rstrip("/"), "sub": SERVICE_ACCOUNT, "aud": [audience]})

    def jwt_svid(self, audience: str) -> str:
        """A JWT-SVID as the SPIFFE workload API hands it out."""
        return self._signed({"sub": SPIFFE_ID, "aud": [audience]})


@contextmanager
def workload_authority(identity: Identity) -> Iterator[WorkloadAuthority]:
    """The authority, publishing its keys until the block ends."""
    key = identity.keys["p256"]
    published: dict[str, dict[str, Any]] = {
        "/keys": {"keys": [key.jwk(alg="ES256")]},
        "/bundle": {"keys": [key.jwk(alg="ES256", use="jwt-svid")], "spiffe_sequence": 1, "spiffe_refresh_hint": 60},
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            document = published.get(self.path)
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with listening(Handler, identity) as address:
        issuer = address.rstrip("/")
        published["/.well-known/openid-configuration"] = {"issuer": issuer, "jwks_uri": address + "keys"}
        # Where a cluster publishes them.
        published["/openid/v1/jwks"] = published["/keys"]
        yield WorkloadAuthority(address, key)
