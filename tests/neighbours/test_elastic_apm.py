"""elastic-apm: a span for each request."""

from __future__ import annotations

import json

import pytest

from .conftest import Services, needed, run
from .worker import WAYS, as_environment

pytestmark = pytest.mark.neighbours

PROGRAM = """
import json, os, elasticapm
from elasticapm.transport.base import Transport
from tests.neighbours.worker import WAYS, Place

class Kept(Transport):
    spans = []
    def queue(self, kind, data, flush=False):
        if kind == "span":
            self.spans.append(data["name"])

client = elasticapm.Client(
    transport_class="__main__.Kept", metrics_interval="0ms", central_config="false", cloud_provider="none",
    service_name="worker", span_compression_enabled=False, exit_span_min_duration="0ms",
)
elasticapm.instrument()
seen = {}
for name, way in WAYS.items():
    Kept.spans.clear()
    with way(Place(**json.loads(os.environ["PLACE"]))) as worker:
        client.begin_transaction("job")
        assert [worker.call().status_code for _ in range(2)] == [200, 200]
        client.end_transaction("the job", "done")
    seen[name] = sorted(span.split()[0] for span in Kept.spans)
print(json.dumps(seen))
os._exit(0) if __import__("sys").stdout.flush() is None else None
"""


def test_seen_once_each(services: Services) -> None:
    """A span for each call, and for a token request that is made outside of a call, which has no spans within."""
    needed("elastic-apm")
    seen = json.loads(run(PROGRAM, PLACE=as_environment(services.place)))
    within = dict.fromkeys(("session_for", "make_session", "mount"), ("GET", "GET"))
    assert {name: tuple(methods) for name, methods in seen.items()} == {
        **dict.fromkeys(WAYS, ("GET", "GET", "POST")),
        **within,
    }
