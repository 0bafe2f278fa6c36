"""One line of configuration chooses the cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from requests_cc_token import AccessToken, AccessTokenManagement, MemoryTokenCache
from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.caches.from_url import cache_from_config
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.testing import ManualClock, TokenCacheContract

from .scripted_server import PATIENCE

KEY = TokenCacheContract.key()


def test_a_folder(tmp_path: Path) -> None:
    """A file URL is a FileTokenCache of that folder, percent-encoding undone, with its options."""
    clock = ManualClock()
    config = {"url": f"{tmp_path.as_uri()}/to%20kens", "key": Fernet.generate_key().decode(), "timeout": PATIENCE}
    cache = cache_from_config(config, clock=clock)
    assert isinstance(cache, FileTokenCache)
    assert cache.path == tmp_path / "to kens"
    assert "encrypted" in repr(cache)
    cache.set(KEY, AccessToken("token", expires_at=clock.time() + 10))
    clock.advance(10)
    assert cache.get(KEY) is None


def test_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file URL without a path is the user's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = cache_from_config({"url": "file:"})
    assert isinstance(cache, FileTokenCache)
    assert cache.path.is_relative_to(tmp_path)


@pytest.mark.parametrize("url", ["redis://h", "rediss://:T41NT@h:1/2", "unix:///run/redis", "valkey://h", "valkeys://h"])
def test_a_store(url: str) -> None:
    """URLs of Redis and Valkey are a RedisTokenCache with its options."""
    cache = cache_from_config({"url": url, "prefix": "app:", "lease": 5, "timeout": 0.1})
    assert repr(cache) == "<RedisTokenCache with prefix 'app:'>"
    assert isinstance(cache, RedisTokenCache)


def test_memory() -> None:
    """A memory URL is a MemoryTokenCache."""
    cache = cache_from_config({"url": "memory:", "max_tokens": 5})
    assert isinstance(cache, MemoryTokenCache)
    assert "5 tokens" in repr(cache)


def test_a_url_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that holds a password may come from the environment or a file."""
    monkeypatch.setenv("REDIS_URL", "redis://:T41NT@127.0.0.1")
    assert isinstance(cache_from_config({"url": {"env": "REDIS_URL"}}), RedisTokenCache)
    (tmp_path / "url").write_text("redis://:T41NT@127.0.0.1\n")
    assert isinstance(cache_from_config({"url": {"file": str(tmp_path / "url")}}), RedisTokenCache)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "url is empty; url says where tokens stay"),
        ({"key": "T41NT"}, "url is empty"),
        ({"url": 5}, "url must be text"),
        ({"url": {"env": "NO_SUCH_VARIABLE"}}, "NO_SUCH_VARIABLE is not set"),
        ({"url": "T41NT"}, "url begins with none of memory:, file:, redis:"),
        ({"url": "https://T41NT"}, "url begins with none of"),
        ({"url": "file://host/tokens"}, "with three slashes"),
        ({"url": "memory:", "key": "T41NT"}, "unknown key; known for memory: are max_tokens, url"),
        ({"url": "memory:", "max_tokens": "100"}, "max_tokens of a MemoryTokenCache must be a whole number"),
        ({"url": "file:///x", "prefix": "a", "size": 1}, "unknown prefix, size"),
        ({"url": "redis://:T41NT@h:port"}, "as redis-py reads it"),
        ({"url": "redis://h", "key": "T41NT"}, "no Fernet key"),
        ({"url": "redis://h", "lease": "10"}, "lease of a token cache must be a number of seconds"),
        ({"url": "redis://h", "prefix": 5}, "the prefix of a RedisTokenCache is text"),
        ({"url": "file://[T41NT"}, "with three slashes"),
    ],
)
def test_mistakes(config: dict[str, Any], said: str) -> None:
    """A mistake is told with the place where it is, and quotes neither URL nor key."""
    with pytest.raises(ConfigurationError) as caught:
        cache_from_config(config, "worker.toml: [cache]")
    assert str(caught.value).startswith("worker.toml: [cache]: ")
    assert said in str(caught.value)
    assert "T41NT" not in str(caught.value)


def test_in_toml(tmp_path: Path) -> None:
    """The [cache] table of a configuration file is all that it takes."""
    path = tmp_path / "worker.toml"
    key = tmp_path / "key"
    key.write_bytes(Fernet.generate_key())
    path.write_text(
        f'[cache]\nurl = "{(tmp_path / "tokens").as_uri()}"\nkey = {{ file = "{key}" }}\n'
        '[clients.a]\ntoken_endpoint = "https://example.com/token"\nclient_id = "a"\nclient_secret = "b"\n'
    )
    clock = ManualClock()
    with AccessTokenManagement.from_config(path, clock=clock) as management:
        assert management._cache._clock is clock  # type: ignore[attr-defined]
        assert repr(management._cache) == f"<FileTokenCache {str(tmp_path / 'tokens')!r}, encrypted>"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration whose extra is missing says which to install."""
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ConfigurationError, match=r"pip install requests_cc_token\[file\]"):
        cache_from_config({"url": (tmp_path / "tokens").as_uri()})
