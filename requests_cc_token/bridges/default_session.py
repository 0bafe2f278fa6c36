"""The sessions of the default management, for bridges whose host passes a name on at most."""

from __future__ import annotations

from requests.auth import AuthBase

import requests_cc_token


def default_auth(session: str) -> AuthBase:
    """The auth object of a session that ``REQUESTS_CC_TOKEN_CONFIG``, or ``configure``, describes.

    Raises ``ConfigurationError`` and ``UnknownClientError``.
    """
    return requests_cc_token._default.get().make_auth(session)
