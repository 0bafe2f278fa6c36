"""requests-cache: the API's answers are cached as with a plain session, tokens never."""

from __future__ import annotations

import pytest

from .conftest import Services, Way, needed
from .worker import WAYS, by_mount, plain

pytestmark = pytest.mark.neighbours


@pytest.mark.parametrize("make", [plain, by_mount])
def test_a_cached_session(services: Services, make: Way) -> None:
    """A second call is answered by the cache; the first carried the token."""
    needed("requests-cache")
    import requests_cache

    session = requests_cache.CachedSession(backend="memory")
    with make(services.place, session) as worker:
        answers = [worker.call() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [getattr(answer, "from_cache", False) for answer in answers] == [False, True, True]
    assert services.counted == (1, 1)


def test_installed_for_the_whole_process(way: Way, services: Services) -> None:
    """No token is kept in its cache: the next worker asks for one of its own."""
    needed("requests-cache")
    import requests_cache

    with requests_cache.enabled("neighbours", backend="memory"):
        cached = requests_cache.get_cache()
        for _ in range(2):
            with way(services.place) as worker:
                assert [worker.call().status_code for _ in range(2)] == [200, 200]
            assert "POST" not in [answer.request.method for answer in cached.responses.values()]
            cached.clear()
    # A session of a class of its own, as ours, is none of those that it replaces.
    is_replaced = isinstance(worker.session, requests_cache.CachedSession)
    assert services.counted == (2, 2 if is_replaced else 4)


@pytest.mark.parametrize("name", ["session_for", "make_session", "mount", "auth"])
def test_posts_that_are_cached(name: str, services: Services) -> None:
    """Where a process caches POST requests too, tokens and secrets are still not in the cache."""
    needed("requests-cache")
    import requests_cache

    with requests_cache.enabled("neighbours", backend="memory", allowable_methods=("GET", "POST")):
        with WAYS[name](services.place) as worker:
            assert worker.call().status_code == 200
        cached = requests_cache.get_cache()
        assert "POST" not in [answer.request.method for answer in cached.responses.values()]
