"""A worker: calls an API every few seconds, until SIGTERM or Ctrl-C stops it."""

import logging
import os
import signal
import threading

import requests

from requests_cc_token import AccessTokenManagement

log = logging.getLogger("worker")

#: Seconds between two calls.
INTERVAL = float(os.environ.get("WORKER_INTERVAL", "6"))


def work(session: requests.Session, stop: threading.Event) -> None:
    while not stop.is_set():
        log.info("Worker running")
        try:
            response = session.get("test")
            response.raise_for_status()
        except requests.RequestException as error:
            # No token, no connection, a refusal: the next round tries again.
            log.warning("No answer: %s", error)
        else:
            log.info("API response: %s", response.text.strip())
        stop.wait(INTERVAL)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    with AccessTokenManagement.from_config("worker.toml") as management:
        # The work has a thread of its own. The main thread only waits, so that a signal finds it with no lock in hand.
        worker = threading.Thread(target=work, args=(management.make_session("client"), stop))
        worker.start()
        while worker.is_alive():
            # No endless wait: Python does not see a signal that comes just before it begins.
            worker.join(1)
    log.info("Worker stopped")


if __name__ == "__main__":
    main()
