"""A worker that calls the API: by a plain session, as the control, and by each way that the package has.

Run as a program, ``python -m tests.neighbours.worker`` does that in a process of its own, for the addresses in the
environment, and prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import requests

from requests_cc_token import AccessTokenManagement, Clock, session_for

SECRET = "T41NT-neighbours"


@dataclass(frozen=True)
class Place:
    """Where token service and API are."""

    token_endpoint: str = "https://login.example.com/connect/token"
    base_url: str = "https://api.example.com/api/"

    def management(self, clock: Clock | None = None) -> AccessTokenManagement:
        """A management with a client and a session of the name ``worker``."""
        management = AccessTokenManagement(clock=clock)
        management.add_client("worker", token_endpoint=self.token_endpoint, client_id="worker", client_secret=SECRET)
        management.add_session("worker", base_url=self.base_url)
        # A library that breaks the token request shows at once.
        management.configure_backchannel(wait=())
        return management


@dataclass
class Worker:
    """A session and how it is called."""

    session: requests.Session
    call: Callable[..., requests.Response]


@contextmanager
def plain(place: Place, session: requests.Session | None = None) -> Iterator[Worker]:
    """The control: a session of ``requests`` as it is, and the token by hand, once."""
    session = session or requests.Session()
    kept: list[str] = []

    def call(path: str = "test", method: str = "GET", **options: Any) -> requests.Response:
        if not kept:
            answer = session.post(
                place.token_endpoint, data={"grant_type": "client_credentials"}, auth=("worker", SECRET)
            )
            answer.raise_for_status()
            kept.append(answer.json()["access_token"])
        return session.request(method, place.base_url + path, headers={"Authorization": f"Bearer {kept[0]}"}, **options)

    with session:
        yield Worker(session, call)


@contextmanager
def by_session_for(place: Place) -> Iterator[Worker]:
    """``session_for``."""
    with session_for(
        place.base_url, token_endpoint=place.token_endpoint, client_id="worker", client_secret=SECRET
    ) as session:
        yield Worker(session, lambda path="test", method="GET", **options: session.request(method, path, **options))


@contextmanager
def by_make_session(place: Place) -> Iterator[Worker]:
    """``management.make_session``."""
    with place.management() as management, management.make_session("worker") as session:
        yield Worker(session, lambda path="test", method="GET", **options: session.request(method, path, **options))


@contextmanager
def by_mount(place: Place, session: requests.Session | None = None, **options: Any) -> Iterator[Worker]:
    """``management.mount`` on a session of the user's."""
    session = session or requests.Session()

    def call(path: str = "test", method: str = "GET", **options: Any) -> requests.Response:
        return session.request(method, place.base_url + path, **options)

    with place.management() as management, session:
        management.mount(session, place.base_url, "worker", **options)
        yield Worker(session, call)


@contextmanager
def by_auth(place: Place) -> Iterator[Worker]:
    """``management.auth`` as the auth object of a session of the user's."""
    with place.management() as management, requests.Session() as session:
        session.auth = management.auth("worker", place.base_url)
        yield Worker(
            session,
            lambda path="test", method="GET", **options: session.request(method, place.base_url + path, **options),
        )


#: The control first, then ours.
WAYS = {
    "plain": plain,
    "session_for": by_session_for,
    "make_session": by_make_session,
    "mount": by_mount,
    "auth": by_auth,
}

#: Calls of each way, and threads of them.
CALLS = 4


def statuses(worker: Worker) -> list[Any]:
    """The status of each of several calls, the first alone and the others at once; or how one failed."""

    def call() -> None:
        try:
            found.append(worker.call().status_code)
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")

    found: list[Any] = []
    call()
    threads = [threading.Thread(target=call) for _ in range(CALLS - 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> None:
    """Call the API each way and print the statuses."""
    place = Place(**json.loads(os.environ["PLACE"]))
    outcome: dict[str, list[Any]] = {}
    for name, way in WAYS.items():
        with way(place) as worker:
            outcome[name] = statuses(worker)
    sys.stdout.write(json.dumps(outcome) + "\n")
    sys.stdout.flush()


def as_environment(place: Place) -> str:
    """What ``main`` reads from ``PLACE``."""
    return json.dumps(asdict(place))


if __name__ == "__main__":
    main()
