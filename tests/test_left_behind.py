"""Nothing of ours stays behind on a session of the user's."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import weakref
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from requests_cc_token import AccessTokenManagement, TokenRequestError
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .fetch_threads import FetchThreads


def state(session: requests.Session) -> dict[str, Any]:
    """All that makes a session, but for the identity of its adapters."""
    return {**vars(session), "adapters": [type(adapter) for adapter in session.adapters.values()]}


def managed(tokens: TokenService) -> AccessTokenManagement:
    management = AccessTokenManagement()
    management.add_client("worker", token_endpoint=tokens.token_endpoint, client_id="worker", client_secret=SECRET)
    return management


def test_a_plain_adapter_in_our_place(api: ProtectedApi, token_service: TokenService) -> None:
    """The session is what it was: its class, its state, what it sends, and its pickle, which does not need us."""
    session, plain = requests.Session(), requests.Session()
    with managed(token_service) as management:
        adapter = weakref.ref(management.mount(session, api.base_url))
        assert session.get(api.base_url + "test", timeout=30).status_code == 200
        for each in (session, plain):
            each.mount(api.base_url, HTTPAdapter())
        assert type(session) is requests.Session
        assert state(session) == state(plain)
        assert b"requests_cc_token" not in pickle.dumps(session)
        assert session.get(api.base_url + "test", timeout=30).status_code == 401
        assert dict(api.requests[-1].headers) == {
            **dict(session.headers),
            "Host": api.origin.partition("//")[2],
        }
    del management
    gc.collect()
    assert adapter() is None


def test_a_management_that_was_closed(api: ProtectedApi, token_service: TokenService) -> None:
    """Elsewhere the session works as ever; where the token went, nothing is sent until the adapter is taken away."""
    session = requests.Session()
    before = vars(requests.Session())
    with managed(token_service) as management:
        management.mount(session, api.base_url)
        session.get(api.base_url + "test", timeout=30)
    assert {**vars(session), "adapters": None, "cookies": None} == {**before, "adapters": None, "cookies": None}
    assert session.get(api.origin + "/open", timeout=30).status_code == 200
    with pytest.raises(TokenRequestError, match="closed"):
        session.get(api.base_url + "test", timeout=30)
    del session.adapters[api.base_url]
    assert b"requests_cc_token" not in pickle.dumps(session)
    assert session.get(api.base_url + "test", timeout=30).status_code == 401


def test_nothing_of_a_management_that_is_gone(api: ProtectedApi, token_service: TokenService) -> None:
    """Neither a thread nor an object: not the management, nor its service, nor an adapter."""
    session = requests.Session()
    management = managed(token_service)
    gone: list[weakref.ref[Any]] = [
        weakref.ref(management),
        weakref.ref(management.service),
        weakref.ref(management.mount(session, api.base_url)),
    ]
    session.get(api.base_url + "test", timeout=30)
    management.close()
    session.close()
    FetchThreads.current.end()
    del management, session
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    ours = [thread.ident for thread in threading.enumerate() if thread.name.startswith("requests_cc_token")]
    # Python may keep the record of a thread that has ended; what runs has a frame.
    assert not sys._current_frames().keys() & set(ours)
