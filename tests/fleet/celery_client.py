"""Sends tasks to the sample's Celery worker: python -m tests.fleet.celery_client COUNT. One line for each result."""

from __future__ import annotations

import os
import sys

from celery import Celery, group

from .member import PATIENCE, say


def main(count: int) -> None:
    app = Celery("worker", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
    call_api = app.signature("celery_worker.call_api", args=["test"])
    for answer in group([call_api] * count).apply_async().get(timeout=PATIENCE):
        say(f"answer {''.join(answer.split())}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
