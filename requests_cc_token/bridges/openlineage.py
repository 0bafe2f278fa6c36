"""A transport of OpenLineage's client: ``http``, with the token of a session of the default management.

Its configuration has the class path as ``type`` and ``token_session``, the session's name (``openlineage`` without it);
everything else is that of the transport ``http``.
"""

from __future__ import annotations

from typing import Any

import requests
from openlineage.client.transport.http import HttpConfig, HttpTransport

from requests_cc_token import make_auth


class ClientCredentialsConfig(HttpConfig):
    """The configuration of the transport ``http``, with a session that has the token."""

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> Any:
        """The configuration of these entries. Raises ``ConfigurationError`` and ``UnknownClientError``."""
        config = HttpConfig.from_dict(params)
        config.session = requests.Session()
        config.session.auth = make_auth(params.get("token_session", "openlineage"))
        return config


class ClientCredentialsTransport(HttpTransport):
    """The transport ``http`` with that configuration."""

    config_class = ClientCredentialsConfig
