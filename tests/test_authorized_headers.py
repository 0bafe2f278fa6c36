"""The headers of a request that carries a token."""

from __future__ import annotations

import copy
import itertools
import pickle

from requests.structures import CaseInsensitiveDict

from requests_cc_token import AccessToken
from requests_cc_token.authorized_headers import AuthorizedHeaders

TOKEN = AccessToken("T41NT", expires_at=0.0)


def test_headers_with_proofs() -> None:
    """Each walk after the first has a new proof, a copy goes on from there, and the repr shows no value."""
    numbers = itertools.count()
    headers = AuthorizedHeaders({"Accept": "*/*", "DPOP": "old"}, TOKEN, lambda: f"proof-{next(numbers)}")
    assert headers["dpop"] == "proof-0"
    assert [value for _, value in headers.items()] == ["*/*", "proof-0", "Bearer T41NT"]
    assert dict(headers.items())["DPoP"] == "proof-1"
    copied = headers.copy()
    copied["X"] = "y"
    assert dict(copied.items()) == {"Accept": "*/*", "DPoP": "proof-2", "Authorization": "Bearer T41NT", "X": "y"}
    assert "X" not in headers
    assert repr(copied) == "<headers Accept, DPoP, Authorization, X>"
    assert copy.copy(headers)["Accept"] == "*/*"


def test_headers_without_a_proof() -> None:
    """They carry the token as often as they are sent, and leave it behind when they travel."""
    headers = AuthorizedHeaders({"Accept": "*/*", "authorization": "old"}, TOKEN)
    headers.position = 3
    for _ in range(2):
        assert dict(headers.items()) == {"Accept": "*/*", "Authorization": "Bearer T41NT"}
    assert (headers.copy().token, headers.copy().position) == (TOKEN, 3)
    for travelled in (headers.without_token(), pickle.loads(pickle.dumps(headers))):
        assert type(travelled) is CaseInsensitiveDict
        assert dict(travelled) == {"Accept": "*/*"}
