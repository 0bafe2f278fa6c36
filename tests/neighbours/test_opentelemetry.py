"""OpenTelemetry's instrumentors of requests and urllib3: a span for each request, the token's too (F43)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from .conftest import Services, Way, needed

pytestmark = pytest.mark.neighbours


def instrumented(of: str) -> tuple[Any, Any, Any]:
    """An instrumentor, its exporter and a tracer."""
    import importlib

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    kind = {"requests": "RequestsInstrumentor", "urllib3": "URLLib3Instrumentor"}[of]
    instrumentor = getattr(importlib.import_module(f"opentelemetry.instrumentation.{of}"), kind)()
    instrumentor.instrument(tracer_provider=provider)
    return instrumentor, exporter, provider.get_tracer("test")


@pytest.mark.parametrize("of", ["requests", "urllib3"])
def test_f43_a_span_for_each_request(way: Way, services: Services, of: str) -> None:
    """The token request is a span of the caller's trace, once, and shows no secret."""
    needed(f"opentelemetry-instrumentation-{of}")
    instrumentor, exporter, tracer = instrumented(of)
    try:
        with way(services.place) as worker, tracer.start_as_current_span("the job"):
            assert [worker.call().status_code for _ in range(2)] == [200, 200]
    finally:
        instrumentor.uninstrument()
    spans = exporter.get_finished_spans()
    assert Counter(span.name.split()[0] for span in spans) == {"POST": 1, "GET": 2, "the": 1}
    assert len({span.context.trace_id for span in spans}) == 1
    assert services.counted == (1, 2)
    (token,) = [span for span in spans if span.name.startswith("POST")]
    assert "T41NT" not in str(dict(token.attributes))
