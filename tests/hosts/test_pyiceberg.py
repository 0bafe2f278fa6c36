"""pyiceberg: the REST catalog is a class path; a catalog that says 419 has its token renewed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts


def rest_catalog(environ: Any) -> tuple[str, bytes]:
    """A catalog with one namespace."""
    if environ["PATH_INFO"].endswith("/v1/config"):
        return "application/json", json.dumps({"defaults": {}, "overrides": {}}).encode()
    return "application/json", json.dumps({"namespaces": [["sales"]]}).encode()


@pytest.mark.parametrize("status", [401, 419])
@pytest.mark.parametrize("session", [None, "warehouse"])
def test_the_rest_catalog(
    services: Services,
    clock: ManualClock,
    default_management: AccessTokenManagement,
    status: int,
    session: str | None,
) -> None:
    """Its calls carry the token of the session of the catalog's name, or of ``token-session``."""
    needed("pyiceberg")
    from pyiceberg.catalog import load_catalog

    with Api(services.tokens, rest_catalog, refusal=status) as api:
        default_management.add_session(
            session or "prod", base_url=api.origin + "/", client="worker", renew_on=(401, 419)
        )
        properties = {
            "py-catalog-impl": "requests_cc_token.bridges.pyiceberg.ClientCredentialsCatalog",
            "uri": api.origin,
            **({} if session is None else {"token-session": session}),
        }
        catalog = load_catalog("prod", **properties)
        check_tokens(catalog.list_namespaces, services, clock, api)


def test_a_catalog_that_takes_no_token(services: Services, default_management: AccessTokenManagement) -> None:
    """What pyiceberg raises for a refusal is what it raises without us."""
    needed("pyiceberg")
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import UnauthorizedError

    with Api(services.tokens, rest_catalog) as api:
        default_management.add_session("prod", base_url=api.origin + "/", client="worker")
        properties = {"py-catalog-impl": "requests_cc_token.bridges.pyiceberg.ClientCredentialsCatalog"}
        catalog = load_catalog("prod", uri=api.origin, **properties)
        api.refuse_always = True
        with pytest.raises(UnauthorizedError):
            catalog.list_namespaces()
