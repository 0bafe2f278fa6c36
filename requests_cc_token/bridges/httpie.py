"""A plugin of HTTPie: ``http -A cc -a SESSION: URL`` sends the token of a session of the configuration file.

``REQUESTS_CC_TOKEN_CONFIG`` names the file. The token goes where the session's ``base_url`` says, nowhere else.
"""

from __future__ import annotations

import os

from httpie.plugins import AuthPlugin
from requests.auth import AuthBase

from requests_cc_token.config import CONFIG_VARIABLE
from requests_cc_token.exceptions import ConfigurationError, UnknownClientError
from requests_cc_token.management import AccessTokenManagement


class ClientCredentialsPlugin(AuthPlugin):
    """The authentication type ``cc``; the user name of ``-a`` is a session's name."""

    name = "OAuth 2.0 client credentials"
    auth_type = "cc"
    description = f"The access token of a session of the file that {CONFIG_VARIABLE} names: -A cc -a SESSION:"
    prompt_password = False

    def get_auth(self, username: str | None = None, password: str | None = None) -> AuthBase:
        """The auth object for the session ``username``. Raises ``ConfigurationError`` and ``UnknownClientError``."""
        path = os.environ.get(CONFIG_VARIABLE)
        if not path:
            raise ConfigurationError(f"set {CONFIG_VARIABLE} to the path of a configuration file")
        management = AccessTokenManagement.from_config(path)
        sessions = management.sessions
        if username not in sessions:
            raise UnknownClientError(f"{path} has no session {username!r}; it has {sorted(sessions)}", sessions)
        return management.make_auth(username)
