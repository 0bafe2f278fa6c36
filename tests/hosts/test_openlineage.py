"""OpenLineage: the transport of the client's configuration is a class path."""

from __future__ import annotations

from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts


@pytest.mark.parametrize("session", [None, "lineage"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_http_transport(
    services: Services, clock: ManualClock, default_management: AccessTokenManagement, session: str | None, slash: str
) -> None:
    """Events carry the token of the session ``openlineage``, or the one that ``token_session`` names."""
    needed("openlineage-python")
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.uuid import generate_new_uuid

    with Api(services.tokens, lambda _: ("application/json", b"")) as api:
        default_management.add_session(session or "openlineage", base_url=api.origin + "/", client="worker")
        transport: dict[str, Any] = {
            "type": "requests_cc_token.bridges.openlineage.ClientCredentialsTransport",
            "url": api.origin + slash,
            **({} if session is None else {"token_session": session}),
        }
        client = OpenLineageClient(config={"transport": transport})
        event = RunEvent(
            eventType=RunState.START,
            eventTime="2024-01-01T00:00:00Z",
            run=Run(runId=str(generate_new_uuid())),
            job=Job(namespace="jobs", name="one"),
            producer="https://example.com/producer",
        )
        check_tokens(lambda: client.emit(event), services, clock, api)
        client.close()
