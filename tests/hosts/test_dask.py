"""Dask: tasks of its schedulers share one token."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from requests_cc_token import AccessTokenManagement
from tests.neighbours.conftest import Services, needed

from .conftest import check_short_lived

pytestmark = pytest.mark.hosts


def run(session: requests.Session, scheduler: str) -> None:
    """Six tasks that call the API."""
    import dask

    from .tasks import call

    tasks = [dask.delayed(call)(session, number) for number in range(6)]
    assert dask.compute(*tasks, scheduler=scheduler, num_workers=2) == (200,) * 6


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_tasks_share_one_token(services: Services, config: Path, scheduler: str) -> None:
    """A session that is an argument of the task; one token request for all, one more after the token was revoked."""
    needed("dask")
    with AccessTokenManagement.from_config(config) as management, management.make_session("erp") as session:
        for tokens in (1, 2):
            run(session, scheduler)
            assert len(services.tokens.requests) == tokens
            services.tokens.revoke_all()


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_token_that_expires_in_mid_job(services: Services, config: Path, scheduler: str) -> None:
    """Tasks go on with the next one."""
    needed("dask")
    with AccessTokenManagement.from_config(config) as management, management.make_session("erp") as session:
        check_short_lived(lambda: run(session, scheduler), services)
