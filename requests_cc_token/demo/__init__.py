"""The embedded demo: a real token service, a protected API and a worker, all on loopback.

``requests-cc-token demo`` runs them; the test suite uses the same services. ``token_service`` and ``api`` need the
extra ``demo`` (Flask and Authlib); ``worker`` needs neither, so nothing is imported here.
"""
