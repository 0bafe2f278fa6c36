"""A REST catalog of pyiceberg with the token of a session of the default management.

``py-catalog-impl`` is the class path, ``token-session`` the session's name (the catalog's own without it). That
session's ``base_url`` is the catalog's ``uri``, and its ``renew_on`` says 419 too where the catalog does.
"""

from __future__ import annotations

from typing import Any

import requests
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.rest.auth import AuthManagerAdapter, NoopAuthManager

from requests_cc_token import make_auth


class ClientCredentialsCatalog(RestCatalog):
    """The REST catalog. Raises ``ConfigurationError`` and ``UnknownClientError``."""

    def __init__(self, name: str, **properties: Any) -> None:
        super().__init__(name, **{**properties, "auth": {"type": "noop"}})

    def _create_session(self) -> requests.Session:
        # An AuthManager gives a header and never sees a response; only the session's auth object can renew a token that
        # the catalog refuses.
        session: requests.Session = super()._create_session()
        session.auth = _SessionAuth(self.properties.get("token-session", self.name))
        return session


class _SessionAuth(AuthManagerAdapter):
    """What pyiceberg expects to find as the session's auth object."""

    def __init__(self, session: str) -> None:
        super().__init__(NoopAuthManager())
        self._auth = make_auth(session)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        authorized: requests.PreparedRequest = self._auth(request)
        return authorized
