"""python-gitlab: an SDK that takes ``session=``."""

from __future__ import annotations

from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts


def gitlab_api(environ: Any) -> tuple[str, bytes]:
    """A project by its number."""
    return "application/json", b'{"id": 1, "name": "one"}'


def test_a_session_of_make_session(services: Services, clock: ManualClock, management: AccessTokenManagement) -> None:
    """Its calls carry the token."""
    needed("python-gitlab")
    import gitlab

    with Api(services.tokens, gitlab_api) as api:
        management.add_session("gitlab", base_url=api.origin + "/", client="worker")
        client = gitlab.Gitlab(api.origin, session=management.make_session("gitlab"))
        check_tokens(lambda: client.projects.get(1), services, clock, api)
