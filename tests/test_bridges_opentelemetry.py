"""Spans and metrics for OpenTelemetry, by its real SDK; ``tests/neighbours`` has the instrumentors of HTTP too."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from requests_cc_token import (
    AccessTokenManagement,
    FileTokenCache,
    TokenEndpointError,
    TokenEvent,
    TokenRequestError,
    TokenRequestParameters,
    flights,
)
from requests_cc_token.bridges.opentelemetry import BOUNDARIES, MAX_CODES, instrument

from .scripted_server import PATIENCE, ScriptedServer, error_answer, token_answer
from .test_service import Harness

PAGE = (Path(__file__).parents[1] / "docs" / "metrics-and-traces.md").read_text(encoding="utf-8")


class Watched(Harness):
    """A harness whose management is instrumented."""

    def __init__(self, server: ScriptedServer, **backchannel: Any) -> None:
        super().__init__(server, **backchannel)
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self.reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.end = self.instrument(self.management)

    def instrument(self, management: AccessTokenManagement) -> Callable[[], None]:
        return instrument(management, tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their beginning."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time or 0, span.name))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def metrics(self) -> dict[str, Any]:
        """The metrics by name, as they are collected now."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "requests_cc_token"
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes, without what all names begin with, and values of a metric."""
        metric = self.metrics().get(f"requests_cc_token.{name}")
        points = [] if metric is None else metric.data.data_points
        return [(shortened(p.attributes), p.count if hasattr(p, "count") else p.value) for p in points]


def shortened(attributes: Any) -> dict[str, Any]:
    return {name.removeprefix("requests_cc_token."): value for name, value in dict(attributes or {}).items()}


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: Any) -> int:
    found: int = span.get_span_context().span_id
    return found


@pytest.fixture
def watched(server: ScriptedServer) -> Iterator[Watched]:
    watched = Watched(server, wait=(0.25,))
    with watched.management:
        yield watched
        watched.meters.shutdown()


# Traces


def test_a_fetch_and_its_try_are_spans_of_the_callers_trace(watched: Watched) -> None:
    """A span around the fetch, a child of the caller's, and one in it for the try; none for a call without a fetch."""
    watched.server.default = token_answer("T41NT-one")
    with watched.tracers.get_tracer("test").start_as_current_span("job") as job:
        watched.get()
        watched.get()
    (fetch,), (attempt,) = watched.named("token fetch"), watched.named("token request")
    assert len(watched.spans) == 3
    assert (parent_of(fetch), parent_of(attempt)) == (id_of(job), id_of(fetch))
    common = {"client": "worker", "scope": "api", "reason": "cold"}
    assert shortened(fetch.attributes) == {**common, "source": "service", "attempts": 1}
    assert shortened(attempt.attributes) == {**common, "attempt": 1}
    assert {span.status.status_code for span in watched.spans} == {StatusCode.UNSET}
    assert "T41NT" not in str([span.to_json() for span in watched.spans])


def test_each_try_is_a_span_that_says_how_it_failed(watched: Watched) -> None:
    """The wait between two of them is part of neither."""
    watched.server.script.append(error_answer(503, "temporarily_unavailable"))
    watched.server.default = token_answer("one")
    thread = threading.Thread(target=watched.get)
    thread.start()
    watched.clock.until_waiting(lambda left: 0.25 in left)
    watched.clock.advance(0.25)
    thread.join()
    (fetch,), (first, second) = watched.named("token fetch"), watched.named("token request")
    assert [shortened(span.attributes)["attempt"] for span in (first, second)] == [1, 2]
    assert first.status.status_code is StatusCode.ERROR
    assert "503" in str(first.status.description)
    assert {**dict(first.attributes or {})}.items() >= {
        "error.type": "TokenEndpointError",
        "requests_cc_token.error_code": "temporarily_unavailable",
        "http.response.status_code": 503,
    }.items()
    assert (fetch.status.status_code, second.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert shortened(fetch.attributes)["attempts"] == 2
    assert first.end_time is not None
    assert second.start_time is not None
    assert second.start_time - first.end_time >= 0.25e9 * 0.9


def test_a_fetch_that_fails(watched: Watched) -> None:
    """Both spans have the error; one without a code has none."""
    watched.server.default = error_answer(400, "invalid_scope")
    with pytest.raises(TokenEndpointError):
        watched.get()
    watched.management.add_client(
        "no secret", token_endpoint=watched.server.token_endpoint, client_id="x", client_secret={"env": "NO_SECRET"}
    )
    with pytest.raises(TokenRequestError):
        watched.service.get_access_token("no secret")
    for span in watched.spans:
        assert span.status.status_code is StatusCode.ERROR
    codes = [dict(span.attributes or {}).get("requests_cc_token.error_code") for span in watched.named("token fetch")]
    assert codes == ["invalid_scope", None]


def test_a_renewal_in_the_background_is_linked_to_who_noticed(watched: Watched) -> None:
    """It is a trace of its own, since nobody waits for it; without a span around the call there is nothing to link."""
    numbers = iter(range(9))
    watched.server.respond = lambda request: token_answer(f"{next(numbers)}", 1000)
    watched.get()
    watched.clock.advance(900)
    with watched.tracers.get_tracer("test").start_as_current_span("job") as job:
        watched.get()
        watched.until_event("renewed")
    watched.clock.advance(900)
    watched.get()
    watched.until_event("renewed", 2)
    _, linked, alone = watched.named("token fetch")
    assert (parent_of(linked), parent_of(alone)) == (None, None)
    assert [link.context.span_id for link in linked.links] == [id_of(job)]
    assert list(alone.links) == []
    assert linked.context is not None
    assert linked.context.trace_id != job.get_span_context().trace_id
    assert shortened(linked.attributes)["reason"] == "renewal"
    assert parent_of(watched.named("token request")[1]) == id_of(linked)


def test_a_token_from_a_shared_cache(server: ScriptedServer, watched: Watched, tmp_path: Path) -> None:
    """A fetch without tries: one span that says where the token came from."""
    server.default = token_answer("one")
    options: dict[str, Any] = {"token_endpoint": server.token_endpoint, "client_id": "x", "client_secret": "T41NT"}
    for _ in range(2):
        with AccessTokenManagement(cache=FileTokenCache(tmp_path / "tokens", timeout=PATIENCE)) as management:
            watched.instrument(management)
            management.add_client("shared", **options)
            management.service.get_access_token("shared")
    by_request, by_cache = [shortened(span.attributes) for span in watched.named("token fetch")]
    assert (by_request["source"], by_request["attempts"]) == ("service", 1)
    assert (by_cache["source"], by_cache["attempts"]) == ("shared cache", 0)
    assert len(watched.named("token request")) == 1


@pytest.mark.parametrize("threads", [True, False])
def test_a_token_for_whose_request_another_one_is_needed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    """The fetch within the other's try is a child of it, in a thread or, where none can be had, without one."""
    watched.server.default = token_answer("one")

    def secret() -> str:
        return watched.get().value

    if not threads:

        def start_thread(work: Any, name: str) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(flights, "start_thread", start_thread)
        monkeypatch.setattr("requests_cc_token.endpoint.deadline.start_thread", start_thread)
    watched.management.add_client(
        "outer", token_endpoint=watched.server.token_endpoint, client_id="x", client_secret=secret
    )
    watched.service.get_access_token("outer")
    by_client = {(span.name, shortened(span.attributes)["client"]): span for span in watched.spans}
    assert len(by_client) == len(watched.spans) == 4
    assert parent_of(by_client["token fetch", "worker"]) == id_of(by_client["token request", "outer"])
    assert parent_of(by_client["token fetch", "outer"]) is None
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_fetch_that_began_before(watched: Watched) -> None:
    """Of a fetch that runs while the management is instrumented, the span of the fetch is made as it ends."""
    watched.management._events.emit(TokenEvent("obtained", "a", duration=2.0, attempts=1, source="service"))
    (fetch,) = watched.spans
    assert fetch.name == "token fetch"
    assert fetch.start_time is not None
    assert fetch.end_time is not None
    assert (fetch.end_time - fetch.start_time) / 1e9 == pytest.approx(2.0, abs=1.0)


# Metrics


def test_fetches_are_counted_as_they_ended(watched: Watched) -> None:
    """By outcome, reason and error; their durations in seconds, by buckets that tell seconds apart."""
    watched.server.script.extend([error_answer(400, "invalid_scope")])
    watched.server.default = token_answer("one", 1000)
    with pytest.raises(TokenEndpointError):
        watched.get()
    watched.clock.advance(700)
    watched.get()
    watched.get(parameters=TokenRequestParameters(force_renewal=True))
    common = {"client": "worker", "scope": "api", "source": "service"}
    failed = {"outcome": "failed", "reason": "cold", "error.type": "TokenEndpointError", "error_code": "invalid_scope"}
    expected = [
        ({**common, **failed}, 1),
        ({**common, "outcome": "obtained", "reason": "cold"}, 1),
        ({**common, "outcome": "obtained", "reason": "forced"}, 1),
    ]
    for name in ("fetches", "fetch.duration"):
        assert sorted(watched.points(name), key=str) == sorted(expected, key=str)
    duration = watched.metrics()["requests_cc_token.fetch.duration"]
    assert duration.unit == "s"
    assert all(tuple(point.explicit_bounds) == BOUNDARIES for point in duration.data.data_points)


def test_what_is_known_of_tokens_is_read_at_collection(watched: Watched) -> None:
    """Hits, requests, rejections, time to expiry and hold-off, of each client that there is."""
    asked = {"client": "worker", "scope": "api"}
    assert watched.points("requests") == [(asked, 0)]
    assert watched.points("time_to_expiry") == []
    watched.server.default = token_answer("one", 1000)
    watched.service.token_rejected(watched.get())
    watched.get()
    watched.get()
    watched.get(parameters=TokenRequestParameters(scope="b", resource="urn:x", audience="erp"))
    other = {"client": "worker", "scope": "b", "resource": "urn:x", "audience": "erp"}
    assert watched.points("hits") == [(asked, 1), (other, 0)]
    assert watched.points("requests") == [(asked, 2), (other, 1)]
    assert watched.points("rejections") == [(asked, 1), (other, 0)]
    assert watched.points("timeouts") == [(asked, 0), (other, 0)]
    assert watched.points("in_flight") == [(asked, 0), (other, 0)]
    assert watched.points("time_to_expiry") == [(asked, 995.0), (other, 995.0)]
    assert watched.points("hold_off") == [(asked, 0.0), (other, 0.0)]


def test_a_service_with_a_new_code_each_time_is_not_told_apart_for_ever(watched: Watched) -> None:
    """Beyond so many codes only the class of the error is told."""
    for number in range(MAX_CODES + 5):
        error = TokenEndpointError("no", 400, f"code {number}")
        watched.management._events.emit(TokenEvent("failed", "a", error=error))
    points = watched.points("fetches")
    assert len(points) == MAX_CODES + 1
    assert [value for attributes, value in points if "error_code" not in attributes] == [5]


def test_it_ends(watched: Watched) -> None:
    """After that nothing is told any more."""
    watched.server.default = token_answer("one")
    watched.end()
    watched.get()
    assert watched.spans == []
    assert watched.metrics() == {}


def test_the_global_providers_are_the_default(server: ScriptedServer) -> None:
    """Without an SDK they do nothing, at no harm."""
    harness = Harness(server)
    server.default = token_answer("one")
    with harness.management as management:
        end = instrument(management)
        assert harness.get().value == "one"
        end()


def test_the_page_has_each_metric_and_span(watched: Watched) -> None:
    """Names, instruments, units and attributes of the docs' tables are those that there are."""
    watched.server.script.append(error_answer(503, "server_error"))
    watched.server.default = token_answer("one")
    watched.management.configure_backchannel(wait=())
    with pytest.raises(TokenEndpointError):
        watched.get()
    watched.clock.advance(100)
    watched.service.token_rejected(watched.get())
    watched.get()
    rows = re.findall(r"^\| `(requests_cc_token\.[\w.]+)` \| ([\w ]+) \| `([^`]+)` \|", PAGE, re.MULTILINE)
    kinds = {
        ("Sum", "fetches"): "counter",
        ("Histogram", "fetch.duration"): "histogram",
        ("Gauge", ""): "observable gauge",
        ("Sum", ""): "observable counter",
    }
    found = set()
    for name, metric in watched.metrics().items():
        kind, short = type(metric.data).__name__, name.removeprefix("requests_cc_token.")
        found.add((name, kinds.get((kind, short)) or kinds[kind, ""], metric.unit))
    assert found == set(rows)
    spans = re.findall(r"^\| `(token \w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    assert {name for name, _ in spans} == {span.name for span in watched.spans}
    for name, written in spans:
        attributes = set().union(*(shortened(span.attributes) for span in watched.named(name)))
        of_errors = {"error.type", "error_code", "http.response.status_code"}
        assert {w.removeprefix("requests_cc_token").lstrip(".") for w in re.findall(r"`([\w.]+)`", written)} == (
            attributes - of_errors
        )
        assert of_errors <= attributes
