"""How ``.netrc`` never wins.

``requests`` reads credentials from it for every request without ``auth``, and again for where a redirect leads.
Sessions of our own do not ask for them; on a session of the caller's they are told from what the caller wrote.
"""

from __future__ import annotations

import requests
from requests.auth import AuthBase, _basic_auth_str
from requests.utils import get_netrc_auth


class NoNetrc(AuthBase):
    """An auth object that adds nothing: on a session it keeps ``requests`` from asking ``.netrc``.

    ``trust_env=False`` would do that too, and would drop proxies and CA settings of the environment with it.
    """

    __slots__ = ()

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Leave the request as it is."""
        return r

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoNetrc)

    def __hash__(self) -> int:
        return hash(NoNetrc)


def strip_authorization(
    session: requests.Session, prepared_request: requests.PreparedRequest, response: requests.Response
) -> None:
    """``Session.rebuild_auth`` without what it takes from ``.netrc`` for the host that a redirect leads to."""
    headers, url = prepared_request.headers, response.request.url
    if "Authorization" in headers and session.should_strip_auth(str(url), str(prepared_request.url)):
        del headers["Authorization"]


def is_from_netrc(authorization: str | bytes, url: str) -> bool:
    """Whether ``requests`` itself took this header from ``.netrc``; the caller never wrote it."""
    if not isinstance(authorization, str) or not authorization.startswith("Basic "):
        return False
    pair = get_netrc_auth(url)
    return pair is not None and _basic_auth_str(*pair) == authorization
