"""Where tokens stay.

- ``protocol``: what every cache does, and what one that several processes share does besides
- ``memory``: the memory of one process
- ``store``: what caches that several processes share have in common: waiting for each other, and leases
- ``bounded_calls``: operations of a store, each for a bounded time
- ``records``: tokens as bytes, encrypted where a key is given
- ``file``: files, for the processes of one user on one host; ``folder`` is where they are safe
- ``redis``, ``redis_tls``: Redis or Valkey, for many hosts
- ``from_url``: the cache that a configuration names by a URL
"""
