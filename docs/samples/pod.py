"""A worker in a pod: readiness and metrics over http, one token for all pods, a clean stop at SIGTERM."""

import json
import logging
import os
import signal
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

import requests
from prometheus_client import REGISTRY, make_wsgi_app

from requests_cc_token import AccessTokenManagement
from requests_cc_token.bridges.prometheus import ClientStatsCollector

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("worker")

#: Seconds between two calls, and the port of /ready and /metrics; 0 is any free one.
INTERVAL = float(os.environ.get("WORKER_INTERVAL", "6"))
PORT = int(os.environ.get("STATUS_PORT", "8000"))


class Quiet(WSGIRequestHandler):
    def log_request(self, *args: object) -> None:
        """No line for each probe."""


def status_pages(management: AccessTokenManagement) -> "WSGIApplication":
    REGISTRY.register(ClientStatsCollector(management))
    metrics: WSGIApplication = make_wsgi_app()

    def pages(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/ready":
            return metrics(environ, start_response)
        status = {name: client["status"] for name, client in management.health().items()}
        start_response(
            "503 Service Unavailable" if "failing" in status.values() else "200 OK",
            [("Content-Type", "application/json")],
        )
        return [json.dumps(status).encode()]

    return pages


def work(session: requests.Session, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            session.get("test").raise_for_status()
        except requests.RequestException as error:
            log.warning("No answer: %s", error)
        stop.wait(INTERVAL)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    with AccessTokenManagement.from_config(os.environ["REQUESTS_CC_TOKEN_CONFIG"]) as management:
        try:
            management.warm_up(timeout=30)
        except requests.RequestException as error:
            # Not the end: /ready says so, and the pod is ready by itself once there is a token.
            log.error("Not ready: %s", error)
        with make_server("", PORT, status_pages(management), handler_class=Quiet) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            log.info("Status on port %d", server.server_port)
            worker = threading.Thread(target=work, args=(management.make_session("client"), stop))
            worker.start()
            while worker.is_alive():
                # No endless wait: Python does not see a signal that comes just before it begins.
                worker.join(1)
            server.shutdown()
    log.info("Worker stopped")


if __name__ == "__main__":
    main()
