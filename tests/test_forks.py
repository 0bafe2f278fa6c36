"""Forks: who starts something anew in a child is told, once, for as long as it lives."""

from __future__ import annotations

import gc
import os
import threading

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

import requests_cc_token
from requests_cc_token import AccessTokenManagement, forks
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.forks import renew_after_fork

from .forked import in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Owner:
    def __init__(self) -> None:
        self.told: list[int] = []
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        self.told.append(os.getpid())


def test_an_owner_is_told_in_the_child_only() -> None:
    """The child's copy is told once, the parent's never."""
    owner = Owner()

    def check() -> None:
        assert owner.told == [os.getpid()]

    in_child(check)
    assert owner.told == []


def test_a_child_of_a_child_is_told_too() -> None:
    """The registration outlives the fork."""
    owner = Owner()

    def check() -> None:
        in_child(lambda: owner.told[1:] == [os.getpid()] or pytest.fail(str(owner.told)))

    in_child(check)


def test_an_owner_that_is_gone_is_not_kept() -> None:
    """Registering keeps nothing alive, and a fork after its end tells the others."""
    owner, other = Owner(), Owner()
    freed = threading.Event()
    owner.after_fork_in_child = freed.set  # type: ignore[method-assign]
    del owner
    gc.collect()

    def check() -> None:
        assert not freed.is_set()
        assert other.told == [os.getpid()]

    in_child(check)


def test_owners_come_and_go_in_threads_while_the_process_forks() -> None:
    """Forks in the middle of registrations, by many threads, tell everybody who was there before."""
    owner = Owner()
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            Owner()

    threads = [threading.Thread(target=churn, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            in_child(lambda: owner.told == [os.getpid()] or pytest.fail(str(owner.told)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_lock_held_at_the_fork_is_free_in_the_child(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """Whatever lock another thread holds while the process forks, the child configures, asks and sends."""
    management.add_session("api", base_url=api.base_url, client="worker")
    session = management.make_session("api")
    assert session.get("test").status_code == 200
    requests_cc_token.configure(management)
    owners = [management.service._guard, management._backchannel.servers, management._cache]
    locks = [vars(owner)["_lock"] for owner in owners]
    locks += [requests_cc_token._default.lock, management._registry._dropping]
    condition = management._backchannel.closed._cond  # type: ignore[attr-defined]

    def check() -> None:
        management.add_client(
            "other", token_endpoint="https://login.example.com/token", client_id="other", client_secret="secret"
        )
        management.add_session("second", base_url=api.base_url, client="worker")
        management.configure_backchannel(timeout=5)
        management.service.delete_access_token("worker")
        assert session.get("test").status_code == 200
        assert requests_cc_token.make_session("second").get("test").status_code == 200
        management.close()

    for lock in [*locks, condition]:
        lock.acquire()
    try:
        in_child(check)
    finally:
        for lock in [*locks, condition]:
            lock.release()


def test_a_management_that_was_closed_is_closed_in_the_child(management: AccessTokenManagement) -> None:
    """A fork does not open it again."""
    management.close()

    def check() -> None:
        with pytest.raises(requests_cc_token.TokenRequestError, match="closed"):
            management.service.get_access_token("worker")

    in_child(check)


def start_anew() -> None:
    """What happens at a fork, without one."""
    forks._in_child()


def test_what_a_child_does_leaves_a_process_working(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """Everything started anew, the token is kept, and what is sent goes over new connections."""
    own = requests.Session()
    own.mount("file://", BaseAdapter())
    management.configure_backchannel(session=own)
    management.add_session("api", base_url=api.base_url, inner=HTTPAdapter())
    requests_cc_token.configure(management)
    sessions = [management.make_session("api"), requests.Session()]
    management.mount(sessions[1], api.base_url)
    for session in sessions:
        assert session.get(api.base_url + "test").ok
    token = management.service.get_access_token()
    start_anew()
    for session in sessions:
        assert session.get(api.base_url + "test").ok
    assert requests_cc_token.get_access_token() is token
    assert api.connections == 4
    management.service.delete_access_token()
    assert management.service.get_access_token().value != token.value
    management.close()
    start_anew()
    with pytest.raises(requests_cc_token.TokenRequestError, match="closed"):
        management.service.get_access_token()
