"""Short ways through ``requests`` and ``urllib3``, each taken only where the long way provably gives the same.

A plain ``requests.Session`` spends most of a GET on work whose result is known beforehand. This room holds what is
known beforehand. It is also the one room that touches private attributes of requests, urllib3, http.cookiejar and os:
each touch is named in :class:`ground.Ground`, checked when this room is imported, and has the long way as its fallback.

Who replaces a method of requests, in a subclass, on an instance or in the library itself (``responses``,
``requests_mock``, VCR, tracers do), is called as before: a short way first looks whether the function that it stands
in for is still the one that was shipped.

The figures are CPU time per GET on a warm loopback connection, in per cent of a plain ``requests.Session``: what is
lost when this one way is closed, over three runs of ``python -m benchmarks savings`` on a machine with other work,
where differences below three per cent cannot be told from chance. Ways overlap, so they do not add up.
"""

from __future__ import annotations

from .adapter import DEFAULT_POOL_SIZE, ShortcutAdapter, leave_to_parent
from .messages import copy_with_header, header_of
from .session import ShortcutSession, take_shortcuts

__all__ = [
    "DEFAULT_POOL_SIZE",
    "ShortcutAdapter",
    "ShortcutSession",
    "copy_with_header",
    "header_of",
    "leave_to_parent",
    "take_shortcuts",
]
