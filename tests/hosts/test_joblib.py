"""joblib: tasks in processes of loky share one token."""

from __future__ import annotations

from pathlib import Path

import pytest

from requests_cc_token import AccessTokenManagement
from tests.neighbours.conftest import Services, needed

pytestmark = pytest.mark.hosts


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_tasks_share_one_token(services: Services, config: Path, backend: str) -> None:
    """A session that is an argument of the task; one token request for all, one more after the token was revoked."""
    needed("joblib")
    import joblib

    from .tasks import call

    with AccessTokenManagement.from_config(config) as management, management.make_session("erp") as session:
        for tokens in (1, 2):
            tasks = (joblib.delayed(call)(session) for _ in range(6))
            assert joblib.Parallel(n_jobs=2, backend=backend)(tasks) == [200] * 6
            assert len(services.tokens.requests) == tokens
            services.tokens.revoke_all()
