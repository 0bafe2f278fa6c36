"""Tokens in a Redis Cluster: each token is on the node that has its slot."""

# redis-py has no type hints here.
# mypy: disallow-untyped-calls=False

import os

from redis.cluster import ClusterNode, RedisCluster

from requests_cc_token import AccessTokenManagement, RedisTokenCache

# Such as node-1:6379 node-2:6379; the others are found from there.
nodes = [ClusterNode(*address.rsplit(":", 1)) for address in os.environ["REDIS_NODES"].split()]
# It connects here already, and raises where none of them answers.
cluster = RedisCluster(startup_nodes=nodes, socket_timeout=1)

management = AccessTokenManagement(cache=RedisTokenCache(cluster))
management.add_client(
    "identityserver",
    token_endpoint=os.environ["TOKEN_ENDPOINT"],
    client_id="m2m.short",
    client_secret={"env": "M2M_SECRET"},
    scope="api",
)
management.add_session("client", base_url=os.environ["API_URL"])
print(management.make_session("client").get("test").text)
