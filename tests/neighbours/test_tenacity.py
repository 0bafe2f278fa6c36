"""tenacity: decorators that retry on errors of requests fire for the token request's, too (F47)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from .conftest import needed
from .worker import WAYS, Place, Worker

pytestmark = pytest.mark.neighbours


def refused() -> Place:
    """Where nobody listens."""
    return Place("http://127.0.0.1:9/token", "http://127.0.0.1:9/")


@pytest.mark.parametrize("name", ["session_for", "make_session", "mount", "auth"])
def test_f47_retried_on_connection_errors(name: str) -> None:
    """Three tries of a call whose token service cannot be reached."""
    needed("tenacity")
    import tenacity

    calls: list[int] = []

    def job(worker: Worker) -> None:
        calls.append(1)
        worker.call()

    retried = tenacity.retry(
        retry=tenacity.retry_if_exception_type((requests.ConnectionError, requests.Timeout)),
        stop=tenacity.stop_after_attempt(3),
        reraise=True,
    )
    called: Callable[[Worker], None] = retried(job)
    with WAYS[name](refused()) as worker, pytest.raises(requests.ConnectionError):
        called(worker)
    assert len(calls) == 3
