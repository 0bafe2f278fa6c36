"""Tokens as bytes for stores outside the process: JSON, encrypted where a key is given."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

from requests_cc_token.exceptions import ConfigurationError, TokenCacheError, TokenRequestError
from requests_cc_token.secret_source import SecretLike, SecretSource, secret_source
from requests_cc_token.tokens import AccessToken
from requests_cc_token.tracebacks import sealed

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: Bytes of a record at most. Token services issue a few KiB; more was not written by us.
MAX_RECORD = 1_048_576
#: What an encrypted record consists of. The decoder of Python ignores anything else, or warns of it.
_ENCRYPTED = frozenset(f"{string.ascii_letters}{string.digits}-_=".encode())
#: ``openssl rand -base64 32`` makes a key too, in the other alphabet.
_URL_SAFE = str.maketrans("+/", "-_")

#: What ``key`` of a cache may be: a Fernet key, several, or a source of text with one or several.
EncryptionKey = Union[SecretLike, bytes, Iterable[Union[str, bytes]]]


class TokenRecords:
    """Turns tokens into records and back.

    ``key`` is one Fernet key or several: the first encrypts, each of them decrypts, so that a new one can be put in
    front before the old one goes. A source, ``{"file": path}`` or ``{"env": name}``, holds them separated by white
    space or commas and is read again at each use. Without a key the record is plain JSON.

    Raises ``ConfigurationError`` if the key cannot be used now, or cryptography is missing.
    """

    @sealed
    def __init__(self, key: EncryptionKey | None = None) -> None:
        self._source = None if key is None else _source(key)
        #: The text that was read last, and its keys: replaced in one step, since several threads read.
        self._known: tuple[str, MultiFernet] | None = None
        try:
            self._current_fernet()
        except TokenCacheError as error:
            raise ConfigurationError(str(error)) from None

    @property
    def encrypted(self) -> bool:
        """Whether a key was given."""
        return self._source is not None

    def encode(self, key: str, token: AccessToken) -> bytes:
        """The record of the token, ASCII only. Raises ``TokenCacheError`` where the key cannot be read."""
        fernet = self._current_fernet()
        record = json.dumps({**token.to_record(), "key": key}, separators=(",", ":")).encode("ascii")
        return record if fernet is None else fernet.encrypt(record)

    def decode(self, key: str, data: bytes | None) -> AccessToken | None:
        """The token of a record, or None for whatever ``encode`` has not written for this key."""
        fernet = self._current_fernet()
        if data is None or len(data) > MAX_RECORD:
            return None
        if fernet is not None:
            if not _ENCRYPTED.issuperset(data):
                return None
            from cryptography.fernet import InvalidToken

            try:
                data = fernet.decrypt(data)
            except InvalidToken:
                return None
        try:
            token = AccessToken.from_record(json.loads(data))
        except (ValueError, RecursionError, OverflowError):
            return None
        # A record that was copied to another key's place belongs to another client.
        return token if token.key == key else None

    @sealed
    def _current_fernet(self) -> MultiFernet | None:
        """The keys as they are now, or None where records are not encrypted. Raises ``TokenCacheError``."""
        if self._source is None:
            return None
        try:
            text = self._source.read()
            known = self._known
            if known is None or text != known[0]:
                known = self._known = text, _fernet(text)
            return known[1]
        except (TokenRequestError, ConfigurationError) as error:
            raise TokenCacheError(f"the cache's encryption key, from {self._source.description}: {error}") from None


def _source(key: Any) -> SecretSource:
    """Where the keys come from. Raises ``ConfigurationError``."""
    what = "the cache's encryption key"
    try:
        if not (isinstance(key, (str, Mapping, SecretSource)) or callable(key)):
            several = [key] if isinstance(key, bytes) else key
            key = "\n".join(each.decode("ascii") if isinstance(each, bytes) else each for each in several)
    except (TypeError, UnicodeDecodeError):
        raise ConfigurationError(
            f'{what} must be Fernet keys as text or bytes, {{"file": path}} or {{"env": name}}'
        ) from None
    return secret_source(key, what)


def _fernet(text: str) -> MultiFernet:
    """The keys of the text. Raises ``ConfigurationError``."""
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        raise ConfigurationError("encryption needs cryptography: pip install requests_cc_token[encryption]") from None
    fernets = []
    for number, each in enumerate(text.replace(",", " ").split(), 1):
        try:
            fernets.append(Fernet(each.translate(_URL_SAFE)))
        except ValueError:
            raise ConfigurationError(
                f"key {number} is no Fernet key, which is 32 bytes in URL-safe base64; "
                "cryptography.fernet.Fernet.generate_key() makes one"
            ) from None
    if not fernets:
        raise ConfigurationError("there is no key in it")
    return MultiFernet(fernets)
