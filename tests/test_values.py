"""Frozen values: what they are equal by, what they show, and that they stay as they are."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from requests.auth import AuthBase

from requests_cc_token.values import Value


class Point(Value, AuthBase, hidden=("secret",), uncompared=("label",), unhashed=("extra",)):
    __slots__ = ("x", "secret", "extra", "label")

    x: int
    secret: str
    extra: dict[str, int]
    label: str

    def __init__(self, x: int = 1, secret: str = "s", extra: dict[str, int] | None = None, label: str = "") -> None:
        put = object.__setattr__
        put(self, "x", x)
        put(self, "secret", secret)
        put(self, "extra", extra or {})
        put(self, "label", label)


class Pixel(Point, uncompared=("color",)):
    __slots__ = ("color",)

    color: str

    def __init__(self, color: str = "red") -> None:
        super().__init__()
        object.__setattr__(self, "color", color)


def test_values_are_equal_by_their_fields() -> None:
    """Equal are two of one class whose fields are equal, but for those that do not count; their hashes are equal."""
    assert Point(extra={"a": 1}, label="b") == Point(extra={"a": 1}, label="c")
    assert hash(Point(extra={"a": 1}, label="b")) == hash(Point(extra={"a": 1}))
    assert Point() != Point(x=2)
    assert Point() != Point(secret="t")
    assert Point() != Point(extra={"a": 1})


def test_a_value_of_another_class_is_another_value() -> None:
    """Neither a subclass with the same fields nor a tuple of them is equal."""
    assert Point() != Pixel()
    assert Point() != (1, "s", {}, "")


def test_the_repr_shows_what_is_not_hidden() -> None:
    """Fields stand in the repr in their order, and a hidden one does not."""
    assert repr(Point(x=3)) == "Point(x=3, extra={}, label='')"


def test_a_subclass_inherits_what_is_hidden_and_what_counts() -> None:
    """What the base hides stays hidden, and what does not count there does not count here."""
    pixel = Pixel()
    object.__setattr__(pixel, "label", "other")
    assert pixel == Pixel("blue")
    assert hash(pixel) == hash(Pixel("blue"))
    assert repr(pixel) == "Pixel(x=1, extra={}, label='other', color='red')"


def test_a_value_stays_as_it_is() -> None:
    """Fields are neither set nor deleted, as in a frozen dataclass: the error is the same, and names the field."""
    point = Point()
    with pytest.raises(dataclasses.FrozenInstanceError, match="assign to field 'x' of the frozen value Point"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="delete field 'x'"):
        del point.x
    assert point == Point()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_is_pickled_and_copied(protocol: int) -> None:
    """A copy and an unpickled value are equal to the original, its uncompared fields included."""
    point = Point(x=5, label="l")
    for twin in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point, protocol))):
        assert (twin, twin.label) == (point, "l")
