"""What meets other programs and libraries: each imported by them or by a user, by nothing else of the package.

- ``httpie``: ``http -A cc -a SESSION: URL``
- ``opentelemetry``: spans and metrics of token requests
- ``prometheus``: a collector of the figures
"""
