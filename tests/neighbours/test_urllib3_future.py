"""urllib3-future in the place of urllib3, as niquests brings it along (F41)."""

from __future__ import annotations

import importlib.metadata

import pytest

from .conftest import Services, check_every_way, needed

pytestmark = pytest.mark.neighbours


def test_f41_urllib3_of_another_make(services: Services) -> None:
    """Nothing is left out, all calls work."""
    needed("urllib3-future")
    if importlib.metadata.version("niquests") is None:
        pytest.skip("niquests is not installed here")
    check_every_way(
        services,
        "import urllib3, urllib3.connection, http.client\n"
        "assert not issubclass(urllib3.connection.HTTPConnection, http.client.HTTPConnection)",
    )
