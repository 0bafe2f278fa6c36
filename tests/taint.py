"""Shows over the whole suite that no secret gets out: every secret of the tests is marked, and the mark is looked for.

After each test, and at the moment where something is raised, logged, told or started, the mark is searched in

* log records, with their tracebacks (at DEBUG the package logs its events, which are searched whether logged or not);
* what was printed, here and by child processes whose output a test collects; and command lines;
* warnings;
* events, and the errors on them;
* every error of the package and every error caught by ``pytest.raises``, with its causes: text, repr, attributes,
  pickle, the request on it, and the variables of all frames outside the tests;
* repr and str of every object of the package that is alive, and the pickles of those that can be pickled;
* the requests on responses that came through the adapter.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import requests

import requests_cc_token
from requests_cc_token.events import Events

#: Part of every secret, token, key and assertion of the tests.
MARK = "T41NT"

#: Objects that a walk goes through; where there were more, what is alive then is set apart, so that the next walk goes
#: through what its own test made, and no object is looked at twice. Without the GIL setting apart is as dear as a walk,
#: for both look through all of the heap.
MANY = 0 if getattr(sys, "_is_gil_enabled", lambda: True)() else 20_000

_TESTS = str(Path(__file__).parent)
_PACKAGE = requests_cc_token.__name__


class TaintError(AssertionError):
    """A secret got out."""


class Taint(logging.Handler):
    """The pytest plugin."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self._found: list[str] = []
        self._warnings: list[str] = []
        self._test_file = ""
        self._frame: FrameType | None = None
        #: Types of the package, and types that are not.
        self._ours: set[type] = set()
        self._foreign: set[type] = set()
        #: Objects that the last walk went through.
        self._alive = 0

    # What is searched

    def search(self, where: str, text: object) -> None:
        """Look for the mark in a text or in bytes."""
        marked = MARK.encode() in text if isinstance(text, bytes) else MARK in str(text)
        if marked:
            self._found.append(where)

    def search_error(self, where: str, error: BaseException) -> None:
        """Look for the mark in an error and its causes, as a crash reporter that prints locals would show them."""
        pending: list[Any] = [error]
        seen: set[int] = set()
        while pending:
            current = pending.pop()
            if not isinstance(current, BaseException) or id(current) in seen:
                continue
            seen.add(id(current))
            pending += [current.__cause__, current.__context__, *current.args]
            name = f"{where}: {type(current).__name__}"
            if not isinstance(current, AssertionError):
                self.search(f"{name}: str", _shown(current))
                self.search(f"{name}: attributes", _shown(vars(current)))
            request = getattr(current, "request", None)
            self.search(f"{name}: request", _shown(getattr(request, "headers", None)))
            self.search(f"{name}: pickle", _pickled(current))
            self._search_frames(name, current)

    def _search_frames(self, where: str, error: BaseException) -> None:
        place = error.__traceback__
        while place is not None:
            frame, place = place.tb_frame, place.tb_next
            file = frame.f_code.co_filename
            if file.startswith(_TESTS) or file == self._test_file:
                continue  # a test knows its own secrets
            for name, value in list(frame.f_locals.items()):
                if value is not error:
                    self.search(f"{where}: {name} in line {frame.f_lineno} of {file}", _shown(value))

    def search_objects(self) -> None:
        """Look for the mark in whatever of the package is alive, but for what was looked at after earlier tests."""
        things = gc.get_objects()
        foreign = self._foreign
        for thing in things:
            kind = type(thing)
            if kind in foreign:
                continue
            if self._is_ours(kind):
                self.search(f"repr of a {kind.__qualname__}", _shown(thing))
                if isinstance(thing, BaseException):
                    self.search_error("a live error", thing)
                elif isinstance(thing, (requests.Session, requests.adapters.BaseAdapter)):
                    self.search(f"pickle of a {kind.__qualname__}", _pickled(thing))
            elif kind is requests.Response and self._is_ours(type(getattr(thing, "connection", None))):
                self.search("the request of a response", _shown(dict(thing.request.headers)))
        self._alive = len(things)

    def _is_ours(self, kind: type) -> bool:
        if kind in self._ours:
            return True
        module = getattr(kind, "__module__", None)
        ours = isinstance(module, str) and module.partition(".")[0] == _PACKAGE
        if ours:
            self._ours.add(kind)
        elif kind is not requests.Response:
            self._foreign.add(kind)
        return ours

    # Where it is searched

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the handler's lock: threads that log in a hurry would queue for it."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Called for each log record."""
        # The message is looked at first, and alone in most cases: tests under load log much.
        self.search(f"log of {record.name}", record.getMessage())
        extra = vars(record).get("event"), vars(record).get("client"), record.args
        self.search(f"extra of a log record of {record.name}", extra)
        if record.exc_info and record.exc_info[1] is not None:
            self.search(f"traceback in the log of {record.name}", self.format(record))
            self.search_error(f"log of {record.name}", record.exc_info[1])

    def pytest_sessionstart(self) -> None:
        """Begin to listen."""
        logging.getLogger().addHandler(self)
        self._instrument()

    def _instrument(self) -> None:
        _before(Events, "emit", lambda _, event: self._event(event))
        for kind in (requests_cc_token.AccessTokenManagement, requests_cc_token.ClientCredentialsClient):
            _before(kind, "__init__", lambda *_, **__: self._keep_frame())
        _before(type(pytest.raises(TaintError)), "__exit__", lambda _, kind, error, place: self._caught(error))
        _before(subprocess.Popen, "__init__", lambda _, args, *__, **___: self.search("command line", args))
        _after(subprocess.Popen, "communicate", lambda output: self.search("output of a child process", output))
        _after(pytest.CaptureFixture, "readouterr", lambda output: self.search("captured output", output))

    def _event(self, event: Any) -> None:
        self.search("event", _shown(event))
        if event.error is not None:
            self.search_error("event", event.error)

    def _caught(self, error: BaseException | None) -> None:
        if error is not None:
            self.search_error("raised", error)

    def _keep_frame(self) -> None:
        """Keep the variables of the test alive beyond its end, for they hold most of what is to be looked at."""
        if threading.current_thread() is not threading.main_thread():
            return
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code.co_filename == self._test_file:
                self._frame = frame
            frame = frame.f_back

    def pytest_collection_finish(self) -> None:
        """What is alive before the first test is nobody's secret, and need not be walked through after each."""
        _set_apart()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin anew for each test."""
        self._found.clear()
        self._test_file = str(item.path)
        result = yield
        if self._alive > MANY:
            self._alive = 0
            _set_apart()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Look through everything after the test, and fail it."""
        try:
            result = yield
            self.search_objects()
        finally:
            frame, self._frame = self._frame, None
            if frame is not None:
                _clear(frame)
        self._raise()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """What happened at the end of the fixtures counts too."""
        result = yield
        self._raise()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, Any]:
        """Look through what was printed; a test that has failed already shows its own secrets."""
        report = yield
        if report.passed:
            for title, text in report.sections:
                self.search(title, text)
            if self._found:
                report.outcome = "failed"
                report.longrepr = self._message()
                self._found.clear()
        return report

    def pytest_warning_recorded(self, warning_message: Any, nodeid: str) -> None:
        """Look through a warning; its test is over by then."""
        if MARK in str(warning_message.message):
            self._warnings.append(nodeid)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell of warnings."""
        for nodeid in self._warnings:
            terminalreporter.write_line(f"a secret got out: warning in {nodeid}", red=True)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail for warnings."""
        if self._warnings and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _message(self) -> str:
        return "a secret got out: " + "; ".join(sorted(set(self._found)))

    def _raise(self) -> None:
        if self._found:
            message = self._message()
            self._found.clear()
            raise TaintError(message)


def _set_apart() -> None:
    """Leave what is alive now out of further walks: a run of the suite keeps ever more, and a walk takes its time."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin."""
    if not config.pluginmanager.has_plugin("taint"):
        config.pluginmanager.register(Taint(), "taint")


def _shown(value: object) -> str:
    """Repr and str; of what cannot be shown, nothing."""
    texts = []
    for show in (repr, str):
        try:
            texts.append(show(value))
        except Exception:
            texts.append("")
    return "\n".join(texts)


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:
        return b""


def _clear(frame: FrameType) -> None:
    with contextlib.suppress(RuntimeError):  # it still runs
        frame.clear()


def _before(owner: Any, name: str, look: Callable[..., None]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        look(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, looked_at)


def _after(owner: Any, name: str, look: Callable[[Any], None]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        look(result)
        return result

    setattr(owner, name, looked_at)
