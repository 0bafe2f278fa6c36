"""aws-xray-sdk: a segment in the caller's context, none in a thread of ours (F44)."""

from __future__ import annotations

import json

import pytest

from .conftest import Services, needed, run
from .worker import WAYS, as_environment

pytestmark = pytest.mark.neighbours

PROGRAM = """
import json, os
from aws_xray_sdk.core import patcher, xray_recorder
from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter
from tests.neighbours.worker import WAYS, Place

sent = []
class Kept(UDPEmitter):
    def send_entity(self, entity):
        sent.append(json.loads(entity.serialize()))

xray_recorder.configure(context_missing="RUNTIME_ERROR", emitter=Kept(), sampling=False, service="worker")
patcher.patch(["requests"])
seen = {}
for name, way in WAYS.items():
    sent.clear()
    with way(Place(**json.loads(os.environ["PLACE"]))) as worker, xray_recorder.in_segment("the job"):
        assert [worker.call().status_code for _ in range(2)] == [200, 200]
    def of(entity):
        found = [entity["http"]["request"]["method"]] if "http" in entity else []
        return sum(map(of, entity.get("subsegments", [])), found)
    # The fetch is a segment of its own in the same trace.
    assert len({entity["trace_id"] for entity in sent}) == 1, sent
    seen[name] = sum(map(of, sent), [])
print(json.dumps(seen))
"""


def test_f44_a_context_that_must_not_be_missing(services: Services) -> None:
    """With ``RUNTIME_ERROR`` no fetch fails for the lack of a segment; each request is a subsegment, once."""
    needed("aws-xray-sdk")
    seen = json.loads(run(PROGRAM, PLACE=as_environment(services.place)))
    assert {name: sorted(methods) for name, methods in seen.items()} == {name: ["GET", "GET", "POST"] for name in WAYS}
    assert services.counted == (len(WAYS), 2 * len(WAYS))
