"""gunicorn.conf.py of the Django site: each worker has its first token before it takes requests."""

from typing import Any

import requests


def post_worker_init(worker: Any) -> None:
    # In a site of several files: from mysite.api import management
    from django_site import management

    try:
        management().warm_up(timeout=10)
    except requests.RequestException as error:
        # An error here would end gunicorn. Without a token yet, the first request asks again.
        worker.log.error("no token yet: %s", error)
