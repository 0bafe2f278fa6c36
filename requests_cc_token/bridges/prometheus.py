"""The figures of token clients for Prometheus: a collector over ``AccessTokenManagement.stats()``.

::

    from prometheus_client import REGISTRY
    from requests_cc_token.bridges.prometheus import ClientStatsCollector

    REGISTRY.register(ClientStatsCollector(management))

Needs the extra ``prometheus``. The metrics are those of one process; what that means where a server has several is in
the documentation, under metrics and traces.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from requests_cc_token.management import AccessTokenManagement
from requests_cc_token.stats import STATUSES, ClientStats, labels

#: The labels of each metric.
_LABELS = tuple(labels(ClientStats(client="")))


class ClientStatsCollector(Collector):
    """Collects the figures of a management's token clients at each scrape; between scrapes it costs nothing.

    ``namespace`` begins the names of the metrics. Two managements of one registry need different ones.
    """

    def __init__(self, management: AccessTokenManagement, *, namespace: str = "requests_cc_token") -> None:
        self._management = management
        self._namespace = namespace

    def describe(self) -> Iterator[Metric]:
        """The metrics without samples: their names, for the registry."""
        return self._families([])

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        return self._families(self._management.stats())

    def _families(self, lines: list[ClientStats]) -> Iterator[Metric]:
        hits = self._counter("hits", "Tokens that were given at once, without waiting.")
        requests = self._counter("requests", "Token requests that were sent to the token service.")
        rejections = self._counter("rejections", "Tokens that were dropped because the API refused them.")
        timeouts = self._counter("timeouts", "Calls whose time was over before a token came.")
        failures = self._counter("failures", "Fetches of a token that failed.", "error", "code")
        duration = SummaryMetricFamily(
            f"{self._namespace}_fetch_duration_seconds",
            "Fetches of a token, and how long they took.",
            labels=list(_LABELS),
        )
        in_flight = self._gauge("in_flight", "Fetches of a token that have begun and not ended.")
        status = self._gauge("status", "1 for what holds of fine, degraded and failing, else 0.", "status")
        expiry = self._gauge("time_to_expiry_seconds", "For how long the current token may be used.")
        hold_off = self._gauge("hold_off_seconds", "Time until the next token request may be made after failures.")

        for stats in lines:
            whose = list(labels(stats).values())
            hits.add_metric(whose, stats.hits)
            requests.add_metric(whose, stats.requests)
            rejections.add_metric(whose, stats.rejections)
            timeouts.add_metric(whose, stats.timeouts)
            duration.add_metric(whose, stats.fetches, stats.fetch_seconds)
            for failure in stats.failures:
                failures.add_metric([*whose, failure.error, failure.code or ""], failure.count)
            in_flight.add_metric(whose, stats.in_flight)
            for each in STATUSES:
                status.add_metric([*whose, each], float(stats.status == each))
            if stats.seconds_to_expiry is not None:
                expiry.add_metric(whose, stats.seconds_to_expiry)
            hold_off.add_metric(whose, stats.seconds_to_next_try)
        yield from (hits, requests, rejections, timeouts, failures, duration, in_flight, status, expiry, hold_off)

    def _counter(self, name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"{self._namespace}_{name}", text, labels=[*_LABELS, *labels])

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._namespace}_{name}", text, labels=[*_LABELS, *labels])
