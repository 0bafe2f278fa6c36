"""Fuzz targets for what comes in from outside; `python -m tests.fuzz NAME`, by `tox -e fuzz`."""
