"""gunicorn.conf.py of the Django site: each worker has its first token before it takes requests."""

from typing import Any

import requests


def post_fork(server: Any, worker: Any) -> None:
    # Imported in the worker. In a site of several files: from mysite.api import management
    from django_site import management

    try:
        management().warm_up(timeout=10)
    except requests.RequestException as error:
        # An error here would end gunicorn. Without a token yet, the first request asks again.
        server.log.error("no token yet: %s", error)
