"""Client authentication by a secret that is sent (RFC 6749 section 2.3.1)."""

from __future__ import annotations

import base64
from typing import Literal
from urllib.parse import quote

from requests_cc_token.exceptions import ConfigurationError

from .method import Applicant, ClientAuthentication, TokenRequest, secret_of


class ClientSecretBasic(ClientAuthentication):
    """Sends the client secret in the ``Authorization`` header, ``client_secret_basic`` (RFC 6749 section 2.3.1).

    ``encoding="form"`` encodes the id and the secret as forms do, as the RFC requires; ``"raw"`` does not, for servers
    that do not decode them. It makes a difference only if they contain special characters.

    Raises ``ConfigurationError``.
    """

    method = "client_secret_basic"
    needs_secret = True

    def __init__(self, encoding: Literal["form", "raw"] = "form") -> None:
        if encoding not in ("form", "raw"):
            raise ConfigurationError('ClientSecretBasic: encoding must be "form" or "raw"')
        self.encoding = encoding

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Set the ``Authorization`` header. Raises ``TokenRequestError`` if the secret cannot be read."""
        secret = secret_of(client).read()
        request.note_secret(secret)
        pair = [client.client_id, secret]
        if self.encoding == "form":
            pair = [form_encode(part) for part in pair]
        request.headers["Authorization"] = "Basic " + base64.b64encode(":".join(pair).encode()).decode("ascii")

    def check(self, client: Applicant) -> None:
        """Raise ``ConfigurationError`` without a secret, or for a ``client_id`` that ``"raw"`` cannot carry."""
        super().check(client)
        if self.encoding == "raw" and ":" in client.client_id:
            raise ConfigurationError(
                f"token client {client.name!r}: a client_id with a colon cannot be sent raw; "
                'use ClientSecretBasic(encoding="form") or ClientSecretPost()'
            )

    def __repr__(self) -> str:
        return f"ClientSecretBasic(encoding={self.encoding!r})"


class ClientSecretPost(ClientAuthentication):
    """Sends the client secret in the body of the token request, ``client_secret_post`` (RFC 6749 section 2.3.1)."""

    method = "client_secret_post"
    needs_secret = True

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add ``client_id`` and ``client_secret``. Raises ``TokenRequestError`` if the secret cannot be read."""
        secret = secret_of(client).read()
        request.note_secret(secret)
        request.form["client_id"] = client.client_id
        request.form["client_secret"] = secret


def form_encode(text: str) -> str:
    """``application/x-www-form-urlencoded`` of one value, UTF-8 (RFC 6749 appendix B).

    A blank is ``%20``, which every decoder of forms takes for one; some servers take ``+`` for itself.
    """
    # quote leaves "~" alone, the HTML form encoding does not, and spares "*".
    return quote(text, safe="*").replace("~", "%7E")
