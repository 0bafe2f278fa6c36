"""Frozen values that are quick to import.

``dataclasses`` would do, but brings ``inspect``, ``ast`` and ``dis`` with it and compiles what it generates, each time
a program starts: a tenth of what ``import requests`` takes, twice what is left of this package without it. A
``NamedTuple`` compiles too, 0.15 ms for each class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):  # noqa: D103 - that of `typing`
        return lambda cls: cls


# A type checker says of these values what it says of frozen dataclasses: no assignments.
@dataclass_transform(frozen_default=True)
class Value:
    """A base of classes whose ``__slots__`` are set once, by ``object.__setattr__`` in ``__init__``.

    Equal and hashed by their fields and shown with them, but for those that the class statement names:
    ``class Token(Value, hidden=("value",), uncompared=("key",), unhashed=("extra",))``. A subclass inherits that.
    """

    __slots__: tuple[str, ...] = ()

    _fields: ClassVar[tuple[str, ...]] = ()
    #: The fields that the repr leaves out, and those that are compared, and hashed.
    _hidden: ClassVar[frozenset[str]] = frozenset()
    _compared_fields: ClassVar[tuple[str, ...]] = ()
    _hashed_fields: ClassVar[tuple[str, ...]] = ()
    _compared: ClassVar[Callable[[Any], Any]]
    _hashed: ClassVar[Callable[[Any], Any]]

    def __init_subclass__(
        cls, *, hidden: Iterable[str] = (), uncompared: Iterable[str] = (), unhashed: Iterable[str] = (), **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        added = tuple(vars(cls).get("__slots__", ()))
        compared = tuple(name for name in added if name not in uncompared)
        cls._fields += added
        cls._hidden |= frozenset(hidden)
        cls._compared_fields += compared
        cls._hashed_fields += tuple(name for name in compared if name not in unhashed)
        cls._compared = attrgetter(*cls._compared_fields)
        cls._hashed = attrgetter(*cls._hashed_fields)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        self._refuse("assign to", name)

    def __delattr__(self, name: str) -> NoReturn:
        self._refuse("delete", name)

    def _refuse(self, what: str, name: str) -> NoReturn:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot {what} field {name!r} of the frozen value {type(self).__name__}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        compared = type(self)._compared
        return bool(compared(self) == compared(other))

    def __hash__(self) -> int:
        return hash(type(self)._hashed(self))

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self._fields if name not in self._hidden]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
