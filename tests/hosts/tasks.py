"""Tasks that other processes import."""

from __future__ import annotations

import requests


def call(session: requests.Session, number: int = 0) -> int:
    """Call the API."""
    return session.get("test", params={"task": number}, timeout=30).status_code
