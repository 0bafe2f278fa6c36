"""Traces and metrics of token requests for OpenTelemetry, by its API alone.

::

    from requests_cc_token.bridges.opentelemetry import instrument

    instrument(management)

Needs the extra ``otel``. Which spans, attributes and metrics there are is in the documentation, under metrics and
traces. A call that finds its token in memory costs nothing more than without: everything here is done when a token is
fetched, or when metrics are collected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.trace import Link, Span, Status, StatusCode, Tracer, TracerProvider

from requests_cc_token import __version__
from requests_cc_token.events import TokenEvent
from requests_cc_token.exceptions import TokenRequestError, code_of
from requests_cc_token.management import AccessTokenManagement
from requests_cc_token.stats import labels

#: The name of tracer and meter; attributes and metrics begin with it.
SCOPE = "requests_cc_token"
#: Seconds: what the histogram of fetch durations tells apart, from a quick answer to the whole time of a fetch.
BOUNDARIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Error codes that metrics tell apart: a code is the token service's word, and it may have a new one each time.
MAX_CODES = 32

_Attributes = dict[str, str | int]


def instrument(
    management: AccessTokenManagement,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Callable[[], None]:
    """Make spans and metrics of what happens to the tokens of a management, from now on.

    By the global providers unless others are given. The returned function ends it.
    """
    spans = _Spans(trace.get_tracer(SCOPE, __version__, tracer_provider))
    counts = _Metrics(metrics.get_meter(SCOPE, __version__, meter_provider), management)
    unsubscribe = [management.subscribe(spans.told), management.subscribe(counts.told)]

    def end() -> None:
        counts.management = None
        for each in unsubscribe:
            each()

    return end


@dataclass(slots=True)
class _Fetch:
    """The spans of one fetch, which is told of by events in one thread."""

    span: Span
    #: The fetch of which this one is a part: its secret may be behind another token.
    outer: _Fetch | None
    attempt: Span | None = None
    #: What makes the span of the try the current one, for instrumentors of HTTP.
    attached: Token[Context] | None = None

    def begin_try(self, span: Span) -> None:
        self.attempt = span
        self.attached = context.attach(trace.set_span_in_context(span))

    def end_try(self, error: TokenRequestError | None, seconds_ago: float = 0.0) -> None:
        if self.attempt is None or self.attached is None:
            return
        context.detach(self.attached)
        _end(self.attempt, error, time.time_ns() - round(seconds_ago * 1e9))
        self.attempt = self.attached = None


class _Spans:
    """A span around each fetch, and one in it for each of its tries."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        #: The fetch that the running code is a part of. All events of a fetch are told in its context.
        self._fetch: ContextVar[_Fetch | None] = ContextVar(f"{SCOPE} fetch", default=None)

    def told(self, event: TokenEvent) -> None:
        """Subscribed to the management."""
        if event.kind == "requested":
            self._begin_try(event)
        elif event.kind in ("obtained", "renewed", "failed"):
            self._end(event)

    def _begin_try(self, event: TokenEvent) -> None:
        fetch = self._fetch.get()
        if fetch is None or event.attempt == 1:
            fetch = _Fetch(self._begun(event), fetch)
            self._fetch.set(fetch)
        fetch.end_try(event.error, event.waited or 0.0)
        attributes = {**_of_event(event), f"{SCOPE}.attempt": event.attempt or 1}
        inside = trace.set_span_in_context(fetch.span)
        fetch.begin_try(self._tracer.start_span("token request", inside, attributes=attributes))

    def _begun(self, event: TokenEvent) -> Span:
        """The span of a fetch, which began before its first event."""
        begun = time.time_ns() - round((event.duration or 0.0) * 1e9)
        name, attributes = "token fetch", _of_event(event)
        if event.reason != "renewal":
            return self._tracer.start_span(name, attributes=attributes, start_time=begun)
        # Nobody waits for it, and it may end long after the call that noticed its time has come.
        caller = trace.get_current_span().get_span_context()
        links = [Link(caller)] if caller.is_valid else []
        return self._tracer.start_span(name, Context(), attributes=attributes, start_time=begun, links=links)

    def _end(self, event: TokenEvent) -> None:
        # One without tries has told of nothing before, whatever it is a part of.
        fetch = self._fetch.get() if event.attempts else None
        if fetch is None:
            span = self._begun(event)
        else:
            span = fetch.span
            fetch.end_try(event.error)
            self._fetch.set(fetch.outer)
        span.set_attributes({f"{SCOPE}.source": event.source or "", f"{SCOPE}.attempts": event.attempts or 0})
        _end(span, event.error)


def _end(span: Span, error: TokenRequestError | None, at: int | None = None) -> None:
    """End the span, as it went; the text of an error holds no secret."""
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, str(error)))
        span.set_attribute("error.type", type(error).__name__)
        code, status = code_of(error), getattr(error, "status_code", None)
        if code is not None:
            span.set_attribute(f"{SCOPE}.error_code", code)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
    span.end(at)


class _Metrics:
    """Counts and durations of fetches as they end; what else is known of tokens when metrics are collected."""

    def __init__(self, meter: Meter, management: AccessTokenManagement) -> None:
        #: None once it has ended: an instrument that is collected cannot be taken away.
        self.management: AccessTokenManagement | None = management
        self._codes: set[str] = set()
        self._fetches = meter.create_counter(
            f"{SCOPE}.fetches", "{fetch}", "Fetches of a token that have ended, by outcome, reason and error."
        )
        self._duration = meter.create_histogram(
            f"{SCOPE}.fetch.duration",
            "s",
            "How long fetches of a token took.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        for name, unit, text in (
            ("hits", "{token}", "Tokens that were given at once, without waiting."),
            ("requests", "{request}", "Token requests that were sent to the token service."),
            ("rejections", "{token}", "Tokens that were dropped because the API refused them."),
            ("timeouts", "{call}", "Calls whose time was over before a token came."),
        ):
            meter.create_observable_counter(f"{SCOPE}.{name}", [self._observing(name)], unit, text)
        for name, field, unit, text in (
            ("in_flight", "in_flight", "{fetch}", "Fetches of a token that have begun and not ended."),
            ("time_to_expiry", "seconds_to_expiry", "s", "For how long the current token may be used."),
            ("hold_off", "seconds_to_next_try", "s", "Time until the next token request may be made after failures."),
        ):
            meter.create_observable_gauge(f"{SCOPE}.{name}", [self._observing(field)], unit, text)

    def told(self, event: TokenEvent) -> None:
        """Subscribed to the management."""
        if event.kind not in ("obtained", "renewed", "failed"):
            return
        attributes = {**_of_event(event), f"{SCOPE}.outcome": event.kind, f"{SCOPE}.source": event.source or ""}
        if event.error is not None:
            attributes["error.type"] = type(event.error).__name__
            code = code_of(event.error)
            if code is not None and (code in self._codes or len(self._codes) < MAX_CODES):
                self._codes.add(code)
                attributes[f"{SCOPE}.error_code"] = code
        self._fetches.add(1, attributes)
        self._duration.record(event.duration or 0.0, attributes)

    def _observing(self, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """What collects a figure of each client, where it has one."""

        def observed(_options: CallbackOptions) -> Iterator[Observation]:
            management = self.management
            for stats in [] if management is None else management.stats():
                value: float | None = getattr(stats, field)
                if value is not None:
                    yield Observation(value, _attributes(labels(stats)))

        return observed


def _of_event(event: TokenEvent) -> _Attributes:
    return _attributes({"client": event.client, "scope": event.scope, "reason": event.reason})


def _attributes(given: Mapping[str, str | None]) -> _Attributes:
    """Those that say something, by their full names."""
    return {f"{SCOPE}.{name}": value for name, value in given.items() if value}
