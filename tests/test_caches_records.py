"""Records of tokens: the way there and back, keys and their rotation."""

from __future__ import annotations

import base64
import json
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import AccessToken
from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.caches.records import MAX_RECORD, TokenRecords
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.exceptions import ConfigurationError, TokenCacheError

KEY = "ab" * 32
OLD, NEW, OTHER = (Fernet.generate_key() for _ in range(3))
TOKEN = AccessToken("T41NT-token", "DPoP", "read", expires_at=2e9, renew_at=1.9e9, extra={"a": [{"b": None}]}, key=KEY)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("key", [None, OLD], ids=["plain", "encrypted"])
@given(
    value=st.text("abcXYZ019-._~+/", min_size=1),
    scope=st.none() | st.text(),
    extra=st.dictionaries(st.text(), json_values, max_size=4),
    moments=st.tuples(st.floats(0, 1e11), st.floats(0, 1e11)),
)
def test_there_and_back(
    key: bytes | None, value: str, scope: str | None, extra: dict[str, Any], moments: tuple[float, float]
) -> None:
    """Every token comes back from its record as it was, and the record is ASCII."""
    records = TokenRecords(key)
    token = AccessToken(value, scope=scope, expires_at=moments[0], renew_at=moments[1], extra=extra, key=KEY)
    data = records.encode(KEY, token)
    assert data.isascii()
    assert records.decode(KEY, data) == token


@given(data=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_a_miss(data: bytes) -> None:
    """Whatever was not encoded for this key is a miss, with a key and without."""
    for records in (TokenRecords(), TokenRecords(OLD)):
        assert records.decode(KEY, data) is None


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte(position: int, flip: int) -> None:
    """An encrypted record with one byte changed is a miss, or the same token where the byte is mere padding."""
    records = TokenRecords(OLD)
    data = bytearray(records.encode(KEY, TOKEN))
    data[position % len(data)] ^= flip
    assert records.decode(KEY, bytes(data)) in (None, TOKEN)


def test_the_other_alphabet_of_base64() -> None:
    """A key may be what ``openssl rand -base64 32`` wrote; a record in that alphabet is none of ours."""
    key = Fernet(base64.urlsafe_b64encode(b"\xff" * 32)), base64.b64encode(b"\xff" * 32)
    assert b"/" in key[1]
    record = next(r for r in iter(lambda: TokenRecords(key[1]).encode(KEY, TOKEN), None) if b"-" in r)
    assert TokenRecords(key[1]).decode(KEY, record) == TOKEN
    assert json.loads(key[0].decrypt(record))["value"] == TOKEN.value
    assert TokenRecords(key[1]).decode(KEY, record.replace(b"-", b"+")) is None


@pytest.mark.parametrize("depth", [500, 100_000])
def test_deep_json(depth: int) -> None:
    """A record that is nested deeper than the interpreter goes is a miss."""
    assert TokenRecords().decode(KEY, b'{"extra":' * depth + b"{}" + b"}" * depth) is None


def test_an_oversized_record() -> None:
    """A record of more than a MiB is not even parsed."""
    data = TokenRecords().encode(KEY, TOKEN)
    padded = data + b" " * (MAX_RECORD - len(data))
    assert TokenRecords().decode(KEY, padded) == TOKEN
    assert TokenRecords().decode(KEY, padded + b" ") is None


def test_another_keys_record() -> None:
    """A record under another cache key is a miss."""
    for records in (TokenRecords(), TokenRecords(OLD)):
        assert records.decode("cd" * 32, records.encode(KEY, TOKEN)) is None


@pytest.mark.parametrize(
    "key",
    [OLD, OLD.decode(), [NEW, OLD], (NEW.decode(), OLD), f"{NEW.decode()}\n{OLD.decode()}\n", OLD.decode],
    ids=["bytes", "text", "list", "mixed", "lines", "callable"],
)
def test_forms_of_a_key(key: Any) -> None:
    """A key is bytes, text, several of either, or a callable; each key of several decrypts."""
    assert TokenRecords(key).decode(KEY, TokenRecords(OLD).encode(KEY, TOKEN)) == TOKEN


def test_the_first_key_encrypts() -> None:
    """Rotation: the new key in front encrypts, the old one still decrypts."""
    rotated = TokenRecords([NEW, OLD])
    assert TokenRecords(NEW).decode(KEY, rotated.encode(KEY, TOKEN)) == TOKEN
    assert TokenRecords(OLD).decode(KEY, rotated.encode(KEY, TOKEN)) is None
    assert rotated.decode(KEY, TokenRecords(OTHER).encode(KEY, TOKEN)) is None


def test_a_key_file_is_read_again(tmp_path: Path) -> None:
    """A key file may be replaced while the program runs; a garbled one is an error that does not quote it."""
    path = tmp_path / "key"
    path.write_bytes(OLD + b"\n")
    records = TokenRecords({"file": str(path)})
    old = records.encode(KEY, TOKEN)
    path.write_bytes(NEW + b"," + OLD)
    assert records.decode(KEY, old) == TOKEN
    new = records.encode(KEY, TOKEN)
    assert TokenRecords(NEW).decode(KEY, new) == TOKEN
    path.write_bytes(NEW + b" T41NT-garbled")
    with pytest.raises(TokenCacheError, match="key 2 is no Fernet key") as caught:
        records.encode(KEY, TOKEN)
    assert str(path) in str(caught.value)
    assert "T41NT" not in str(caught.value)
    path.write_bytes(NEW)
    assert records.decode(KEY, new) == TOKEN


def test_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key may come from an environment variable; a missing one is told when the cache is made."""
    monkeypatch.setenv("CACHE_KEY", OLD.decode())
    records = TokenRecords({"env": "CACHE_KEY"})
    assert records.encrypted
    assert TokenRecords(OLD).decode(KEY, records.encode(KEY, TOKEN)) == TOKEN
    monkeypatch.delenv("CACHE_KEY")
    with pytest.raises(ConfigurationError, match="environment variable CACHE_KEY is not set"):
        TokenRecords({"env": "CACHE_KEY"})
    with pytest.raises(TokenCacheError, match="environment variable CACHE_KEY is not set"):
        records.encode(KEY, TOKEN)


@pytest.mark.parametrize(
    "key",
    ["", "T41NT", b"T41NT", b"\xff", [], [OLD, "T41NT"], [OLD, 5], 5, {"vault": "T41NT"}, " \n", OLD[:-4]],
    ids=lambda _: "key",  # the folder of the test is named after it
)
def test_what_is_no_key(key: Any, tmp_path: Path) -> None:
    """What is no key is refused when a cache is made; neither the message nor any frame's variables quote it."""
    for make in (partial(FileTokenCache, tmp_path), partial(RedisTokenCache, "redis://127.0.0.1")):
        with pytest.raises(ConfigurationError, match="the cache's encryption key") as caught:
            make(key=key)
        assert "T41NT" not in str(caught.value)
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        # The first frame is this test's own.
        shown = [name for frame in frames.stack[1:] for name, text in (frame.locals or {}).items() if "T41NT" in text]
        assert shown == []


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cryptography is missing the error says which extra to install; without a key it is not needed."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ConfigurationError, match=r"pip install requests_cc_token\[encryption\]"):
        TokenRecords(OLD)
    assert TokenRecords().decode(KEY, TokenRecords().encode(KEY, TOKEN)) == TOKEN


def test_a_rotation_amid_a_rotation() -> None:
    """A thread that comes between another one's reading of the key and its use leaves it the new key, not the old."""
    keys = [OLD]

    def newest() -> str:
        return keys[-1].decode()

    records = TokenRecords(newest)
    depth: list[None] = []

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_name == "_current_fernet" and event == "line" and not depth:
            lines.add(frame.f_lineno)
            if frame.f_lineno == at:
                depth.append(None)
                TokenRecords.encode(records, KEY, TOKEN)
        return trace

    lines: set[int] = set()
    at = -1
    before = sys.gettrace()
    for round_ in range(20):
        keys.append(Fernet.generate_key())
        depth.clear()
        seen = sorted(lines)
        at = seen[round_ % len(seen)] if seen else -1
        sys.settrace(trace)
        try:
            data = records.encode(KEY, TOKEN)
        finally:
            sys.settrace(before)
        assert TokenRecords(keys[-1]).decode(KEY, data) == TOKEN
    assert len(lines) >= 4


def test_a_record_belongs_to_the_key_that_it_is_stored_by() -> None:
    """Whatever key the token had before; what is not there is no token."""
    records, token = TokenRecords(), AccessToken("t", expires_at=100.0, key="before")
    data = records.encode("after", token)
    found = records.decode("after", data)
    assert found is not None
    assert (found.value, found.key) == ("t", "after")
    assert records.decode("before", data) is None
    assert records.decode("after", None) is None
