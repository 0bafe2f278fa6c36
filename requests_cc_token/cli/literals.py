"""Secrets that stand in a configuration file itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .report import Finding

_IN_FILE_OR_ENVIRONMENT = '{ file = "PATH" } or { env = "NAME" }'
_IN_ENVIRONMENT = '{ env = "NAME" }'


def literal_secrets(about: str, entry: Mapping[str, Any], file: Path) -> Iterator[Finding]:
    """A warning for each secret of a table of the file that is written out in it; ``about`` names the table."""
    for key, elsewhere in _literals(entry, in_cache=about == "cache"):
        yield Finding(
            "warning", about, f"{key}: the secret stands in {file} itself", f"write {key} = {elsewhere} instead"
        )


def _literals(entry: Mapping[str, Any], *, in_cache: bool) -> Iterator[tuple[str, str]]:
    """Each key whose secret is written out, and what to write in its place."""
    for key, value in entry.items():
        if key in ("parameters", "proxies") and isinstance(value, Mapping):
            # Texts, which may come from the environment and from nowhere else.
            secret = [name for name, text in value.items() if _is_text(name, text) or _has_password(text)]
            yield from ((f"{key}.{name}", _IN_ENVIRONMENT) for name in secret)
        elif _is_text(key, value) or _is_key(key, value, in_cache) or (key == "url" and _has_password(value)):
            yield key, _IN_FILE_OR_ENVIRONMENT
        elif isinstance(value, Mapping):
            yield from ((f"{key}.{name}", elsewhere) for name, elsewhere in _literals(value, in_cache=False))


def _is_text(key: str, value: object) -> bool:
    """Whether it is a secret that is written out, alone or in a list."""
    texts = value if isinstance(value, list) else [value]
    return key in ("client_secret", "password") and any(isinstance(text, str) for text in texts)


def _is_key(key: str, value: object, in_cache: bool) -> bool:
    """Whether it is a key that is written out: of a cache any text; else PEM, or a JWK as a table or JSON; no path."""
    if key != "key":
        return False
    if isinstance(value, Mapping):
        return "kty" in value
    if in_cache:
        return isinstance(value, str) or (isinstance(value, list) and any(isinstance(each, str) for each in value))
    return isinstance(value, str) and ("PRIVATE KEY-----" in value or '"kty"' in value)


def _has_password(value: object) -> bool:
    """Whether it is a URL with a password."""
    try:
        return isinstance(value, str) and bool(urlsplit(value).password)
    except ValueError:
        return False  # no URL at all, which is told as a problem
