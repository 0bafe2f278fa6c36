"""python-gitlab: an SDK that takes ``session=``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.neighbours.conftest import Services, needed

from .conftest import Api

pytestmark = pytest.mark.hosts


def gitlab_api(environ: Any) -> tuple[str, bytes]:
    """A project by its number."""
    return "application/json", b'{"id": 1, "name": "one"}'


def test_a_session_under_mount(services: Services) -> None:
    """Its calls carry the token; one that was revoked in mid-job is renewed."""
    needed("python-gitlab")
    import gitlab

    with Api(services.tokens, gitlab_api) as api, services.place.management() as management:
        management.add_session("gitlab", base_url=api.origin + "/")
        client = gitlab.Gitlab(api.origin, session=management.make_session("gitlab"))
        assert client.projects.get(1).name == "one"
        services.tokens.revoke_all()
        assert client.projects.get(1).name == "one"
        assert [good for _, good in api.requests] == [True, False, True]
    assert len(services.tokens.requests) == 2
