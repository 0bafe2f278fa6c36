"""gevent and eventlet: processes patched before and after the package was imported."""

from __future__ import annotations

import pytest

from .conftest import Services, check_every_way, needed

pytestmark = pytest.mark.neighbours

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("library", PATCHES)
def test_patched_first(services: Services, library: str) -> None:
    """As a patched process should be: all calls arrive, each way asks for one token."""
    needed(library)
    check_every_way(services, PATCHES[library])


@pytest.mark.parametrize("library", PATCHES)
def test_patched_after_the_import(services: Services, library: str) -> None:
    """As some processes are: where a plain session works, ours do."""
    needed(library)
    check_every_way(
        services,
        f"import requests_cc_token.management, warnings\nwarnings.simplefilter('ignore')\n{PATCHES[library]}",
    )
