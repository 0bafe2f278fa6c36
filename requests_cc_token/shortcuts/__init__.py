"""Work of ``requests`` and ``urllib3`` that is left out where its result is known beforehand.

A plain ``requests.Session`` spends most of a GET on such work. Three rules keep what is done about it harmless:

1. It is done by methods of our own session and adapter that override those of ``requests``, and by parameters that
   ``requests`` and ``urllib3`` offer. Nothing of theirs is replaced, and no object changes its class.
2. What it relies on stands in one table. While anything there is not as shipped, nothing is left out.
3. Each override saves at least 4 % of a GET on a warm connection: ``python -m benchmarks savings``.

Compared with requests 2.32.3 to 2.34.2 and urllib3 2.2.1 to 2.8.0; with other versions nothing is left out.

- ``as_shipped``: the table
- ``session``: requests prepared, settings merged, answers taken
- ``adapter``: pools found, paths cut, answers made
- ``environment``: proxies and CA bundles, while the environment stays as it is
- ``tls``: contexts, while their files stay as they are
- ``urls``: the URLs that ``requests`` would leave as they are
"""
