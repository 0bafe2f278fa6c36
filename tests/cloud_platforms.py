"""Cloud platforms on loopback, as far as the recipes ask them: their protocols, for requests that are in order."""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from requests_cc_token.authentication.signing_key import signed

from .scripted_server import Action, Request, ScriptedServer, answer

ACCESS_KEY = "AKIATAINT41NT0000000"
ROLE = "arn:aws:iam::123456789012:role/worker"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
#: The hosts of Google's that its client asks.
GOOGLE_HOSTS = ("oauth2.googleapis.com", "secretmanager.googleapis.com")


class Aws(ScriptedServer):
    """STS (AWS Query protocol) and Secrets Manager (AWS JSON 1.1), for who has the access key."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        #: Signs the tokens of the role.
        self.key = ECKey.generate_key("P-384")
        self.respond = self._respond

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client of AWS here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "T41NT-aws",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _respond(self, request: Request) -> Action:
        service = "secretsmanager" if "x-amz-target" in request.headers else "sts"
        signature = rf"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/\d{{8}}/eu-central-1/{service}/aws4_request, "
        if not re.match(signature, request.headers.get("authorization", "")):
            return answer(403, b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>")
        return self._secrets_manager(request) if service == "secretsmanager" else self._sts(request)

    def _secrets_manager(self, request: Request) -> Action:
        assert request.headers["content-type"] == "application/x-amz-json-1.1"
        assert request.headers["x-amz-target"] == "secretsmanager.GetSecretValue"
        if json.loads(request.body) != {"SecretId": "worker"}:
            return answer(400, {"__type": "ResourceNotFoundException", "Message": "no such secret"})
        return answer(200, {"Name": "worker", "SecretString": self.secret, "VersionStages": ["AWSCURRENT"]})

    def _sts(self, request: Request) -> Action:
        form = {name: value for name, (value,) in request.form.items()}
        assert form == {
            "Action": "GetWebIdentityToken",
            "Version": "2011-06-15",
            "Audience.member.1": "https://login.example.com",
            "SigningAlgorithm": "ES384",
        }
        now = int(time.time())
        claims = {"iss": "https://made-up.tokens.sts.global.api.aws", "sub": ROLE, "aud": form["Audience.member.1"]}
        claims |= {"iat": now, "exp": now + 300, "jti": str(len(self.requests))}  # type: ignore[dict-item]
        token = signed(self.key, {"alg": "ES384", "typ": "JWT"}, claims)
        expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 300))
        return answer(
            200,
            f'<GetWebIdentityTokenResponse xmlns="{STS_NAMESPACE}"><GetWebIdentityTokenResult>'
            f"<WebIdentityToken>{token}</WebIdentityToken><Expiration>{expiration}</Expiration>"
            "</GetWebIdentityTokenResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
            "</GetWebIdentityTokenResponse>".encode(),
            [("Content-Type", "text/xml")],
        )


class Google(ScriptedServer):
    """Google's token endpoint (RFC 7523 section 2.1) and Secret Manager (REST, v1), for a service account."""

    access_token = "T41NT-google"

    def __init__(self, secret: str, tls: ssl.SSLContext) -> None:
        super().__init__(tls=tls)
        self.secret = secret
        self.key = RSAKey.generate_key(2048)
        self.respond = self._respond

    def write_credentials(self, path: Path) -> Mapping[str, str]:
        """Write the file of the service account; the environment in which Google's clients find it."""
        account = {
            "type": "service_account",
            "project_id": "made-up",
            "private_key_id": "1",
            "private_key": self.key.as_pem(private=True).decode(),
            "client_email": "worker@made-up.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        path.write_text(json.dumps(account), encoding="utf-8")
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}

    def _respond(self, request: Request) -> Action:
        if request.target == "/token":
            (assertion,) = request.form["assertion"]
            claims: dict[str, Any] = jwt.decode(assertion, self.key, algorithms=["RS256"]).claims
            assert claims["aud"] == "https://oauth2.googleapis.com/token"
            assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
            return answer(200, {"access_token": self.access_token, "token_type": "Bearer", "expires_in": 3599})
        if request.headers.get("authorization") != f"Bearer {self.access_token}":
            return answer(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}})
        if request.target != "/v1/projects/made-up/secrets/worker/versions/latest:access":
            return answer(404, {"error": {"code": 404, "status": "NOT_FOUND"}})
        data = base64.b64encode(self.secret.encode()).decode()
        return answer(200, {"name": "projects/1/secrets/worker/versions/3", "payload": {"data": data}})
