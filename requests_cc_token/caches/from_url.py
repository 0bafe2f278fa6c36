"""The token cache that a configuration names by a URL."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from requests_cc_token.clock import Clock
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError
from requests_cc_token.secret_source import secret_source
from requests_cc_token.tracebacks import sealed

from .memory import MemoryTokenCache
from .protocol import TokenCache

_REDIS = ("redis", "rediss", "unix", "valkey", "valkeys")
_KEYS = {
    "memory": frozenset({"url", "max_tokens"}),
    "file": frozenset({"url", "key", "lease", "timeout"}),
    **dict.fromkeys(_REDIS, frozenset({"url", "key", "lease", "timeout", "prefix"})),
}


@sealed
def cache_from_config(
    config: Mapping[str, Any], where: str = "[cache]", *, clock: Clock | None = None, folder: Path | None = None
) -> TokenCache:
    """The cache that the ``[cache]`` table describes.

    ``url`` is ``"memory:"``, ``"file:///folder"``, ``"file:"`` for the user's own folder, or a URL that redis-py
    reads; ``{"env": name}`` or ``{"file": path}`` where it holds a password. The other entries are the options of
    the cache: ``key``, ``lease`` and ``timeout`` for both, ``prefix`` for Redis, ``max_tokens`` for memory. A relative
    path counts from ``folder``.

    Raises ``ConfigurationError``, whose message begins with ``where``.
    """
    try:
        return _made(config, clock, folder)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _made(config: Mapping[str, Any], clock: Clock | None, folder: Path | None) -> TokenCache:
    try:
        url = secret_source(config.get("url", ""), "url").read()
    except (ConfigurationError, TokenRequestError) as error:
        raise ConfigurationError(
            f"{error}; url says where tokens stay: file:///folder, or redis://host"
        ) from None
    kind = url.partition(":")[0].lower()
    if kind not in _KEYS:
        raise ConfigurationError(f"url begins with none of {', '.join(f'{k}:' for k in _KEYS)}")
    unknown = sorted(str(key) for key in config if key not in _KEYS[kind])
    if unknown:
        raise ConfigurationError(
            f"unknown {', '.join(unknown)}; known for {kind}: are {', '.join(sorted(_KEYS[kind]))}"
        )
    options = {name: value for name, value in config.items() if name != "url"}
    if kind == "memory":
        return MemoryTokenCache(**options, clock=clock)
    if kind == "file":
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:  # of a host that is none
            parts = None
        if parts is None or parts.netloc not in ("", "localhost"):
            raise ConfigurationError("a file URL has no host: file:///folder, with three slashes")
        from .file import FileTokenCache

        path = urllib.request.url2pathname(parts.path)
        if path and folder is not None:
            path = str(folder / path)
        return FileTokenCache(path or None, **options, clock=clock)
    from .redis import RedisTokenCache

    return RedisTokenCache(url, **options, clock=clock)
