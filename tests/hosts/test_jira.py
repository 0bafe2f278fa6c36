"""Jira: the SDK atlassian-python-api takes ``session=``."""

from __future__ import annotations

from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts


def jira_api(environ: Any) -> tuple[str, bytes]:
    """An issue by its key."""
    return "application/json", b'{"key": "ONE-1"}'


def test_a_session_of_make_session(services: Services, clock: ManualClock, management: AccessTokenManagement) -> None:
    """Its calls carry the token."""
    needed("atlassian-python-api")
    import atlassian

    with Api(services.tokens, jira_api) as api:
        management.add_session("jira", base_url=api.origin + "/", client="worker")
        jira = atlassian.Jira(url=api.origin, session=management.make_session("jira"))
        check_tokens(lambda: jira.issue("ONE-1"), services, clock, api)
