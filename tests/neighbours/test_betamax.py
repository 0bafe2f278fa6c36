"""betamax: its adapter records and replays what a session of the user's sends, ours as the outer one."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from .conftest import Services, needed
from .worker import by_mount, plain

pytestmark = pytest.mark.neighbours


def test_recorded_and_replayed(services: Services, tmp_path: Path) -> None:
    """What a plain session sends through it, and what a mounted one does: recorded, then replayed, once each."""
    needed("betamax")
    import betamax

    for name, way in (("plain", plain), ("mount", by_mount)):
        before = services.counted
        for mode in ("once", "none"):
            session = requests.Session()
            with betamax.Betamax(session, cassette_library_dir=str(tmp_path)) as recorder:
                recorder.use_cassette(name, record=mode, match_requests_on=["method", "path"])
                inner = session.get_adapter(services.place.base_url)
                options = {} if name == "plain" else {"inner": inner}
                with way(services.place, session, **options) as worker:
                    assert worker.call().status_code == 200
                # A plain session's token request is on the cassette too, since it is a request of that session.
                assert len(recorder.current_cassette.interactions) == (2 if name == "plain" else 1)
        tokens, calls = (now - then for now, then in zip(services.counted, before, strict=True))
        # The token request goes by a session of its own, so it is sent again.
        assert (tokens, calls) == ((1, 1) if name == "plain" else (2, 1))


def test_the_token_request_too(services: Services, tmp_path: Path) -> None:
    """``configure_backchannel(session=...)`` with a session under the recorder has the token request recorded."""
    needed("betamax")
    import betamax

    for mode in ("once", "none"):
        session = requests.Session()
        with betamax.Betamax(session, cassette_library_dir=str(tmp_path)) as recorder:
            recorder.use_cassette("both", record=mode, match_requests_on=["method", "path"])
            with services.place.management() as management:
                management.configure_backchannel(session=session)
                management.mount(session, services.place.base_url, inner=session.get_adapter(services.place.base_url))
                assert session.get(services.place.base_url + "test").status_code == 200
    assert services.counted == (1, 1)


def test_the_token_request_of_an_auth_object_too(services: Services, tmp_path: Path) -> None:
    """On a session with an auth object the same line is all that it takes."""
    needed("betamax")
    import betamax

    for mode in ("once", "none"):
        session = requests.Session()
        with services.place.management() as management:
            management.configure_backchannel(session=session)
            session.auth = management.auth(None, services.place.base_url)
            with betamax.Betamax(session, cassette_library_dir=str(tmp_path)) as recorder:
                recorder.use_cassette("auth", record=mode, match_requests_on=["method", "path"])
                assert session.get(services.place.base_url + "test").status_code == 200
    assert services.counted == (1, 1)
