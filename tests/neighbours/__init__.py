"""Libraries that live in the same process: what records, mocks, traces, caches, patches or freezes requests.

``tox -e neighbours`` runs them, ``neighbours-older`` and ``neighbours-urllib3-future`` those that need other versions.
Each test runs with a plain ``requests.Session`` first, which does by hand what the others do: the control.
"""
