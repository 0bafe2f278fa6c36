"""sentry-sdk: a span and a breadcrumb for each request, the token's too."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Services, Way, needed

pytestmark = [
    pytest.mark.neighbours,
    # It imports eventlet to see whether that is there.
    pytest.mark.filterwarnings("ignore:\\s*Eventlet is deprecated"),
]


def test_seen_once_each(way: Way, services: Services) -> None:
    """The transaction has one span for the token request and one for each call."""
    needed("sentry-sdk")
    import sentry_sdk

    transactions: list[Any] = []

    def keep(event: Any, _hint: Any) -> None:
        transactions.append(event)

    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        traces_sample_rate=1.0,
        before_send_transaction=keep,
        # Others would see the services, which are in the same process.
        auto_enabling_integrations=False,
    )
    try:
        with way(services.place) as worker, sentry_sdk.start_transaction(name="the job"):
            assert [worker.call().status_code for _ in range(2)] == [200, 200]
    finally:
        sentry_sdk.init()
    (transaction,) = transactions
    seen = [span["description"].split()[0] for span in transaction["spans"] if span["op"] == "http.client"]
    assert sorted(seen) == ["GET", "GET", "POST"]
    assert "T41NT" not in str(transaction)
