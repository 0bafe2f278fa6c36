"""gevent and eventlet: processes patched before and after the package was imported."""

from __future__ import annotations

import pytest

from .conftest import Services, check_every_way, needed, run

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


MANUAL_CLOCK = """
import gevent.event
from requests_cc_token.testing import ManualClock

clock = ManualClock()
happened, never = gevent.event.Event(), gevent.event.Event()
waits = [gevent.spawn(clock.wait, happened, 60), gevent.spawn(clock.wait, never, 60)]
with gevent.Timeout(60):
    clock.until_waiting(lambda left: left == [60, 60])
    happened.set()
    clock.until_waiting(lambda left: left == [60])
    clock.advance(59)
    gevent.sleep(0.05)
    assert not waits[1].ready()
    clock.advance(1)
    gevent.joinall(waits)
print([wait.get() for wait in waits], clock.waits, clock.waiting())
"""


def test_a_clock_of_the_test_kit_ends_waits_for_events_of_gevent() -> None:
    """A wait ends when the event happens, and when the clock was moved so far; others go on meanwhile."""
    needed("gevent")
    printed = run(f"{PATCHES['gevent']}\n{MANUAL_CLOCK}")
    assert printed == "[True, False] [60, 60] []\n"
