"""How managements travel to another process: by reference, never by value.

What is pickled is a name or a path. A secret stays where it was configured, and the other process has its own tokens,
locks and connections: those of the management that the reference finds there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .exceptions import ConfigurationError
from .forks import renew_after_fork


class Reference(NamedTuple):
    """What is pickled instead of a management."""

    #: ``"name"``, ``"path"`` or ``"default"``.
    kind: str
    #: The name; or the absolute path of the TOML file, which a default management may have too.
    value: str | None


class Default(Protocol):
    """The module's default management, where there is one."""

    management: Any

    def get(self) -> Any:
        """The management, made of the environment's file if need be. Raises ``ConfigurationError``."""


class Managements:
    """The managements of this process that references find. There is one of this class; safe in threads.

    They are kept alive until they are closed, because a reference by name or path does not keep them alive.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._found: dict[Reference, Any] = {}
        #: Makes a management of a path; set by the package's ``__init__``.
        self.make: Callable[[str], Any] | None = None
        #: The module's default management; set by the package's ``__init__``.
        self.default: Default | None = None
        renew_after_fork(self)

    def keep(self, reference: Reference, management: Any) -> None:
        """Have the reference mean this management from now on."""
        with self._lock:
            self._found[reference] = management

    def drop(self, management: Any) -> None:
        """Forget a management that is closed."""
        with self._lock:
            for reference in [r for r, known in self._found.items() if known is management]:
                del self._found[reference]

    def known(self, reference: Reference) -> Any:
        """What the reference means here already, or None."""
        if reference.kind == "default" and self.default is not None and self.default.management is not None:
            return self.default.management
        with self._lock:
            return self._found.get(reference)

    def find(self, reference: Reference) -> Any:
        """What the reference means here; of a path, a management that is made of it once.

        Raises ``ConfigurationError`` where it means nothing here.
        """
        kind, value = reference
        known = self.known(reference)
        if known is not None:
            return known
        if kind == "name":
            raise ConfigurationError(
                f"a session or adapter came here by reference to the management {value!r}, and this process has "
                f"none of that name: make AccessTokenManagement(name={value!r}) here too, before the first request"
            )
        if kind == "default":
            assert self.default is not None
            try:
                return self.default.get()
            except ConfigurationError:
                if value is None:
                    raise
        assert value is not None
        assert self.make is not None
        by_path = Reference("path", value)
        with self._lock:
            if by_path not in self._found:
                self._found[by_path] = self.make(value)
            return self._found[by_path]

    def after_fork_in_child(self) -> None:
        """Start the lock anew: a thread that the child does not have may hold it."""
        self._lock = threading.RLock()


#: Those of this process.
managements = Managements()


def management_of(reference: Reference) -> Any:
    """What an unpickled management is. Raises ``ConfigurationError`` where there is none."""
    return managements.find(Reference(*reference))


def service_of(reference: Reference) -> Any:
    """What an unpickled token service is: that of a management known here, else a stand-in until there is one."""
    management = managements.known(Reference(*reference))
    return ReferencedService(Reference(*reference)) if management is None else management.service


class ReferencedService:
    """Stands in for the ``AccessTokenService`` of a management that came by reference, found when it is used.

    Not before: a worker process may load its task before it has configured its management.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(management_of(self._reference).service, name)

    def __repr__(self) -> str:
        kind, value = self._reference
        return f"<AccessTokenService of the {kind} management{'' if value is None else f' {value!r}'}>"

    def __reduce__(self) -> Any:
        return service_of, (tuple(self._reference),)
