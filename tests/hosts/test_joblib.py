"""joblib: tasks in processes of loky share one token."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from requests_cc_token import AccessTokenManagement
from tests.neighbours.conftest import Services, needed

from .conftest import check_short_lived

pytestmark = pytest.mark.hosts


def run(session: requests.Session, backend: str) -> None:
    """Six tasks that call the API."""
    import joblib

    from .tasks import call

    tasks = (joblib.delayed(call)(session) for _ in range(6))
    assert joblib.Parallel(n_jobs=2, backend=backend)(tasks) == [200] * 6


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_tasks_share_one_token(services: Services, config: Path, backend: str) -> None:
    """A session that is an argument of the task; one token request for all, one more after the token was revoked."""
    needed("joblib")
    with AccessTokenManagement.from_config(config) as management, management.make_session("erp") as session:
        for tokens in (1, 2):
            run(session, backend)
            assert len(services.tokens.requests) == tokens
            services.tokens.revoke_all()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_token_that_expires_in_mid_job(services: Services, config: Path, backend: str) -> None:
    """Tasks go on with the next one."""
    needed("joblib")
    with AccessTokenManagement.from_config(config) as management, management.make_session("erp") as session:
        check_short_lived(lambda: run(session, backend), services)
