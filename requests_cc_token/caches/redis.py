"""Tokens in Redis or Valkey, shared by the processes of many hosts.

Three keys for each token, with one hash tag, so that a cluster has them in one place::

    requests_cc_token:{5f1d…}:token   the record; expires with the token
    requests_cc_token:{5f1d…}:fence   the fencing numbers: issued last, and of the last write
    requests_cc_token:{5f1d…}:lease   who fetches, host:process:nonce; SET NX PX, released by compare-and-delete

The lease only saves token requests. What may be written is decided by the fencing number that came with it: a
process that was frozen until after its lease writes nothing once another one has written.
"""

from __future__ import annotations

from typing import Any, Protocol

from requests_cc_token.clock import Clock
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.keyword_arguments import is_encodable
from requests_cc_token.tokens import AccessToken
from requests_cc_token.tracebacks import sealed

from .records import MAX_RECORD, EncryptionKey, TokenRecords
from .store import DEFAULT_LEASE, DEFAULT_TIMEOUT, Claim, Holder, Kept, StoreTokenCache, Wait

#: The beginning of each key's name.
DEFAULT_PREFIX = "requests_cc_token:"
#: Seconds until a socket of a client of our own gives up. Calls do not wait for it; it ends what they left behind.
SOCKET_TIMEOUT = 1.0
#: Seconds for which the fencing numbers outlive their token. Numbers are made from the server's clock, so even those
#: begun anew are higher.
KEPT_AFTER_EXPIRY = 86_400.0

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}

# A fencing number; 0 for what is none of ours, such as a double cannot count by.
_NUMBER_OF = """
local function number_of(name)
  local number = tonumber(redis.call('HGET', KEYS[2], name) or '0')
  if not (number and number >= 0 and number < 9000000000000000) then return 0 end
  return number
end
"""

# What somebody else keeps under these names must not keep the store from working: nothing of another kind, no record
# that is larger than any of ours, no lease without an end.
_OURS = f"""{_NUMBER_OF}
local function only(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
only(KEYS[1], 'string')
only(KEYS[2], 'hash')
only(KEYS[3], 'string')
if redis.call('STRLEN', KEYS[1]) > {MAX_RECORD} then redis.call('DEL', KEYS[1]) end
if redis.call('PTTL', KEYS[3]) == -1 then redis.call('DEL', KEYS[3]) end
"""

# The next fencing number: the server's microseconds, so that numbers grow even where they were evicted or lost.
_NUMBER = (
    _OURS
    + """
local function next_number()
  local now = redis.call('TIME')
  local number = now[1] * 1000000 + now[2]
  local issued = number_of('issued')
  if number <= issued then number = issued + 1 end
  return string.format('%.0f', number)
end
"""
)

# ARGV: nonce, lease in ms, ms to keep the fence, '1' to fetch whoever else does, '1' to claim nothing where a token is.
# A client that lost the answer asks again with the same nonce.
_LEASE = (
    _NUMBER
    + """
local last = string.format('%.0f', number_of('last'))
local token = redis.call('GET', KEYS[1])
if token and ARGV[5] == '1' then return {'0', last, token} end
local mine = ARGV[4] == '1' or redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2])
if not (mine or redis.call('GET', KEYS[3]) == ARGV[1]) then
  return {'0', last, token}
end
local number = next_number()
redis.call('HSET', KEYS[2], 'issued', number)
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
return {number, last, token}
"""
)

# ARGV: fencing number or '', record or '', its ms to live, ms to keep the fence, nonce or ''.
_WRITE = (
    _NUMBER
    + """
local number = ARGV[1]
if number == '' then
  number = next_number()
  redis.call('HSET', KEYS[2], 'issued', number)
end
if tonumber(number) > number_of('last') then
  if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
  else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  end
  redis.call('HSET', KEYS[2], 'last', number)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
if redis.call('GET', KEYS[3]) == ARGV[5] then redis.call('DEL', KEYS[3]) end
return 1
"""
)

_TEXT_OF = f"""
local function text_of(key)
  if redis.call('TYPE', key).ok ~= 'string' or redis.call('STRLEN', key) > {MAX_RECORD} then return false end
  return redis.call('GET', key)
end
"""

_READ = f"{_TEXT_OF}return text_of(KEYS[1])"

# Nothing is changed.
_LOOK = f"""{_TEXT_OF}{_NUMBER_OF}
local last = redis.call('TYPE', KEYS[2]).ok == 'hash' and number_of('last') or 0
local now = redis.call('TIME')
return {{text_of(KEYS[1]), last, text_of(KEYS[3]), redis.call('PTTL', KEYS[3]), now[1], now[2]}}
"""

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_FORGET = "return redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])"


class RedisClient(Protocol):
    """What is used of a client."""

    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any:
        """EVAL."""


class RedisTokenCache(StoreTokenCache[str]):
    """Keeps tokens in Redis (5 or later) or Valkey, shared by many hosts; one process at a time requests a token.

    - ``client_or_url``: a URL as redis-py reads it (``redis://``, ``rediss://`` with TLS, ``unix://``); or a
      synchronous client, such as a ``redis.Redis``, a ``redis.cluster.RedisCluster`` or what ``Sentinel.master_for``
      returns. Give a client of your own socket timeouts: a call that hangs occupies a thread until then
    - ``key``: encrypts the records: a Fernet key, or several of which the first encrypts and all decrypt; or where they
      come from, given as a ``client_secret`` is, and read again at each use. By default the records are plain JSON
    - ``prefix``: the beginning of each Redis key; ``"requests_cc_token:"`` by default
    - ``lease``: for how many seconds other processes wait for the one that requests a token; 10 by default
    - ``timeout``: for how many seconds the store may delay a call before it goes on without this cache; 0.25 by default
    - ``clock``: as for ``AccessTokenManagement``

    Safe to use from threads and after a fork. Raises ``ConfigurationError``, also if redis-py is missing
    (``pip install requests_cc_token[redis]``).
    """

    @sealed
    def __init__(
        self,
        client_or_url: str | RedisClient,
        *,
        key: EncryptionKey | None = None,
        prefix: str = DEFAULT_PREFIX,
        lease: float = DEFAULT_LEASE,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        self._prefix = _checked_prefix(prefix)
        self._client = _client(client_or_url)
        super().__init__(f"the token store with prefix {prefix!r}", TokenRecords(key), lease, timeout, clock)

    def __repr__(self) -> str:
        return f"<RedisTokenCache with prefix {self._prefix!r}{', encrypted' if self._records.encrypted else ''}>"

    def _names(self, key: str) -> tuple[str, str, str]:
        stem = f"{self._prefix}{{{key}}}"
        return f"{stem}:token", f"{stem}:fence", f"{stem}:lease"

    def _read(self, key: str) -> AccessToken | None:
        return self._decoded(key, self._client.eval(_READ, 1, self._names(key)[0]))

    def _write(self, key: str, token: AccessToken | None, claim: Claim[str] | None) -> None:
        life = 0 if token is None else max(1, round((token.expires_at - self._clock.time()) * 1000))
        self._client.eval(
            _WRITE,
            3,
            *self._names(key),
            "" if claim is None else claim.number,
            b"" if token is None else self._records.encode(key, token),
            life,
            life + round(KEPT_AFTER_EXPIRY * 1000),
            (claim and claim.holding) or "",
        )
        if claim is not None:
            claim.holding = None

    def _claim(self, key: str, wait: Wait) -> Claim[str]:
        number, last, record = self._client.eval(
            _LEASE,
            3,
            *self._names(key),
            wait.nonce,
            max(1, round(self._lease_time * 1000)),
            round(KEPT_AFTER_EXPIRY * 1000),
            int(wait.over),
            int(wait.for_any),
        )
        token = self._unexpired(self._decoded(key, record))
        if wait.for_any and record is not None and token is None:
            wait.for_any = False  # of no use, so it must not keep this process from fetching
            return self._claim(key, wait)
        return Claim(int(number), int(last), token, wait.nonce if int(number) else None)

    def _let_go(self, key: str, holding: str) -> None:
        self._client.eval(_RELEASE, 1, self._names(key)[2], holding)

    def _forget(self, key: str) -> None:
        self._client.eval(_FORGET, 3, *self._names(key))

    def _inspect(self, key: str) -> Kept:
        record, last, holder, left, seconds, micros = self._client.eval(_LOOK, 3, *self._names(key))
        # A fencing number is the time at which its token was asked for; the store may have lost it.
        age = max(0.0, int(seconds) + int(micros) / 1_000_000 - last / 1_000_000) if last else None
        # One without an end is none of ours, and nobody waits for it.
        fetching = None if holder is None or left < 0 else Holder(_named(holder), left / 1000)
        token = self._decoded(key, record)
        return Kept(token, age, fetching, unreadable=record is not None and token is None)

    def _decoded(self, key: str, record: Any) -> AccessToken | None:
        # A client that decodes answers gives text; records are ASCII.
        return self._records.decode(key, record.encode() if isinstance(record, str) else record)


def _checked_prefix(given: object) -> str:
    if not (isinstance(given, str) and is_encodable(given)) or "{" in given or "}" in given:
        raise ConfigurationError(
            "the prefix of a RedisTokenCache is text that UTF-8 can carry, without braces: they mark the hash tag"
        )
    return given


def _named(holder: bytes | str) -> str | None:
    """Host and process of who holds a lease; None for what was written by something else."""
    text = holder.decode("utf-8", "replace") if isinstance(holder, bytes) else holder
    host, _, rest = text.partition(":")
    process, _, nonce = rest.partition(":")
    return f"{host}, process {process}" if nonce else None


def _client(given: Any) -> Any:
    """The client that is meant by a URL, or the given one. Raises ``ConfigurationError``."""
    if not isinstance(given, str):
        if callable(getattr(given, "eval", None)) and ".asyncio" not in type(given).__module__:
            return given
        raise ConfigurationError("RedisTokenCache takes a URL or a synchronous client of redis-py")
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise ConfigurationError("RedisTokenCache needs redis: pip install requests_cc_token[redis]") from None
    scheme, _, rest = given.partition("://")
    scheme = _SCHEMES.get(scheme, scheme)
    # No CLIENT SETINFO: two round trips for each connection, and redis-py 7.1 and later looks its own version up anew
    # for each, which takes ten times as long as all the rest.
    options: dict[str, Any] = (
        {"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}
    )
    if scheme == "rediss":
        from .redis_tls import prepare, prepared_connections

        options["connection_class"] = prepared_connections()
    try:
        client = redis.Redis.from_url(
            f"{scheme}://{rest}",
            socket_timeout=SOCKET_TIMEOUT,
            socket_connect_timeout=SOCKET_TIMEOUT,
            # Nothing of the third version is used, and its greeting is one more round trip for each connection.
            protocol=2,
            # Once more, for a connection that was closed while it lay idle.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[redis.ConnectionError],
            **options,
        )
    except (ValueError, TypeError):
        raise ConfigurationError(
            "the URL of a RedisTokenCache is redis://, rediss:// or unix://, as redis-py reads it"
        ) from None
    if scheme == "rediss":
        prepare(client.connection_pool)
    return client
