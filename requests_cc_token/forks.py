"""What a forked child starts anew.

A child inherits locks that may be held by threads it does not have, flights whose thread is gone, and sockets
that it would share with its parent. The owners of such things register here and are told in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object that must start something anew in a forked child."""

    def after_fork_in_child(self) -> None:
        """Drop what cannot be shared with the parent. Nothing may block here, and no lock is to be taken."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def renew_after_fork(owner: ForkAware) -> None:
    """Have ``owner.after_fork_in_child()`` called in each forked child, for as long as the owner lives."""
    _registered.add(owner)


def _in_child() -> None:
    for owner in list(_registered):
        owner.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_in_child)
