"""Celery: tasks share one token; its errors come back by the JSON and the pickle serializer."""

from __future__ import annotations

import pytest

from requests_cc_token import AccessTokenManagement, TokenEndpointError
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import expire

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_tasks_share_one_token(
    services: Services, clock: ManualClock, management: AccessTokenManagement, serializer: str
) -> None:
    """One token request for all tasks of a worker, one more once it has expired; the error of one is what it was."""
    needed("celery")
    import celery
    from celery.contrib.testing.worker import start_worker

    app = celery.Celery("jobs", broker="memory://", backend="cache+memory://")
    app.conf.update(task_serializer=serializer, result_serializer=serializer, accept_content=["json", "pickle"])
    with AccessTokenManagement() as other:
        session = management.make_session("worker")

        @app.task(name=f"call-{serializer}")  # type: ignore[untyped-decorator]
        def call() -> int:
            return session.get("test").status_code

        @app.task(name=f"fail-{serializer}")  # type: ignore[untyped-decorator]
        def fail() -> None:
            other.service.get_access_token("wrong")

        other.add_client(
            "wrong", token_endpoint=services.tokens.token_endpoint, client_id="worker", client_secret="wrong"
        )
        with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False):

            def run() -> None:
                waiting = [call.delay() for _ in range(8)]
                assert [result.get(timeout=30) for result in waiting] == [200] * 8

            run()
            assert services.counted == (1, 8)
            expire(clock, services.tokens)
            run()
            assert services.counted == (2, 16)
            services.tokens.revoke_all()
            run()
            assert len(services.tokens.requests) == 3
            with pytest.raises(TokenEndpointError, match="invalid_client"):
                fail.delay().get(timeout=30)
