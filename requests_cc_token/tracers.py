"""What tracers keep for the thread and the context of a call, in the threads of a fetch.

A fetch runs in a thread of its own. Context variables come along by themselves; what else a tracer needs to see the
token request, or not to fail for the lack of it, is brought along here, by the tracers' public functions and only where
the program has imported them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: The name of the AWS X-Ray segment of a fetch.
SEGMENT = "requests_cc_token"

_NOTHING = object()


def in_a_trace(work: Callable[[], object]) -> Callable[[], None]:
    """The work of a fetch, to be run in another thread as a part of the caller's trace."""
    entity = _entity()

    def run() -> None:
        _unmute()
        if entity is _NOTHING:
            work()
            return
        recorder = _xray()
        # A segment of its own, since the caller's may end before the fetch does; without one, nothing is recorded.
        caller: Any = entity
        sampled = caller is not None and caller.sampled
        recorder.begin_segment(
            SEGMENT,
            traceid=caller.trace_id if sampled else None,
            parent_id=caller.id if sampled else None,
            sampling=int(sampled),
        )
        try:
            work()
        finally:
            recorder.end_segment()

    return run


def handed_on(work: Callable[[], object]) -> Callable[[], None]:
    """A part of a fetch, to be run in another thread while this one waits for it."""
    entity = _entity()

    def run() -> None:
        if entity is not _NOTHING and entity is not None:
            _xray().set_trace_entity(entity)
        work()

    return run


def _unmute() -> None:
    """Show OpenTelemetry's instrumentors what is sent from here on, as a child of the span that is current.

    Within a request of ``requests`` its instrumentor mutes that of urllib3, lest one request be two spans. The token
    request is none of those.
    """
    utils: Any = sys.modules.get("opentelemetry.instrumentation.utils")
    if utils is not None and utils.is_instrumentation_enabled():
        from opentelemetry import baggage, context, trace

        mine = trace.set_span_in_context(trace.get_current_span(), context.Context())
        for name, value in baggage.get_all().items():
            mine = baggage.set_baggage(name, value, mine)
        context.attach(mine)


def _xray() -> Any:
    """The recorder of AWS X-Ray where the program has imported it."""
    return getattr(sys.modules.get("aws_xray_sdk.core"), "xray_recorder", None)


def _entity() -> object:
    """The segment or subsegment of this thread; None where it has none, ``_NOTHING`` without AWS X-Ray."""
    recorder = _xray()
    if recorder is None:
        return _NOTHING
    try:
        return recorder.get_trace_entity()
    except Exception:
        return None  # context_missing="RUNTIME_ERROR"
