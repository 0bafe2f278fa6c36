"""Airflow: hooks and operators of the HTTP provider take ``auth_type``, what makes the session's auth object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import check_tokens, recipe

pytestmark = [
    pytest.mark.hosts,
    # Its own house.
    pytest.mark.filterwarnings("default"),
]


@pytest.mark.parametrize("login", ["", "somebody:else@"])
def test_the_http_hook(
    services: Services,
    clock: ManualClock,
    default_management: AccessTokenManagement,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    login: str,
) -> None:
    """Each call is a session of its own; all share one token, whether the connection has a login or not."""
    needed("apache-airflow-providers-http")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_ERP", services.api.origin.replace("http://", f"http://{login}"))
    from airflow.providers.http.hooks.http import HttpHook

    default_management.add_session("erp", base_url=services.api.base_url, client="worker")
    erp = recipe("Airflow")["erp"]

    def call() -> None:
        hook = HttpHook(method="POST", http_conn_id="erp", auth_type=erp)
        answer = hook.run("api/echo", data=json.dumps({"task": 1}), headers={"Content-Type": "application/json"})
        assert answer.json()["body"] == '{"task": 1}'

    check_tokens(call, services, clock)
