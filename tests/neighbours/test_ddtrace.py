"""ddtrace: a span for each request, the token's too (F43)."""

from __future__ import annotations

import json

import pytest

from .conftest import Services, check_every_way, needed
from .worker import CALLS, WAYS

pytestmark = pytest.mark.neighbours

PRELUDE = """
import atexit, json
from ddtrace.trace import TraceFilter, tracer
from ddtrace import patch

class Kept(TraceFilter):
    spans = []
    def process_trace(self, trace):
        self.spans += [(s.name, s.get_tag("http.method")) for s in trace]
        return None

tracer.configure(trace_processors=[Kept()])
patch(requests=True)
atexit.register(lambda: print(json.dumps({"spans": Kept.spans})))
"""


def test_f43_seen_once_each(services: Services) -> None:
    """One span for each token request and each call, of plain sessions and ours."""
    needed("ddtrace")
    printed = check_every_way(
        services, PRELUDE, DD_INSTRUMENTATION_TELEMETRY_ENABLED="false", DD_REMOTE_CONFIGURATION_ENABLED="false"
    )
    (line,) = [line for line in printed.splitlines() if line.startswith('{"spans"')]
    methods = [method for name, method in json.loads(line)["spans"] if name == "requests.request"]
    assert methods.count("POST") == len(WAYS)
    assert methods.count("GET") == CALLS * len(WAYS)
