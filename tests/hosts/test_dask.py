"""Dask: tasks of its schedulers share one token."""

from __future__ import annotations

from pathlib import Path

import pytest

from requests_cc_token import AccessTokenManagement
from tests.neighbours.conftest import Services, needed

pytestmark = pytest.mark.hosts


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_tasks_share_one_token(services: Services, config: Path, scheduler: str) -> None:
    """A session that is an argument of the task; one token request for all, one more after the token was revoked."""
    needed("dask")
    import dask

    from .tasks import call

    with AccessTokenManagement.from_config(config) as management, management.make_session("erp") as session:
        for tokens in (1, 2):
            tasks = [dask.delayed(call)(session, number) for number in range(6)]
            assert dask.compute(*tasks, scheduler=scheduler, num_workers=2) == (200,) * 6
            assert len(services.tokens.requests) == tokens
            services.tokens.revoke_all()
