"""A8: an exception at any line of a call, an interrupt for example, leaves with no secret in its frames."""

from __future__ import annotations

import gc
import http.client
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import requests
import urllib3

import requests_cc_token
from requests_cc_token import AccessTokenManagement, tracebacks
from requests_cc_token.tracebacks import sealed

from .moments import a_signal_may_come
from .scripted_server import Action, ScriptedServer, answer, reset, token_answer

SECRET = "T41NT-token"

#: Where a token passes on its way to the API. Files, not names: an interpreter too may live below a folder of our name.
TRACED = (
    *(f"{Path(str(package.__file__)).parent}{os.sep}" for package in (requests_cc_token, requests, urllib3)),
    http.client.__file__,
)

#: Each so manieth line, so that this takes seconds. All lines were tried once: 1 in place of 3.
STEP = 3


class InterruptError(BaseException):
    """What a signal's handler raises: Ctrl-C, a task queue's time limit."""


def interrupted(call: Callable[[], object], line: int, traced: tuple[str, ...]) -> tuple[bool, BaseException | None]:
    """Make a call that is interrupted at its so manieth line; whether it had that many, and what left it.

    In a thread of its own: where a trace raises at the end of a handler, what was handled stays the thread's current
    exception, and all later errors would have it for their context.
    """
    outcome: list[tuple[bool, BaseException | None]] = []
    thread = threading.Thread(target=lambda: outcome.append(_interrupted(call, line, traced)))
    thread.start()
    thread.join(60)
    assert outcome, f"interrupted at line {line} or one before, it hangs"
    return outcome[0]


def _interrupted(call: Callable[[], object], line: int, traced: tuple[str, ...]) -> tuple[bool, BaseException | None]:
    count = 0
    reached = False

    def in_frame(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count, reached
        if event == "line" and a_signal_may_come(frame):
            count += 1
            if count == line:
                reached = True
                sys.settrace(None)
                raise InterruptError
        return in_frame

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return in_frame if frame.f_code.co_filename.startswith(traced) else None

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
    except BaseException as error:
        return reached, error
    return reached, None


def holds_it(value: object) -> bool:
    """Whether a crash reporter would show the secret with this variable."""
    try:
        return SECRET in repr(value)
    except AttributeError:
        return False  # an object that is half made


def shown(error: BaseException | None) -> list[str]:
    """The places whose variables show the secret, in the error's traceback and those of whatever hangs on it."""
    places: list[str] = []
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        trace = current.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename != __file__ and any(map(holds_it, trace.tb_frame.f_locals.values())):
                places.append(f"{code.co_qualname if sys.version_info >= (3, 11) else code.co_name}:{trace.tb_lineno}")
            trace = trace.tb_next
        pending += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return places


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "script", [[], [answer(401)], [reset]], ids=["an answer", "a renewal", "a connection that breaks"]
)
def test_a8_an_interrupt_at_any_line_of_a_send(script: list[Action]) -> None:
    """No traceback with its locals shows the token, wherever in requests, urllib3 or here the interrupt comes."""
    with ScriptedServer() as tokens, ScriptedServer() as api, AccessTokenManagement() as management:
        tokens.default = token_answer(SECRET)
        api.default = answer(200, b"fine")
        management.add_client("w", token_endpoint=tokens.token_endpoint, client_id="w", client_secret="T41NT-secret")
        session = requests.Session()
        management.mount(session, api.url, "w")
        line, places, reached = 1, list[str](), True
        while reached:
            management.service.get_access_token("w")
            api.script.clear()
            api.script.extend(script)
            reached, error = interrupted(lambda: session.get(api.url, timeout=30), line, TRACED)
            places += shown(error)
            line += STEP
    # What an interrupt left half made, sockets and cycles of requests and urllib3, goes before the next test.
    session.close()
    del error
    gc.collect()
    assert places == []
    assert line > 300


def test_a8_an_interrupt_at_any_line_of_the_seal() -> None:
    """Nor does one that comes while another error is being emptied."""

    def fails() -> None:
        held = SECRET
        raise ValueError(len(held))

    reached, line = True, 1
    while reached:
        reached, error = interrupted(sealed(fails), line, (str(tracebacks.__file__), __file__))
        assert isinstance(error, InterruptError if reached else ValueError)
        assert not [frame for frame in frames_of(error) if any(map(holds_it, frame.f_locals.values()))]
        line += 1
    assert line > 10


def frames_of(error: BaseException | None) -> list[FrameType]:
    """The frames of the error and its context that the test did not make itself."""
    frames: list[FrameType] = []
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_name in ("fails", "call", "without_locals"):
                frames.append(trace.tb_frame)
            trace = trace.tb_next
        error = error.__context__
    return frames
