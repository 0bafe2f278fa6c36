"""newrelic: its wrappers of requests and urllib3 see each request; all calls work."""

from __future__ import annotations

import pytest

from .conftest import Services, check_every_way, needed

pytestmark = pytest.mark.neighbours


def test_instrumented(services: Services) -> None:
    """With its agent in developer mode, which sends nothing."""
    needed("newrelic")
    check_every_way(
        services,
        "import newrelic.agent; newrelic.agent.initialize()",
        NEW_RELIC_DEVELOPER_MODE="true",
        NEW_RELIC_LICENSE_KEY="0" * 40,
        NEW_RELIC_LOG="stderr",
    )
