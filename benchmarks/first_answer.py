"""A fresh process up to its first authenticated answer: ``python -m benchmarks.first_answer WAY API TOKENS``.

``hand`` is what one writes without a package: an adapter with a lock, a ``TTLCache`` and ``backoff``. ``ours`` is
README's first example. What each costs is the CPU time of its process, the interpreter's start included; authorities
come from ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import sys


def by_hand(api: str, tokens: str) -> int:
    import threading

    import backoff
    import requests
    from cachetools import TTLCache
    from requests.adapters import HTTPAdapter

    class TokenAdapter(HTTPAdapter):
        def __init__(self) -> None:
            super().__init__()
            self._tokens: TTLCache[str, str] = TTLCache(maxsize=1, ttl=3600)
            self._lock = threading.Lock()
            self._backchannel = requests.Session()

        @backoff.on_exception(backoff.expo, requests.RequestException, max_tries=4)
        def _fetched(self) -> str:
            form = {"grant_type": "client_credentials"}
            response = self._backchannel.post(tokens, data=form, auth=("worker", "secret"), timeout=10)
            response.raise_for_status()
            return str(response.json()["access_token"])

        def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
            with self._lock:
                token = self._tokens.get("token")
                if token is None:
                    token = self._tokens["token"] = self._fetched()
            request.headers["Authorization"] = f"Bearer {token}"
            return super().send(request, *args, **kwargs)  # type: ignore[arg-type]

    session = requests.Session()
    session.mount(api, TokenAdapter())
    return session.get(api, timeout=10).status_code


def ours(api: str, tokens: str) -> int:
    from requests_cc_token import session_for

    base, _, path = api.rpartition("/")
    with session_for(base, token_endpoint=tokens, client_id="worker", client_secret="secret") as session:
        return session.get(path).status_code


if __name__ == "__main__":
    way, api, tokens = sys.argv[1:]
    assert {"hand": by_hand, "ours": ours}[way](api, tokens) == 200
