"""Which slot belongs to what is asked for.

Slots are kept while somebody may come back for them: those of the clients and parameters that were used last. One
that a caller or a fetch still has stays the same for all, whether it is kept or not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

from .clients import ClientCredentialsClient
from .demand import Demand
from .locking import Guard
from .slots import Slot, hard_expiry
from .stats import Asked, ClientStats, Counts, counted_together
from .tokens import AccessToken

#: Clients and per-request parameters that are kept ready at most, the least recently used dropped first.
MAX_RECENT = 10_000


class SlotTable:
    """The slots of one token service, by cache key, by demand and by name; safe in threads."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        #: The slots of registered clients by name, read without the guard.
        self.by_name: dict[str | None, Slot] = {}
        self._by_key: weakref.WeakValueDictionary[str, Slot] = weakref.WeakValueDictionary()
        self._recent: dict[Demand, Slot] = {}

    def slot_for(self, demand: Demand, name: str | None, is_registered: Callable[[], bool]) -> Slot:
        """The slot of a demand, a new one if need be.

        ``name`` is what the client was called by; ``is_registered`` tells whether it means this client until the
        registrations change.
        """
        # The key costs more than the look, and is made outside of the guard. A slot that is known stays alive, so it is
        # found by its key where other demands push it out before our turn.
        known = self._recent.get(demand)
        key = demand.cache_key if known is None else known.key

        def found() -> Slot:
            slot = self._by_key.get(key)
            if slot is None:
                slot = self._by_key[key] = Slot(key, Asked.of(demand), demand.binding)
            # Out, and in at the end, both under the lock: statistics and revocation walk the table and must find every
            # slot.
            self._recent.pop(demand, None)
            self._recent[demand] = slot
            while len(self._recent) > MAX_RECENT:
                del self._recent[next(iter(self._recent))]
            # The short way by name is only for registrations that cannot change between calls: not for a resolver's
            # client whose name has been registered since, and not for one whose key or certificate is in files.
            if demand.parameters is None and demand.client.is_fixed and is_registered():
                self.by_name[name] = slot
            return slot

        return self._guard.do(found)

    def slot_of(self, token: AccessToken) -> Slot | None:
        """The slot that the token came from, while it is in use."""
        return self._by_key.get(token.key)

    def known(self, demand: Demand) -> Slot | None:
        """The slot of a demand where there is one, read without the guard."""
        return self._recent.get(demand)

    def live(self) -> list[Slot]:
        """All slots that are in use. One may go at any moment, in any thread, so what is walked through is a copy."""
        return [slot for slot in (reference() for reference in self._by_key.valuerefs()) if slot is not None]

    def held_tokens(self, now: float) -> list[tuple[Demand, AccessToken]]:
        """Each token that may be used at this moment, with what it was asked for by."""
        held = {id(slot): (demand, slot.token) for demand, slot in self._guard.do(lambda: [*self._recent.items()])}
        return [(demand, token) for demand, token in held.values() if token is not None and now < hard_expiry(token)]

    def figures(self, now: float, clients: Iterable[ClientCredentialsClient]) -> list[ClientStats]:
        """The figures of what was asked for, and of these clients; see ``AccessTokenService.stats``."""
        slots, recent = self._guard.do(lambda: (self.live(), [*self._recent.items()]))
        # A client's own token goes before others that were asked for alike, among those the one used last.
        own = {id(slot) for slot in list(self.by_name.values())}
        used = {id(slot): number for number, (_, slot) in enumerate(recent)}
        lines: dict[Asked, ClientStats] = {}
        for slot in sorted(slots, key=lambda slot: (id(slot) in own, used.get(id(slot), -1))):
            asked, figures = slot.asked, slot.figures(now)
            lines[asked] = counted_together(lines[asked], figures) if asked in lines else figures
        latest = {demand.name: slot for demand, slot in recent if demand.parameters is None}
        registered = set(map(Asked.of, clients))
        for asked in registered.difference(lines):
            lines[asked] = _uncounted(asked, latest.get(asked.client), now)
        order = sorted(lines, key=lambda asked: (asked.client, asked not in registered, repr(asked)))
        return [lines[asked] for asked in order]

    def clear(self) -> None:
        """Keep nothing; called under the guard."""
        self.by_name.clear()
        self._recent.clear()


def _uncounted(asked: Asked, slot: Slot | None, now: float) -> ClientStats:
    """A client that was not used yet, or one whose token is counted for another that is registered alike."""
    counts = Counts()
    if slot is None:
        return counts.told(asked)
    shared = slot.figures(now)
    counts.last_error = shared.last_error
    return counts.told(
        asked,
        status=shared.status,
        seconds_to_expiry=shared.seconds_to_expiry,
        seconds_to_next_try=shared.seconds_to_next_try,
    )
