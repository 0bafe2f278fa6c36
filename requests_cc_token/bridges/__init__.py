"""What meets other programs and libraries: each imported by them or by a user, by nothing else of the package.

- ``httpie``: ``http -A cc -a SESSION: URL``
- ``mlflow``: ``MLFLOW_TRACKING_AUTH=cc``
- ``openlineage``: a transport for events of lineage
- ``opentelemetry``: spans and metrics of token requests
- ``prometheus``: a collector of the figures
- ``pyiceberg``: a REST catalog
"""
