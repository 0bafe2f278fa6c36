"""A Celery worker whose pool, on however many hosts, shares one token through the Redis that is its broker too."""

# Celery has no type hints.
# mypy: disallow-untyped-decorators=False

import contextlib
import os

import requests
from celery import Celery
from celery.signals import worker_process_init

from requests_cc_token import AccessTokenManagement, RedisTokenCache, TokenRequestError

redis_url = os.environ["REDIS_URL"]
app = Celery("worker", broker=redis_url, backend=redis_url)

# Made before the pool forks; tokens, sessions and caches are safe to inherit.
management = AccessTokenManagement(cache=RedisTokenCache(redis_url))
management.add_client(
    "identityserver",
    token_endpoint=os.environ["TOKEN_ENDPOINT"],
    client_id="m2m.short",
    client_secret={"env": "M2M_SECRET"},
    scope="api",
)
management.add_session("client", base_url=os.environ["API_URL"])
session = management.make_session("client")


@worker_process_init.connect
def first_token(**_: object) -> None:
    # Celery kills a process that is not ready after four seconds. Without a token yet, the first task asks again.
    with contextlib.suppress(requests.RequestException):
        management.warm_up(timeout=2)


# Without a token nothing was sent, so such a task can always be tried again.
@app.task(autoretry_for=(TokenRequestError,), retry_backoff=True)
def call_api(path: str) -> str:
    response = session.get(path)
    response.raise_for_status()
    return response.text
