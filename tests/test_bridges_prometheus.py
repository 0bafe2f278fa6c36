"""The collector for Prometheus, by its real client; the rules and the dashboard of the docs, by promtool too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from requests_cc_token import AccessTokenManagement, TokenEndpointError, TokenRequestParameters
from requests_cc_token.bridges.prometheus import ClientStatsCollector

from .interop.servers import installation_folder
from .scripted_server import ScriptedServer, error_answer, token_answer
from .test_service import Harness

DOCS = Path(__file__).parents[1] / "docs"
MONITORING = DOCS / "monitoring"
ERP = {"client": "worker", "scope": "api", "resource": "", "audience": ""}


@pytest.fixture
def harness(server: ScriptedServer) -> Iterator[Harness]:
    harness = Harness(server)
    with harness.management:
        yield harness


def registry_of(management: AccessTokenManagement) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ClientStatsCollector(management))
    return registry


def exposed(registry: CollectorRegistry) -> dict[str, str]:
    """Types by name, in the format in which Prometheus scrapes them."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}


def sample_names(registry: CollectorRegistry) -> set[str]:
    return {sample.name for family in registry.collect() for sample in family.samples}


def used(harness: Harness) -> CollectorRegistry:
    """A client that failed once, has a token, and whose token was rejected once."""
    harness.server.script.extend([error_answer(400, "invalid_scope"), token_answer("one", 1000)])
    harness.server.default = token_answer("two", 1000)
    with pytest.raises(TokenEndpointError):
        harness.get()
    harness.clock.advance(700)
    harness.service.token_rejected(harness.get())
    harness.get()
    harness.get()
    return registry_of(harness.management)


def test_each_figure_is_a_metric(harness: Harness) -> None:
    """What ``stats()`` counts is there by client, scope, resource and audience, in Prometheus' own units."""
    registry = used(harness)

    def value(name: str, **labels: str) -> Any:
        return registry.get_sample_value(f"requests_cc_token_{name}", {**ERP, **labels})

    assert value("hits_total") == 1
    assert value("requests_total") == 3
    assert value("rejections_total") == 1
    assert value("timeouts_total") == 0
    assert value("in_flight") == 0
    assert value("failures_total", error="TokenEndpointError", code="invalid_scope") == 1
    assert value("fetch_duration_seconds_count") == 3
    assert value("fetch_duration_seconds_sum") == 0
    assert [value("status", status=status) for status in ("fine", "degraded", "failing")] == [1, 0, 0]
    assert value("time_to_expiry_seconds") == 995
    assert value("hold_off_seconds") == 0


def test_a_client_that_is_not_used_is_there(harness: Harness) -> None:
    """With zeros, so that alerts know it, and without an expiry."""
    registry = registry_of(harness.management)
    assert registry.get_sample_value("requests_cc_token_requests_total", ERP) == 0
    assert registry.get_sample_value("requests_cc_token_time_to_expiry_seconds", ERP) is None


def test_what_requests_ask_for_has_labels(harness: Harness) -> None:
    """Several resources are one label, separated by spaces."""
    harness.server.default = token_answer("one")
    harness.get(parameters=TokenRequestParameters(scope="b a", resource=["urn:x", "urn:y"], audience="erp"))
    labels = {"client": "worker", "scope": "b a", "resource": "urn:x urn:y", "audience": "erp"}
    registry = registry_of(harness.management)
    assert registry.get_sample_value("requests_cc_token_requests_total", labels) == 1


def test_registering_collects_nothing_and_finds_a_second_one(harness: Harness) -> None:
    """Two managements of one registry need two namespaces; the error comes when the second is registered."""
    registry = registry_of(harness.management)
    with AccessTokenManagement() as other:
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(ClientStatsCollector(other))
        registry.register(ClientStatsCollector(other, namespace="other_tokens"))
    assert harness.requests == 0
    assert "other_tokens_hits_total" in exposed(registry)


def test_the_page_has_each_metric_and_no_other(harness: Harness) -> None:
    """The table of the docs names metrics and types as they are scraped."""
    page = (DOCS / "metrics-and-traces.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(requests_cc_token_\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert table == exposed(used(harness))


@pytest.mark.parametrize("file", ["alerts.yaml", "alerts.test.yaml", "dashboard.json"])
def test_rules_and_dashboard_name_metrics_that_there_are(harness: Harness, file: str) -> None:
    """A metric that is renamed here is renamed there."""
    named = set(re.findall(r"\brequests_cc_token_\w+", (MONITORING / file).read_text(encoding="utf-8")))
    assert named
    assert named <= sample_names(used(harness))


def test_the_dashboard_shows_each_metric(harness: Harness) -> None:
    """It is JSON, its panels do not overlap, and none of the metrics is left out."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"\brequests_cc_token_\w+", shown)) == sample_names(used(harness))
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def promtool(*arguments: str, stdin: str | None = None) -> str:
    """What promtool says; its complaints are the test's."""
    unpacked = installation_folder() / "prometheus" / "usr" / "bin" / "promtool"
    program = shutil.which("promtool") or str(unpacked)
    if not Path(program).exists():
        pytest.skip("there is no promtool, so rules and names are NOT checked by it (run .ci/interop-setup)")
    done = subprocess.run(
        [program, *arguments], cwd=MONITORING, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    """Each rule is one that Prometheus loads."""
    assert "SUCCESS: 8 rules found" in promtool("check", "rules", "alerts.yaml")


def test_promtool_finds_that_the_rules_say_what_they_are_for() -> None:
    """They fire for series that are wrong, and not for those that are not."""
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yaml")


def test_promtool_finds_nothing_wrong_with_the_names(harness: Harness) -> None:
    """Names, types and units are as Prometheus' conventions have them."""
    assert promtool("check", "metrics", stdin=generate_latest(used(harness)).decode()) == ""
