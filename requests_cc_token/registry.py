"""Token clients by name, and the resolvers that are asked for names that were not registered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Union

from .clients import ClientCredentialsClient
from .clock import Clock
from .exceptions import ConfigurationError, TokenRequestTimeout, UnknownClientError
from .flights import Flight, joined, reentered
from .forks import renew_after_fork

#: Seconds for which a resolver's answer is used: long enough to spare it, short enough for a new secret.
RESOLVED_CLIENT_LIFETIME = 300.0
#: Resolved clients remembered at most, the oldest dropped first.
MAX_RESOLVED = 10_000
#: Seconds that a resolver may take: a look into a database, or two.
MAX_RESOLVE_TIME = 30.0

#: Asked for a name that nobody registered: a function of the name that returns the client, or None.
ClientResolver = Callable[[str], Union[ClientCredentialsClient, None]]

_Resolution = Flight[Union[ClientCredentialsClient, None]]


class ClientRegistry:
    """The token clients of one management, and its resolvers; safe in threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Each changed by single steps of the interpreter: a signal's handler may look a name up at any moment.
        self._clients: dict[str, ClientCredentialsClient] = {}
        self._resolvers: list[ClientResolver] = []
        self._resolved: dict[str, tuple[ClientCredentialsClient, float]] = {}
        #: Taken while the oldest answers are dropped, by the thread that asks a resolver only.
        self._dropping = threading.Lock()
        #: The names that a resolver is being asked for.
        self._resolving: dict[str, _Resolution] = {}
        renew_after_fork(self)

    @property
    def clients(self) -> dict[str, ClientCredentialsClient]:
        """The clients that were registered, by name; a resolver's are not among them."""
        return dict(self._clients)

    def add(self, client: ClientCredentialsClient) -> None:
        """Register a client under its name.

        Raises ``ConfigurationError`` where the name is taken, or where clients would wait for each other's tokens.
        """
        if self._clients.setdefault(client.name, client) is not client:
            raise ConfigurationError(
                f"a token client named {client.name!r} is registered already; registered are {listed(self._clients)}"
            )
        # Looked for after adding: of two threads that close a circle together, at least one sees it.
        circle = self._circle(client, ())
        if circle is not None:
            del self._clients[client.name]
            raise ConfigurationError(
                f"token client {client.name!r}: the tokens that it exchanges would be its own: "
                f"{' -> '.join(map(repr, circle))}"
            )

    def _circle(self, client: ClientCredentialsClient, way: tuple[str, ...]) -> tuple[str, ...] | None:
        """The way from a client by the tokens that it exchanges to one that was on the way already, or None."""
        if client.name in way:
            return (*way, client.name)
        for name in () if client.grant is None else client.grant.clients:
            following = self._clients.get(name)
            circle = None if following is None else self._circle(following, (*way, client.name))
            if circle is not None:
                return circle
        return None

    def add_resolver(self, resolver: ClientResolver) -> None:
        """Ask this function too for names that nobody registered. Raises ``ConfigurationError``."""
        if not callable(resolver):
            raise ConfigurationError("a client resolver must be callable: resolver(name) -> client or None")
        self._resolvers.append(resolver)

    def has_resolver(self) -> bool:
        """Whether a name that nobody registered may be known all the same."""
        return bool(self._resolvers)

    def is_registered(self, name: str | None, client: ClientCredentialsClient) -> bool:
        """Whether ``find`` will give this client for the name until the registrations change."""
        return self._clients.get(client.name) is client and (name is not None or len(self._clients) == 1)

    def find(self, name: str | None, deadline: float | None = None) -> ClientCredentialsClient:
        """The client of the name, or the only one for None.

        ``deadline`` is the moment, on the monotonic clock, until which this caller waits for a resolver. Raises
        ``UnknownClientError``, ``TokenRequestTimeout``, and what a resolver raises.
        """
        clients = self._clients
        client = clients.get(name) if name is not None else None
        if client is not None:
            return client
        if name is None:
            if len(clients) == 1:
                return next(iter(list(clients.values())))
            reason = "there are several token clients, so name one" if clients else "there is no token client"
        else:
            client = self._resolve(name, deadline) if self._resolvers else None
            if client is not None:
                return client
            reason = f"no token client is named {name!r}"
        raise UnknownClientError(f"{reason}; registered are {listed(clients)}", clients)

    def _resolve(self, name: str, deadline: float | None) -> ClientCredentialsClient | None:
        """What the resolvers say; one caller's thread asks for a name, the others wait, each up to its deadline."""
        now = self._clock.monotonic()
        known = self._resolved.get(name)
        if known is not None and now < known[1]:
            return known[0]
        flight, bell = joined(
            self._resolving,
            name,
            lambda: self._asked(name),
            f"requests_cc_token resolver {name}",
            clock=self._clock,
            max_time=MAX_RESOLVE_TIME,
        )
        if flight.waits_for_this_thread():
            flight.leave(bell)
            raise reentered()
        if flight.waits_for_this_code():
            flight.leave(bell)
            raise UnknownClientError(
                f"the client resolver was asked for {name!r}, and asks for a token of {name!r} itself", self._clients
            )
        if not flight.wait(bell, self._clock, deadline):
            raise TokenRequestTimeout(
                f"token client {name!r}: the client resolver did not answer in time; make it faster, or allow more "
                "time (timeout=...)",
                client=name,
            )
        return flight.outcome()

    def _asked(self, name: str) -> ClientCredentialsClient | None:
        for resolver in list(self._resolvers):
            client = resolver(name)
            if client is None:
                continue
            if not isinstance(client, ClientCredentialsClient):
                raise ConfigurationError(
                    f"the client resolver returned {type(client).__name__} for {name!r}; "
                    "it must return a ClientCredentialsClient or None"
                )
            client = client.named(name)
            with self._dropping:
                self._resolved.pop(name, None)
                self._resolved[name] = (client, self._clock.monotonic() + RESOLVED_CLIENT_LIFETIME)
                while len(self._resolved) > MAX_RESOLVED:
                    del self._resolved[next(iter(self._resolved))]
            return client
        return None

    def after_fork_in_child(self) -> None:
        """Start the lock anew, and what threads of the parent were at."""
        self._dropping = threading.Lock()
        self._resolving = {}


def listed(names: Mapping[str, Any]) -> str:
    """Names for a message."""
    return ", ".join(map(repr, sorted(names))) or "none"
