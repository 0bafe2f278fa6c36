"""mlflow: the auth provider ``cc``, which its entry point brings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts


def tracking_server(environ: Any) -> tuple[str, bytes]:
    """A run that takes metrics, and an experiment by its name."""
    if environ["PATH_INFO"].endswith("/experiments/get-by-name"):
        return "application/json", json.dumps({"experiment": {"experiment_id": "1", "name": "one"}}).encode()
    return "application/json", b"{}"


def test_the_tracking_client(
    services: Services,
    clock: ManualClock,
    default_management: AccessTokenManagement,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``MLFLOW_TRACKING_AUTH=cc`` takes the session ``mlflow``."""
    needed("mlflow-skinny")
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "cc")
    from mlflow import MlflowClient

    with Api(services.tokens, tracking_server) as api:
        default_management.add_session("mlflow", base_url=api.origin + "/", client="worker")
        client = MlflowClient(tracking_uri=api.origin)
        check_tokens(lambda: client.get_experiment_by_name("one"), services, clock, api)
