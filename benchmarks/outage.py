"""Thirty minutes without the token service, replayed in virtual time: who asks how often.

    python -m benchmarks.outage                             # the figures
    python -m benchmarks.outage docs/_static/outage.svg     # and the plot

A fleet of processes starts over ten minutes; each is called once a second. The token service issues tokens of an hour,
fails for thirty minutes, and comes back. What each process knows is a ``Slot``, and time is a number: a hundred
processes take a second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from requests_cc_token import AccessToken, TokenRequestError
from requests_cc_token.expiry import lifetime_bounds
from requests_cc_token.slots import Failure, Slot
from requests_cc_token.stats import Asked

from .pictures import BLUE, GREY, RED, pyplot

#: Seconds: the token's lifetime, the time over which the fleet starts, the outage's begin and end, the replay's end.
LIFETIME = 3600
START = 600
OUTAGE = (2900, 4700)
END = 6000

#: What a token service answers a process at a second: a token, or an error.
TokenService = Callable[[int, float], "AccessToken | TokenRequestError"]


def issued(value: str, now: float, lifetime: float = LIFETIME) -> AccessToken:
    """A token that comes at this moment."""
    hard, soft = lifetime_bounds(lifetime)
    return AccessToken(value, expires_at=now + lifetime, soft_expiry=now + soft, hard_expiry=now + hard)


def with_an_outage(process: int, now: float) -> AccessToken | TokenRequestError:
    """A new token each time; an error in the outage."""
    begin, end = OUTAGE
    return TokenRequestError("503") if begin <= now < end else issued(f"{process}-{now}", now)


@dataclass
class Replay:
    """What happened in each second of the replay."""

    processes: int
    requests: list[int] = field(default_factory=lambda: [0] * END)
    failed_calls: list[int] = field(default_factory=lambda: [0] * END)
    #: Token requests of each process during the outage.
    per_process: list[int] = field(default_factory=list)


def replay(processes: int = 100, service: TokenService = with_an_outage, *, every: float = 1.0) -> Replay:
    """Run the fleet through its life, each process called ``every`` so many seconds."""
    result = Replay(processes, per_process=[0] * processes)
    for process in range(processes):
        slot = Slot("key", Asked("worker"))
        now = float(process * START // processes)
        while now < END:
            if not _called(slot, now, process, service, result):
                result.failed_calls[int(now)] += 1
            now += every
    return result


def _called(slot: Slot, now: float, process: int, service: TokenService, result: Replay) -> bool:
    """One call; whether it had a token. Nobody waits, so each fetch is one try."""
    step = slot.step(now)
    if step.start is not None:
        result.requests[int(now)] += 1
        result.per_process[process] += OUTAGE[0] <= now < OUTAGE[1]
        slot.land(step.start, service(process, now), now)
        slot.end(step.start)
    if isinstance(step.outcome, AccessToken):
        return True
    return not isinstance(step.outcome, Failure) and step.outcome.result is not None


def plot(result: Replay, path: str) -> None:
    """Draw the token requests per second and the failed calls, in colours for light pages and dark ones."""
    figure, (above, below) = pyplot().subplots(2, 1, sharex=True, figsize=(8, 4.5))
    minutes = [second / 60 for second in range(0, END, 10)]
    per_second = [sum(result.requests[s : s + 10]) / 10 for s in range(0, END, 10)]
    failed = [sum(result.failed_calls[s : s + 10]) / 10 for s in range(0, END, 10)]
    for axes in (above, below):
        axes.axvspan(OUTAGE[0] / 60, OUTAGE[1] / 60, color=GREY, alpha=0.25, linewidth=0, label="token service down")
    above.plot(minutes, per_second, color=BLUE, linewidth=1)
    above.set_ylabel("token requests/s")
    above.legend(loc="upper left", frameon=False)
    below.plot(minutes, failed, color=RED, linewidth=1)
    below.set_ylabel("calls without token/s")
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
    figure.suptitle(f"{result.processes} processes, one call a second each, tokens of an hour", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    outcome = replay()
    during = outcome.per_process
    print(
        f"{outcome.processes} processes: {sum(during) / len(during):.0f} token requests each in the outage "
        f"(least {min(during)}, most {max(during)}), at most {max(outcome.requests[1:])} in one second"
    )
    if len(sys.argv) > 1:
        plot(outcome, sys.argv[1])
