"""Thirty minutes without the token service, replayed in virtual time: who asks how often.

    python -m benchmarks.outage docs/_static/outage.svg

A fleet of processes, each with a management of its own, starts over ten minutes; each is called once a second. The
token service issues tokens of an hour, fails for thirty minutes, and comes back. The clock is moved by hand, so
this takes seconds.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import BaseAdapter

from requests_cc_token import AccessTokenManagement, TokenRequestError
from requests_cc_token.events import TokenEvent
from requests_cc_token.testing import ManualClock

#: Seconds: the token's lifetime, the time over which the fleet starts, the outage's begin and end, the replay's end.
LIFETIME = 3600
START = 600
OUTAGE = (2900, 4700)
END = 6000


@dataclass
class Replay:
    """What happened in each second of the replay."""

    processes: int
    requests: list[int] = field(default_factory=lambda: [0] * END)
    failed_calls: list[int] = field(default_factory=lambda: [0] * END)
    #: Token requests of each process during the outage.
    per_process: list[int] = field(default_factory=list)


class _TokenService(BaseAdapter):
    """A token service in this process, since the clock it lives by is moved by hand."""

    def __init__(self, clock: ManualClock, replay: Replay, process: int) -> None:
        super().__init__()
        self._clock, self._replay, self._process = clock, replay, process

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Answer one token request."""
        import io

        from urllib3 import HTTPResponse

        second = min(int(self._clock.monotonic()), END - 1)
        down = OUTAGE[0] <= second < OUTAGE[1]
        self._replay.requests[second] += 1
        if down:
            self._replay.per_process[self._process] += 1
        body = b"" if down else b'{"access_token": "t", "token_type": "Bearer", "expires_in": %d}' % LIFETIME
        response = requests.Response()
        response.status_code = 503 if down else 200
        response.raw = HTTPResponse(io.BytesIO(body), status=response.status_code, preload_content=False)
        return response

    def close(self) -> None:
        """Nothing to close."""


def replay(processes: int = 100) -> Replay:
    """Run the fleet through the outage."""
    clock = ManualClock(monotonic=0.0)
    result = Replay(processes, per_process=[0] * processes)
    running = threading.Semaphore(0)
    fleet: list[AccessTokenManagement] = []
    started = [0]

    def note(event: TokenEvent) -> None:
        if event.kind == "requested":
            started[0] += 1
        elif event.kind in ("obtained", "renewed", "failed"):
            running.release()

    for process in range(processes):
        management = AccessTokenManagement(clock=clock)
        management.add_client(
            "worker", token_endpoint="https://tokens.example.com/", client_id="m2m", client_secret="secret"
        )
        session = requests.Session()
        session.mount("https://", _TokenService(clock, result, process))
        management.configure_backchannel(session=session)
        management.subscribe(note)
        fleet.append(management)
    for second in range(END):
        for process, management in enumerate(fleet):
            begins = process * START // processes
            if second < begins:
                continue
            try:
                # Nobody waits here, so each fetch is one try and the schedule decides about the next.
                management.service.get_access_token(timeout=None if second == begins else 0)
            except TokenRequestError:
                result.failed_calls[second] += 1
        while started[0]:
            running.acquire()
            started[0] -= 1
        clock.advance(1.0)
    for management in fleet:
        management.close()
    return result


def plot(result: Replay, path: str) -> None:
    """Draw the token requests per second and the failed calls."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 4.5))
    minutes = [second / 60 for second in range(0, END, 10)]
    per_second = [sum(result.requests[s : s + 10]) / 10 for s in range(0, END, 10)]
    failed = [sum(result.failed_calls[s : s + 10]) / 10 for s in range(0, END, 10)]
    for axes in (above, below):
        axes.axvspan(OUTAGE[0] / 60, OUTAGE[1] / 60, color="0.9", label="token service down")
    above.plot(minutes, per_second, color="tab:blue", linewidth=1)
    above.set_ylabel("token requests/s")
    above.legend(loc="upper left", frameon=False)
    below.plot(minutes, failed, color="tab:red", linewidth=1)
    below.set_ylabel("calls without token/s")
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
    figure.suptitle(f"{result.processes} processes, one call a second each, tokens of an hour", fontsize=10)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    outcome = replay()
    during = outcome.per_process
    print(
        f"{outcome.processes} processes: {sum(during) / len(during):.0f} token requests each in the outage "
        f"(least {min(during)}, most {max(during)}), at most {max(outcome.requests[1:])} in one second"
    )
    plot(outcome, sys.argv[1])
