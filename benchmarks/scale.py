"""What a fleet costs its token service and its store, replayed in virtual time.

    python -m benchmarks.scale docs/_static/scale.svg

Each process is called once a second, at a moment of its own; tokens live an hour; a token request takes 0.2 s. When a
token is renewed and what is taken from the store is decided by the package's own values: ``lifetime_bounds``,
``localized``, ``Slot``. Without a store each process has a token of its own; with one they share it.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass, field

from requests_cc_token import AccessToken
from requests_cc_token.caches.store import POLL_BOUNDS, POLL_SHARE
from requests_cc_token.expiry import Moment, lifetime_bounds, localized
from requests_cc_token.slots import Slot
from requests_cc_token.stats import Asked

from .pictures import BLUE, GREEN, RED, pyplot

#: Seconds: a token's lifetime, a token request, the time over which the fleet starts, and the replay's end.
LIFETIME = 3600.0
REQUEST = 0.2
START = 600.0
END = 4 * LIFETIME
#: Processes.
FLEETS = (1, 10, 100, 1_000, 10_000, 100_000)


@dataclass
class Cost:
    """What a fleet asked for, by the second in which it did."""

    processes: int
    #: How many of them ask for themselves.
    owners: int
    #: Token requests in all, and the seconds from each to the next one of the same owner.
    token_requests: int = 0
    intervals: list[float] = field(default_factory=list)
    store_commands: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Token requests per second, once all have started."""
        return self.owners * len(self.intervals) / sum(self.intervals)

    @property
    def busiest_second(self) -> int:
        """Store commands in the second that has most of them, once all have started."""
        return max((count for second, count in self.store_commands.items() if second >= LIFETIME), default=0)


def issued(now: float, number: int) -> AccessToken:
    """A token as the token service's answer is read at this moment."""
    hard, soft = lifetime_bounds(LIFETIME)
    return AccessToken(
        f"t{number}", expires_at=now + LIFETIME, renew_at=now + soft, soft_expiry=now + soft, hard_expiry=now + hard
    )


def starts(processes: int) -> list[float]:
    """When each process starts, and is called for the first time."""
    return [number / processes * START + random.random() for number in range(processes)]


def next_call(phase: float, moment: float) -> float:
    """The first call of a process from this moment on; it is called once a second."""
    return math.ceil(moment - phase) + phase


def count(figures: dict[int, int], now: float, many: int = 1) -> None:
    figures[int(now)] = figures.get(int(now), 0) + many


def alone(processes: int) -> Cost:
    """Each process fetches its own token."""
    cost = Cost(processes, owners=processes)
    for phase in starts(processes):
        slot, now, before = Slot("key", Asked("worker")), phase, None
        while now < END:
            step = slot.step(now)
            assert step.start is not None
            cost.token_requests += 1
            cost.intervals += [] if before is None else [now - before]
            before = now
            slot.land(step.start, issued(now, 0), now + REQUEST)
            slot.end(step.start)
            assert slot.token is not None
            assert slot.token.soft_expiry is not None
            now = next_call(phase, slot.token.soft_expiry)
    return cost


def together(processes: int) -> Cost:
    """All processes share one store: the first whose renewal is due fetches, the others take what it has left."""
    cost = Cost(processes, owners=1)
    slots = [Slot("key", Asked("worker")) for _ in range(processes)]
    due = starts(processes)
    phases = [start % 1 for start in due]
    stored, landed, before = None, -math.inf, None
    while min(due) < END:
        # One round: each process comes once.
        for process in sorted(range(processes), key=due.__getitem__):
            now, slot = due[process], slots[process]
            step = slot.step(now)
            assert step.start is not None
            count(cost.store_commands, now)  # it looks, and has the lease where no token is
            waited = 0.0
            news = None if stored is None or now < landed else slot.news(seen(stored, now), now)
            if news is None:
                count(cost.store_commands, now, stored is not None)  # not enough: it asks for the lease
                if now >= landed:
                    cost.token_requests += 1
                    cost.intervals += [] if before is None else [now - before]
                    stored, landed, before = issued(now, cost.token_requests), now + REQUEST, now
                    waited = REQUEST
                    count(cost.store_commands, landed)  # it writes, and releases
                while now + waited < landed:
                    waited += pause(waited)
                    count(cost.store_commands, now + waited)  # it looks again
                assert stored is not None
                news = seen(stored, now + waited)
            slot.land(step.start, news, now + waited)
            slot.end(step.start)
            assert news.soft_expiry is not None
            due[process] = next_call(phases[process], news.soft_expiry)
    return cost


def seen(token: AccessToken, now: float) -> AccessToken:
    """The stored token as another process reads it."""
    return localized(token, Moment(now, now), key="key", binding=None)


def pause(waited: float) -> float:
    """Seconds until the next look while another process fetches; as ``caches.store.Wait`` has it."""
    shortest, longest = POLL_BOUNDS
    return min(longest, max(shortest, POLL_SHARE * waited)) * random.uniform(0.5, 1.0)


def plot(without: list[Cost], shared: list[Cost], path: str) -> None:
    """Draw both, in colours for light pages and dark ones."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(8, 3.4))
    left.loglog(FLEETS, [cost.per_second for cost in without], "o-", color=BLUE, label="each its own token")
    left.loglog(FLEETS, [cost.per_second for cost in shared], "o-", color=GREEN, label="with a shared store")
    left.set_ylabel("token requests per second")
    right.loglog(FLEETS, [cost.busiest_second for cost in shared], "o-", color=GREEN)
    right.axhline(100_000, color=RED, linestyle="--")
    right.text(1, 110_000, "about what one Redis can do", color=RED, fontsize=9)
    right.set_ylim(top=500_000)
    right.set_ylabel("store commands, busiest second")
    left.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("processes")
        axes.set_facecolor("none")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str]) -> int:
    """Print the table, and draw it where a path is given."""
    without, shared = [alone(each) for each in FLEETS], [together(each) for each in FLEETS]
    print("| processes | token requests/s without a store | with a shared store |", end="")
    print(" store commands in the busiest second |")
    print("|---|---|---|---|")
    for own, fleet in zip(without, shared, strict=True):
        print(f"| {own.processes:,} | {own.per_second:.2g} | {fleet.per_second:.2g} | {fleet.busiest_second:,} |")
    if arguments:
        plot(without, shared, arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
