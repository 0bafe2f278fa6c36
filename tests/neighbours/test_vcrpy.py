"""vcrpy: token request and API call are recorded, and replayed while nobody is there (F40)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Services, Way, needed

pytestmark = pytest.mark.neighbours


def test_f40_recorded_and_replayed(way: Way, services: Services, tmp_path: Path) -> None:
    """Both are in the cassette, once each, and come from it again."""
    needed("vcrpy")
    import vcr

    cassettes = vcr.VCR(cassette_library_dir=str(tmp_path), filter_headers=["authorization"])
    with cassettes.use_cassette("calls.yaml") as recorded, way(services.place) as worker:
        assert [worker.call().status_code for _ in range(2)] == [200, 200]
    assert [request.method for request in recorded.requests] == ["POST", "GET", "GET"]
    assert services.counted == (1, 2)
    services.close()
    with cassettes.use_cassette("calls.yaml", record_mode="none") as replayed, way(services.place) as worker:
        assert [worker.call().status_code for _ in range(2)] == [200, 200]
    assert replayed.play_count == 3


def test_f40_a_session_that_was_made_before_the_cassette(way: Way, services: Services, tmp_path: Path) -> None:
    """Its calls are recorded and replayed too, though it keeps a connection."""
    needed("vcrpy")
    import vcr

    cassettes = vcr.VCR(cassette_library_dir=str(tmp_path))
    with way(services.place) as worker:
        worker.call()
        with cassettes.use_cassette("calls.yaml") as recorded:
            assert worker.call().status_code == 200
        counted = services.counted
        with cassettes.use_cassette("calls.yaml", record_mode="none") as replayed:
            assert worker.call().status_code == 200
        assert worker.call().status_code == 200
    assert len(recorded) == replayed.play_count == 1
    assert counted == (1, 2)
    assert services.counted == (1, 3)
