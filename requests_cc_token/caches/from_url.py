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

from .memory import MemoryTokenCache
from .protocol import TokenCache

_REDIS = ("redis", "rediss", "unix", "valkey", "valkeys")
_KEYS = {
    "memory": frozenset({"url", "max_tokens"}),
    "file": frozenset({"url", "key", "lease", "timeout"}),
    **dict.fromkeys(_REDIS, frozenset({"url", "key", "lease", "timeout", "prefix"})),
}


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
    failure = ""
    url = ""
    try:
        url = secret_source(config.get("url", ""), "url").read()
    except (ConfigurationError, TokenRequestError) as error:
        failure = f"{error}; url says where tokens stay: file:///folder, or redis://host"
    kind = url.partition(":")[0].lower()
    if not failure and kind not in _KEYS:
        failure = f"url begins with none of {', '.join(f'{k}:' for k in _KEYS)}"
    if not failure:
        unknown = sorted(str(key) for key in config if key not in _KEYS[kind])
        if unknown:
            failure = f"unknown {', '.join(unknown)}; known for {kind}: are {', '.join(sorted(_KEYS[kind]))}"
    if not failure:
        cache, failure = _made(kind, url, {k: v for k, v in config.items() if k != "url"}, clock, folder)
        if cache is not None:
            return cache
    url = ""
    config = {}
    raise ConfigurationError(f"{where}: {failure}")


def _made(
    kind: str, url: str, options: dict[str, Any], clock: Clock | None, folder: Path | None
) -> tuple[TokenCache | None, str]:
    """The cache, or why not. Errors are returned: the frames here hold the URL's password and the key."""
    try:
        if kind == "memory":
            return MemoryTokenCache(**options, clock=clock), ""
        if kind == "file":
            parts = urllib.parse.urlsplit(url)
            if parts.netloc not in ("", "localhost"):
                return None, "a file URL has no host: file:///folder, with three slashes"
            from .file import FileTokenCache

            path = urllib.request.url2pathname(parts.path)
            if path and folder is not None:
                path = str(folder / path)
            return FileTokenCache(path or None, **options, clock=clock), ""
        from .redis import RedisTokenCache

        return RedisTokenCache(url, **options, clock=clock), ""
    except ConfigurationError as error:
        return None, str(error)
    except (TypeError, ValueError, AttributeError) as error:
        return None, f"a value has the wrong type ({type(error).__name__})"
