"""What tracers keep for a thread, brought along to the threads of a fetch.

With stand-ins that record; ``tests/neighbours`` has the real OpenTelemetry and AWS X-Ray.
"""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.bounded_reads import Looks
from requests_cc_token.tracers import SEGMENT, handed_on, in_a_trace

from .scripted_server import PATIENCE


def in_a_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class Entity:
    """A segment of AWS X-Ray."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.trace_id, self.id, self.sampled = "1-trace", "parent", sampled


class Recorder:
    """AWS X-Ray's recorder, told that a missing segment is an error."""

    def __init__(self) -> None:
        self._local = threading.local()
        self.begun: list[tuple[Any, ...]] = []
        self.ended = 0

    def get_trace_entity(self) -> Any:
        return self._local.entity

    def set_trace_entity(self, entity: Any) -> None:
        self._local.entity = entity

    def begin_segment(self, name: str, traceid: str | None, parent_id: str | None, sampling: int) -> None:
        self.begun.append((name, traceid, parent_id, sampling))
        self._local.entity = name

    def end_segment(self) -> None:
        self.ended += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The program has imported AWS X-Ray."""
    recorder = Recorder()
    module = types.ModuleType("aws_xray_sdk.core")
    module.xray_recorder = recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aws_xray_sdk.core", module)
    return recorder


def test_without_tracers_nothing_is_done() -> None:
    """The work runs, in either thread."""
    done: list[int] = []
    in_a_thread(in_a_trace(lambda: done.append(1)))
    in_a_thread(handed_on(lambda: done.append(2)))
    assert done == [1, 2]


def test_f44_a_segment_of_its_own_in_the_callers_trace(recorder: Recorder) -> None:
    """It ends with the fetch, though the fetch fails, whatever becomes of the caller's."""
    recorder.set_trace_entity(Entity())
    seen: list[Any] = []
    in_a_thread(in_a_trace(lambda: seen.append(recorder.get_trace_entity())))
    assert seen == [SEGMENT]
    assert recorder.begun == [(SEGMENT, "1-trace", "parent", 1)]
    with pytest.raises(ZeroDivisionError):
        in_a_trace(lambda: 1 // 0)()
    assert recorder.ended == 2


@pytest.mark.parametrize("entity", [None, Entity(sampled=False)])
def test_f44_a_caller_without_one(recorder: Recorder, entity: Entity | None) -> None:
    """Where the caller has no segment, or one that is not recorded, the fetch's is not recorded either."""
    if entity is not None:
        recorder.set_trace_entity(entity)
    in_a_thread(in_a_trace(lambda: None))
    assert recorder.begun == [(SEGMENT, None, None, 0)]


def test_f44_a_part_of_the_fetch(recorder: Recorder) -> None:
    """The segment is handed on to a thread that the fetch waits for; where there is none nothing is."""
    seen: list[Any] = []
    in_a_thread(handed_on(lambda: seen.append(vars(recorder._local))))
    recorder.set_trace_entity("the fetch's")
    in_a_thread(handed_on(lambda: seen.append(vars(recorder._local))))
    assert seen == [{}, {"entity": "the fetch's"}]


def test_f44_a_token_request(recorder: Recorder, management: AccessTokenManagement) -> None:
    """A fetch has its segment, in whichever thread the request is sent."""
    seen: list[Any] = []
    recorder.set_trace_entity(Entity())

    def secret() -> str:
        seen.append(recorder.get_trace_entity())
        return "s"

    management.add_client(
        "asked",
        token_endpoint="http://127.0.0.1:9/token",
        client_id="x",
        client_secret=secret,
    )
    management.configure_backchannel(wait=())
    with pytest.raises(Exception, match="could not be connected to"):
        management.service.get_access_token("asked")
    assert seen == [SEGMENT]


def test_a_look_at_a_file_is_no_segment(recorder: Recorder) -> None:
    """Calls look once in a second, and nobody wants to see that in a trace."""
    recorder.set_trace_entity(Entity())
    assert Looks().take("a", lambda: "seen", within=PATIENCE) == "seen"
    assert recorder.begun == []


@pytest.mark.parametrize("enabled", [True, False])
def test_f43_opentelemetry(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    """Span and baggage stay, what mutes requests within a request goes; who muted all of it is obeyed."""
    attached: list[Any] = []
    package = types.ModuleType("opentelemetry")
    utils: Any = types.ModuleType("opentelemetry.instrumentation.utils")
    utils.is_instrumentation_enabled = lambda: enabled
    context: Any = types.ModuleType("opentelemetry.context")
    context.Context, context.attach = dict, attached.append
    trace: Any = types.ModuleType("opentelemetry.trace")
    trace.get_current_span = lambda: "span"
    trace.set_span_in_context = lambda span, context: {**context, "span": span}
    baggage: Any = types.ModuleType("opentelemetry.baggage")
    baggage.get_all = lambda: {"tenant": "a"}
    baggage.set_baggage = lambda name, value, context: {**context, name: value}
    for module in (context, trace, baggage):
        setattr(package, module.__name__.rpartition(".")[2], module)
    for module in (package, utils, context, trace, baggage):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    in_a_thread(in_a_trace(lambda: None))
    assert attached == ([{"span": "span", "tenant": "a"}] if enabled else [])
