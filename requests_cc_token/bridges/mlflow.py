"""A request auth provider of mlflow: ``MLFLOW_TRACKING_AUTH=cc`` sends the token of the session ``mlflow``.

The session is one of the default management: ``REQUESTS_CC_TOKEN_CONFIG`` names its file, or a program calls
``requests_cc_token.configure``. Its ``base_url`` is the tracking server's address.
"""

from __future__ import annotations

from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from requests.auth import AuthBase

from requests_cc_token import make_auth


class ClientCredentialsProvider(RequestAuthProvider):
    """What mlflow asks for the auth object of each of its requests."""

    def get_name(self) -> str:
        """What ``MLFLOW_TRACKING_AUTH`` calls it."""
        return "cc"

    def get_auth(self) -> AuthBase:
        """The auth object. Raises ``ConfigurationError`` and ``UnknownClientError``."""
        return make_auth("mlflow")
