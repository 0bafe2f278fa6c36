"""Tokens in a Redis that Sentinels watch over: after a failover they are in the new master."""

# redis-py has no type hints here.
# mypy: disallow-untyped-calls=False

import os

from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from requests_cc_token import AccessTokenManagement, RedisTokenCache

# Such as sentinel-1:26379 sentinel-2:26379 sentinel-3:26379
sentinels = [address.rsplit(":", 1) for address in os.environ["SENTINELS"].split()]
# One that is gone is passed over at once; redis-py would try it three more times, with pauses of seconds.
quick = {"socket_timeout": 1, "retry": Retry(NoBackoff(), 1)}
master = Sentinel(sentinels, sentinel_kwargs=quick).master_for("main", **quick)

management = AccessTokenManagement(cache=RedisTokenCache(master))
management.add_client(
    "identityserver",
    token_endpoint=os.environ["TOKEN_ENDPOINT"],
    client_id="m2m.short",
    client_secret={"env": "M2M_SECRET"},
    scope="api",
)
management.add_session("client", base_url=os.environ["API_URL"])
print(management.make_session("client").get("test").text)
