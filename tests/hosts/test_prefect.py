"""Prefect: the tasks of a flow share one token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import expire

pytestmark = [
    pytest.mark.hosts,
    # Its own house.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """Prefect's own server, with a database in a temporary folder."""
    needed("prefect")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_tasks_of_a_flow(
    server: None, services: Services, clock: ManualClock, management: AccessTokenManagement
) -> None:
    """Eight tasks at once and one token request; one more once it has expired, one more after it was revoked."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    session = management.make_session("worker")

    @task  # type: ignore[untyped-decorator]
    def call(number: int) -> int:
        return session.get("test", params={"task": number}, timeout=30).status_code

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))  # type: ignore[untyped-decorator]
    def job() -> list[int]:
        found: list[int] = call.map(range(8)).result()
        return found

    assert job() == [200] * 8
    assert services.counted == (1, 8)
    expire(clock, services.tokens)
    assert job() == [200] * 8
    assert services.counted == (2, 16)
    services.tokens.revoke_all()
    assert job() == [200] * 8
    assert len(services.tokens.requests) == 3
