"""OpenTelemetry: instrumentors of requests and urllib3, our own spans and metrics, and all of them together (F43)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests

from requests_cc_token import AccessTokenManagement, TokenEvent
from requests_cc_token.testing import ManualClock

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


class Seen:
    """What was exported: spans by id, and the metrics of ours."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> dict[int, Any]:
        return {span.context.span_id: span for span in self._exporter.get_finished_spans()}

    def names(self) -> Counter[str]:
        """How many spans there are by the first words of their names."""
        ours = ("token fetch", "token request")
        return Counter(n if n in ours else n.split()[0] for n in (span.name for span in self.spans.values()))

    def way_up(self, name: str) -> list[str]:
        """The names of the span that is called so, of its parent, and so on."""
        (span,) = [span for span in self.spans.values() if span.name.startswith(name)]
        names = [span.name]
        while span.parent is not None:
            span = self.spans[span.parent.span_id]
            names.append(span.name)
        return [n if n.startswith("token") else n.split()[0] for n in names]

    def counted(self) -> dict[str, int]:
        """The sums of our counters."""
        data: Any = self._reader.get_metrics_data()
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {
            metric.name: sum(point.value for point in metric.data.data_points)
            for metric in scope.metrics
            if type(metric.data).__name__ == "Sum"
        }


@contextmanager
def seen_by(instrumentors: tuple[str, ...]) -> Iterator[Seen]:
    """The SDK in memory, with these instrumentors."""
    import importlib

    seen = Seen()
    with ExitStack() as stack:
        for of in instrumentors:
            kind = {"requests": "RequestsInstrumentor", "urllib3": "URLLib3Instrumentor"}[of]
            instrumentor = getattr(importlib.import_module(f"opentelemetry.instrumentation.{of}"), kind)()
            instrumentor.instrument(tracer_provider=seen.tracers)
            stack.callback(instrumentor.uninstrument)
        yield seen
    seen.meters.shutdown()


@contextmanager
def made_by(kind: str, services: Services, management: AccessTokenManagement) -> Iterator[requests.Session]:
    """A session of the management."""
    if kind == "make_session":
        with management.make_session("worker") as made:
            yield made
        return
    with requests.Session() as session:
        if kind == "mount":
            management.mount(session, services.place.base_url, "worker")
        else:
            session.auth = management.auth("worker", services.place.base_url)
        yield session


@pytest.mark.parametrize("kind", ["make_session", "mount", "auth"])
@pytest.mark.parametrize("instrumentors", [(), ("requests",), ("urllib3",), ("requests", "urllib3")], ids="-".join)
def test_each_token_request_is_one_span_of_ours(services: Services, instrumentors: tuple[str, ...], kind: str) -> None:
    """Counted once, whatever instrumentors do; where one has a span for the POST too, it is within ours."""
    needed("opentelemetry-sdk")
    for of in instrumentors:
        needed(f"opentelemetry-instrumentation-{of}")
    from requests_cc_token.bridges.opentelemetry import instrument

    clock = ManualClock()
    with seen_by(instrumentors) as seen, services.place.management(clock) as management:
        end = instrument(management, tracer_provider=seen.tracers, meter_provider=seen.meters)
        url = services.place.base_url + "test"
        job = seen.tracers.get_tracer("test").start_as_current_span("job")
        with made_by(kind, services, management) as session, job:
            assert [session.get(url, timeout=30).status_code for _ in range(5)] == [200] * 5
        ours = {"token fetch": 1, "token request": 1, "job": 1}
        assert seen.names() == Counter({**ours, "POST": 1, "GET": 5} if instrumentors else ours)
        assert seen.way_up("token request")[:2] == ["token request", "token fetch"]
        assert seen.way_up("token request")[-1] == "job"
        if instrumentors:
            assert seen.way_up("POST")[:3] == ["POST", "token request", "token fetch"]
        counted = seen.counted()
        assert counted["requests_cc_token.requests"] == counted["requests_cc_token.fetches"] == 1
        assert counted["requests_cc_token.hits"] == 4
        end()
    assert services.counted == (1, 5)


@pytest.mark.parametrize("instrumentors", [(), ("requests",), ("urllib3",), ("requests", "urllib3")], ids="-".join)
def test_a_renewal_is_a_trace_of_its_own(services: Services, instrumentors: tuple[str, ...]) -> None:
    """With the POST of an instrumentor in it, linked to the call that noticed that it was time."""
    needed("opentelemetry-sdk")
    for of in instrumentors:
        needed(f"opentelemetry-instrumentation-{of}")
    from requests_cc_token.bridges.opentelemetry import instrument

    clock = ManualClock()
    renewed: list[Any] = []
    with seen_by(instrumentors) as seen, services.place.management(clock) as management:
        with made_by("make_session", services, management) as session:
            session.get("test")
            lifetime = next(line.seconds_to_expiry for line in management.stats())
            assert lifetime is not None
            clock.advance(lifetime - 60)
            instrument(management, tracer_provider=seen.tracers, meter_provider=seen.meters)
            changed = threading.Event()

            def note(event: TokenEvent) -> None:
                if event.kind == "renewed":
                    renewed.append(event)
                    changed.set()

            management.subscribe(note)
            with seen.tracers.get_tracer("test").start_as_current_span("job"):
                assert session.get("test").status_code == 200
            assert changed.wait(60)
        (fetch,) = [span for span in seen.spans.values() if span.name == "token fetch"]
        assert fetch.parent is None
        (link,) = fetch.links
        (job,) = [span for span in seen.spans.values() if span.name == "job"]
        assert link.context.trace_id == job.context.trace_id != fetch.context.trace_id
        in_trace = Counter(
            span.name.split()[0] for span in seen.spans.values() if span.context.trace_id == fetch.context.trace_id
        )
        assert in_trace == Counter({"token": 2, "POST": 1} if instrumentors else {"token": 2})
    assert renewed[0].attempts == 1
