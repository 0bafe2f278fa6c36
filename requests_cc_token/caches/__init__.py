"""Where tokens stay.

- ``memory``: the protocol that every cache keeps to, and the memory of one process
- ``store``: what caches that several processes share have in common
- ``records``: tokens as bytes, encrypted where a key is given
- ``file``: files, for the processes of one user on one host
- ``redis``, ``redis_tls``: Redis or Valkey, for many hosts
- ``from_url``: the cache that a configuration names by a URL
"""
