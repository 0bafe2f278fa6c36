"""What every process of a test's fleet does: a management over the cache that the test names, one token from it."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable
from typing import Any

from requests_cc_token import AccessToken, AccessTokenManagement
from requests_cc_token.caches import store
from requests_cc_token.caches.from_url import cache_from_config

#: Seconds after which a process gives up: longer than any lease in the tests.
PATIENCE = 90.0


class WatchedCache:
    """A shared cache that tells when this process waits for another one."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def get(self, key: str) -> AccessToken | None:
        found: AccessToken | None = self.cache.get(key)
        return found

    def set(self, key: str, token: AccessToken) -> None:
        self.cache.set(key, token)

    def delete(self, key: str) -> None:
        self.cache.delete(key)

    def lease(
        self, key: str, cancelled: Callable[[], bool], enough: Callable[[AccessToken], bool] | None = None
    ) -> Any:
        told = False

        def waits() -> bool:
            nonlocal told
            if not told:
                told = True
                say("waiting")
            return cancelled()

        return self.cache.lease(key, waits, enough)


def say(line: str) -> None:
    """One line to the test. Lines of many processes do not mix: each is one write."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make_cache(config: dict[str, Any]) -> Any:
    logging.basicConfig(format="%(levelname)s %(message)s")
    return cache_from_config(config["cache"])


def make_management(config: dict[str, Any], cache: Any) -> AccessTokenManagement:
    management = AccessTokenManagement(cache=cache)
    management.add_client(
        "worker", token_endpoint=config["token_endpoint"], client_id="worker", client_secret="secret", scope="api"
    )
    if config.get("patient"):
        # The test lets nobody go on until all have come, which on a busy machine takes longer than a token service may.
        management.configure_backchannel(timeout=PATIENCE, max_time=PATIENCE)
        store.MAX_WAIT = PATIENCE
    return management


def get_token(management: AccessTokenManagement) -> str:
    """The fingerprint of a token; the token itself goes to nobody."""
    token = management.service.get_access_token("worker", timeout=PATIENCE)
    return hashlib.sha256(token.value.encode()).hexdigest()

