"""What a worker configures once: token clients and sessions by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase

from .access_token_auth import AccessTokenAuth
from .adapter import AccessTokenAdapter, AdapterOptions
from .caches.memory import MemoryTokenCache
from .caches.protocol import SharedTokenCache, TokenCache
from .clients import ClientCredentialsClient, ClientOptions
from .clock import Clock, SystemClock
from .demand import Demand
from .endpoint.backchannel import Backchannel
from .endpoint.options import Wait
from .endpoint.revocation import introspect, revoke
from .events import Events, Subscriber, logger
from .exceptions import ConfigurationError, TokenRequestError, UnknownClientError
from .keywords import Unpack, refuse_unknown
from .mounts import Mount
from .parameters import TokenRequestParameters
from .pickling import Reference, management_of, managements
from .refusals import RENEW_ON, RenewOn
from .registry import ClientRegistry, ClientResolver, listed
from .service import AccessTokenService
from .session import AccessTokenSession
from .session_options import SessionDescription, SessionOptions, checked_flag, checked_name, described_session
from .stats import ClientStats
from .tracebacks import sealed

#: The options of a session that an auth object has too; ``keep_authorization`` is none, since ``auth=`` goes first.
AUTH_OPTIONS = frozenset({"renew_on", "token_patience", "token_parameters"})

#: Seconds that ``close`` spends on revocations: a worker that is told to stop has ten or so.
REVOCATION_TIME = 5.0


class AccessTokenManagement:
    """Token clients and sessions by name, and the token service over them.

    ``cache`` is where tokens stay; the memory of this process by default. ``clock`` is for tests. Safe in
    threads; configure it once, early, and share it. A context manager: leaving it calls ``close``.

    ``name`` is for other processes: pickled sessions and adapters hold the name only, and find the management
    that the other process made under it, the newest of that name. A management of a TOML file travels by the
    file's path, the module's default management as such; any other one refuses to be pickled.

    ``revoke_on_close=True`` revokes the tokens of this process when it is closed (RFC 7009); not with a cache that
    other processes share, for the tokens are theirs too.

    The class is more than 300 lines long, because all that can be configured is documented here, method by method.
    """

    _path: str | None = None

    def __init__(
        self,
        *,
        cache: TokenCache | None = None,
        clock: Clock | None = None,
        name: str | None = None,
        revoke_on_close: bool = False,
    ) -> None:
        checked_flag(revoke_on_close, "revoke_on_close")
        if revoke_on_close and isinstance(cache, SharedTokenCache):
            raise ConfigurationError("revoke_on_close would revoke tokens that other processes share by the cache")
        self._revoke_on_close = revoke_on_close
        self._process = os.getpid()
        self._name = None if name is None else checked_name(name, "management")
        self._clock = clock if clock is not None else SystemClock()
        self._cache = cache if cache is not None else MemoryTokenCache(clock=self._clock)
        self._events = Events()
        self._backchannel = Backchannel(self._clock)
        self._registry = ClientRegistry(self._clock)
        self._sessions: dict[str, SessionDescription] = {}
        #: The token service: ``management.service.get_access_token("name")``.
        self.service = AccessTokenService(
            self._registry,
            cache=self._cache,
            clock=self._clock,
            backchannel=self._backchannel,
            events=self._events,
        )
        self.service.reference = self._reference
        if name is not None:
            managements.keep(Reference("name", name), self)

    @classmethod
    @sealed
    def from_config(
        cls, config: str | os.PathLike[str] | Mapping[str, Any], *, clock: Clock | None = None
    ) -> AccessTokenManagement:
        """A management as a TOML file or a mapping of the same shape describes it.

        Raises ``ConfigurationError`` that names the file and the entry.
        """
        from .config import read_plan, said_of

        plan = read_plan(config, clock)
        with said_of(plan.management):
            management = cls(clock=clock, **plan.management.options)
        for entry in plan.clients:
            with said_of(entry):
                management.add_client(entry.name, **entry.options)
        with said_of(plan.backchannel):
            management.configure_backchannel(**plan.backchannel.options)
        for entry in plan.sessions:
            with said_of(entry):
                management.add_session(entry.name, **entry.options)
        if not isinstance(config, Mapping):
            management._path = os.path.abspath(config)  # noqa: PTH100 - resolve() would follow the links by which files are rotated
            managements.keep(Reference("path", management._path), management)
        return management

    def _reference(self) -> Reference:
        """What is pickled in the place of this management and its service."""
        if self._name is not None:
            reference = Reference("name", self._name)
            if managements.known(reference) is self:
                return reference
            raise TypeError(
                f"this AccessTokenManagement is closed, or a newer one is named {self._name!r} too: "
                "by its name another process would not find this one"
            )
        if managements.default is not None and managements.default.management is self:
            return Reference("default", self._path)
        if self._path is not None:
            return Reference("path", self._path)
        raise TypeError(
            "an AccessTokenManagement holds secrets and is pickled by reference only: give it a name "
            "(AccessTokenManagement(name=...)) and make one of that name in the other process too, or make it of a "
            "file (AccessTokenManagement.from_config(path))"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return management_of, (tuple(self._reference()),)

    @sealed
    def add_client(self, name: str, **options: Unpack[ClientOptions]) -> ClientCredentialsClient:
        """Register a token client under a name of its own.

        Where it asks, and as whom:

        - ``token_endpoint``: the URL; or ``issuer``, from whose metadata it is taken (RFC 8414)
        - ``client_id``
        - ``client_secret``: text, a callable, ``{"file": path}``, ``{"env": name}``, ``{"env_or_file": name}`` (or the
          file that ``NAME_FILE`` names), ``{"credential": name}`` (of systemd, Docker, Podman) or
          ``{"command": [program, argument...]}``; or a list of those, newest first, of which the next one is tried once
          after ``invalid_client``
        - ``auth``: how it authenticates, an IANA method name or an object such as ``PrivateKeyJwt(...)``;
          ``"client_secret_basic"`` by default
        - ``allow_http=True``: permits a token endpoint over plain http that is not on this machine

        What it asks for:

        - ``scope``, ``resource`` (RFC 8707): text or several texts; ``allow_any_resource=True`` takes a resource that
          is no URI
        - ``audience``: text
        - ``authorization_details``: an object or several, or their JSON (RFC 9396)
        - ``parameters``: further form fields by name
        - ``grant_type``: another name for this grant, of a vendor's; ``"client_credentials"`` by default
        - ``grant``: what is exchanged for the token beside the client's own credentials, a ``JwtBearerGrant`` or a
          ``TokenExchangeGrant``; a client without ``client_secret`` and ``auth`` does not authenticate then
        - ``headers``: further headers of the token request, a gateway's key for example
        - ``dpop``: the ``DPoPKey`` that tokens are to be bound to (RFC 9449)
        - ``cert``: the client certificate, a PEM file's path or (certificate, key), for tokens bound to it with another
          method than mutual TLS (RFC 8705 section 3)

        What is taken for an answer:

        - ``default_lifetime``: seconds that a token without ``expires_in`` lives; 300 by default
        - ``strict_scope=True``: an error where less was granted than asked for
        - ``token_type="Bearer"``: what tokens are whose answer does not say so, or in words of its own

        For a token service that wants something else still:

        - ``customize_request``: a function that gets each token request, a ``requests.PreparedRequest``, before it is
          sent, and changes it or returns another one
        - ``read_answer``: a function that gets the answer, a ``requests.Response``, and returns its members by the
          names of RFC 6749 section 5.1
        - ``revocation_endpoint``, ``introspection_endpoint``: for ``revoke_on_close`` and ``introspect``, where the
          metadata of the ``issuer`` does not tell them

        Raises ``ConfigurationError``, also for a name that is taken, and ``TypeError`` for a keyword that there is not.
        """
        client = ClientCredentialsClient(checked_name(name, "token client"), **options)
        self._registry.add(client)
        self.service.registrations_changed()
        return client

    def add_client_resolver(self, resolver: ClientResolver) -> None:
        """Ask ``resolver(name)`` for a token client that nobody registered, a tenant's for example.

        It returns a ``ClientCredentialsClient``, or None where it knows none; several are asked in turn. Its
        answers are used for ``RESOLVED_CLIENT_LIFETIME`` seconds.
        """
        self._registry.add_resolver(resolver)

    def configure_backchannel(
        self,
        *,
        wait: Wait | None = None,
        session: requests.Session | None = None,
        timeout: float | tuple[float | None, float | None] | None = None,
        max_time: float | None = None,
        max_tries: int | None = None,
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        """Change how token requests are sent; what is left out stays as it is.

        ``wait`` is the seconds between the tries, used exactly, or a wait generator as `backoff` defines them;
        without it the waits are drawn at random below 1, 2, 4 … seconds. ``session`` is a session of your own,
        with its CA, proxies, certificate and headers; netrc, its auth, and redirects still do not count.
        ``timeout`` is in seconds, or (connect, read) seconds. ``max_time`` bounds a fetch with all its tries.
        ``max_tries`` counts the first one too. ``verify`` and ``proxies`` are as in requests.

        Raises ``ConfigurationError``.
        """
        options = self._backchannel.options.changed(
            wait=wait,
            session=session,
            timeout=timeout,
            max_time=max_time,
            max_tries=max_tries,
            verify=verify,
            proxies=proxies,
        )
        self._backchannel.configure(options)
        self.service.retry_at_once()

    def add_session(self, name: str, *, base_url: str, **options: Unpack[SessionOptions]) -> None:
        """Describe the sessions that ``make_session(name)`` makes.

        - ``base_url``: the API's address; a final slash is added where it lacks
        - ``client``: the token client's name; may be left out while there is one
        - ``allow_http=True``: permits an API over plain http that is not on this machine
        - ``timeout``: what a call that names none gets, in seconds or (connect, read) seconds; (5, 30) by default
        - ``pool_size``: connections kept per host; 64 by default
        - ``max_retries``: a number, or a ``urllib3.Retry``, for the API calls; 0 by default
        - ``headers``: go with each request
        - ``adapters``: further adapters by their prefixes
        - ``inner``, ``renew_on``, ``keep_authorization``, ``token_patience``, ``token_parameters``: as in
          ``AccessTokenAdapter``

        Raises ``ConfigurationError``, also for a name that is taken, and ``TypeError`` for a keyword that there is not.
        """
        description = described_session(self.service, checked_name(name, "session"), base_url, **options)
        if self._sessions.setdefault(name, description) is not description:
            raise ConfigurationError(
                f"a session named {name!r} is registered already; registered are {listed(self._sessions)}"
            )

    def make_session(self, name: str) -> AccessTokenSession:
        """A new session as ``add_session(name, ...)`` described it; may be shared between threads.

        Raises ``UnknownClientError`` for a name that nobody registered, as a session or as its token client.
        """
        return self._session(self._described(name))

    def make_auth(self, name: str) -> AuthBase:
        """A ``requests`` auth object for what ``add_session(name, ...)`` described, for what takes ``auth=`` only.

        It is ``auth`` with that session's base URL, client, ``renew_on``, ``allow_http``, ``token_patience`` and
        ``token_parameters``. The session's other options are those of something that sends.

        Raises ``UnknownClientError`` for a name that nobody registered.
        """
        description = self._described(name)
        options = {key: value for key, value in description.adapter_options.items() if key in AUTH_OPTIONS}
        return self.auth(description.client, description.base_url, allow_http=description.allow_http, **options)

    def _described(self, name: str) -> SessionDescription:
        description = self._sessions.get(name)
        if description is None:
            raise UnknownClientError(
                f"no session is named {name!r}; registered are {listed(self._sessions)}", self._sessions
            )
        return description

    def _session(self, description: SessionDescription) -> AccessTokenSession:
        client = description.client
        if client is None or not self._registry.has_resolver():
            self._registry.find(client)
        session = description.session()
        self.mount(
            session, description.base_url, client, allow_http=description.allow_http, **description.adapter_options
        )
        return session

    def mount(
        self,
        session: requests.Session,
        prefix: str,
        client: str | None = None,
        *,
        allow_http: bool = False,
        inner: BaseAdapter | None = None,
        **adapter_options: Unpack[AdapterOptions],
    ) -> AccessTokenAdapter:
        """Give a session that exists the token of a client, for the URLs under ``prefix``.

        ``prefix`` is origin and path and ends with a slash. ``inner`` is an adapter that does the sending, the one
        that was mounted there before for example. Further keywords are those of ``AccessTokenAdapter``. Mount
        before other threads use the session.

        But for its adapters the session stays as it is. One that is mounted there on a longer prefix goes before this
        one; a warning says so.

        Raises ``ConfigurationError`` for a prefix that would match more than it says, or plain http.
        """
        mount = Mount(prefix, allow_http=allow_http)
        adapter = AccessTokenAdapter(
            self.service, client, prefix=prefix, inner=inner, allow_http=allow_http, **adapter_options
        )
        for written in mount.prefixes:
            session.mount(written, adapter)
        adapter.warn_of_mounts(session.adapters)
        return adapter

    def auth(
        self,
        client: str | None,
        prefix: str,
        *,
        allow_http: bool = False,
        renew_on: RenewOn = RENEW_ON,
        token_timeout: float | None = None,
        token_patience: float | None = None,
        token_parameters: TokenRequestParameters | None = None,
    ) -> AuthBase:
        """A ``requests`` auth object with the token of a client, for the URLs under ``prefix``.

        ``requests.get(url, auth=management.auth("client", prefix))``, or for what takes ``auth=`` and no session. The
        token goes where ``mount`` would send it, and is renewed as there. ``client`` may be None while there is one.
        ``token_timeout`` is for how many seconds a request waits for a token; None is as long as the fetch takes.
        Other keywords are as in ``AccessTokenAdapter``.

        Raises ``ConfigurationError`` for a prefix that would match more than it says, or plain http.
        """
        return AccessTokenAuth(
            self.service,
            client,
            prefix=prefix,
            allow_http=allow_http,
            renew_on=renew_on,
            token_timeout=token_timeout,
            token_patience=token_patience,
            token_parameters=token_parameters,
        )

    @property
    def clients(self) -> dict[str, ClientCredentialsClient]:
        """The token clients that were added, by name; a resolver's are not among them."""
        return self._registry.clients

    @property
    def sessions(self) -> dict[str, tuple[str, str | None]]:
        """Base URL and token client of the sessions that were added, by name; None is the only client there is."""
        return {name: (session.base_url, session.client) for name, session in self._sessions.items()}

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have ``subscriber(event)`` called for each ``TokenEvent``; the returned function ends that."""
        return self._events.subscribe(subscriber)

    def stats(self) -> list[ClientStats]:
        """The figures of each token client in this process; nothing is sent.

        A line for each client that was added, whether or not it was used, and one for each other scope, resource or
        audience that requests asked for; sorted by the client's name, what it is registered with first. What was not
        asked for among the last 10,000 clients and overrides is dropped with its token.
        """
        return self.service.stats()

    def health(self) -> dict[str, dict[str, Any]]:
        """How it stands with each token client that was added, for a readiness check; nothing is sent.

        By the client's name a mapping of ``status`` (``"fine"``; ``"degraded"``: a valid token, but its renewal fails;
        ``"failing"``: no token, and the last fetch failed, or the file of its key or certificate is no good),
        ``reason`` (the error, or None) and ``seconds_to_expiry`` (None without a token). A client that nobody has used
        yet is fine.
        """
        return {name: self.service.health(name) for name in self._registry.clients}

    def warm_up(self, *clients: str, timeout: float | None = None) -> None:
        """Get a token for each of the clients, or for all that were added, before there is traffic.

        ``timeout`` is how many seconds that may take in all. Raises ``TokenRequestError`` and its kinds for the first
        client that has no token, after the others were tried too.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        failures: list[TokenRequestError] = []
        for name in clients or sorted(self._registry.clients):
            left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            try:
                self.service.get_access_token(name, timeout=left)
            except TokenRequestError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def revoke(self, client: str | None = None, parameters: TokenRequestParameters | None = None) -> None:
        """Have the token service revoke the client's current token, and forget it (RFC 7009).

        Nothing happens where there is no token. Raises ``UnknownClientError``, and ``TokenRequestError`` and its kinds
        where the token stays valid; it is forgotten here all the same.
        """
        demand = Demand.of(self._registry.find(client), parameters)
        token = next((token for held, token in self.service.held_tokens() if held == demand), None)
        self.service.delete_access_token(client, parameters)
        if token is not None:
            revoke(demand, token, self._backchannel, self._clock)

    def introspect(
        self, client: str | None = None, parameters: TokenRequestParameters | None = None
    ) -> Mapping[str, Any]:
        """What the token service says of the client's current token, for debugging (RFC 7662).

        A mapping with ``active`` and, for an active token, what the server cares to tell: ``scope``, ``exp``, ``aud``
        and others. An API that checks tokens does not need this. Raises ``UnknownClientError``, and
        ``TokenRequestError`` and its kinds.
        """
        demand = Demand.of(self._registry.find(client), parameters)
        token = self.service.get_access_token(client, parameters)
        return introspect(demand, token, self._backchannel, self._clock)

    def _revoke_tokens(self) -> None:
        deadline = self._clock.monotonic() + REVOCATION_TIME
        for demand, token in self.service.held_tokens():
            if self._clock.monotonic() >= deadline:
                logger.warning("no time to revoke all tokens; the others stay valid until they expire")
                return
            try:
                revoke(demand, token, self._backchannel, self._clock)
            except TokenRequestError as error:
                logger.warning("%s; the token stays valid until it expires", error)

    def close(self) -> None:
        """End waits and fetches, forget tokens, close the backchannel. Sessions are closed by their owners.

        With ``revoke_on_close`` the tokens of this process are revoked first; what fails there is logged.
        """
        managements.drop(self)
        # A forked child has its parent's tokens, and they are the parent's to revoke.
        if self._revoke_on_close and os.getpid() == self._process and not self._backchannel.closed.is_set():
            self._revoke_tokens()
        self._backchannel.close()
        self.service.close()

    def __enter__(self) -> AccessTokenManagement:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AccessTokenManagement clients={sorted(self._registry.clients)} sessions={sorted(self._sessions)}>"


class SessionForOptions(ClientOptions, SessionOptions, total=False):
    """The keywords of ``session_for``: those of ``add_client`` and of ``add_session``, and where tokens stay."""

    cache: TokenCache | None


@sealed
def session_for(base_url: str, **options: Unpack[SessionForOptions]) -> AccessTokenSession:
    """One session for one API, with a token client of its own.

    ::

        session = session_for(
            "https://api.example.com/",
            token_endpoint="https://login.example.com/token",
            client_id="worker",
            client_secret={"file": "/run/secrets/worker"},
            scope="orders",
        )
        session.get("orders")

    ``base_url`` is the API's address. The keywords are those of ``AccessTokenManagement.add_client`` and of
    ``add_session``; ``headers`` go with the API's requests, ``allow_http`` is for both addresses. ``cache`` is where
    the token stays, the memory of this process by default. Closing the session ends what fetches its token.

    For several APIs or token clients, make an ``AccessTokenManagement``. Raises ``ConfigurationError``, and
    ``TypeError`` for a keyword that there is not.
    """
    given: dict[str, Any] = dict(options)
    refuse_unknown(given, SessionForOptions.__annotations__, "session_for")
    management = AccessTokenManagement(cache=given.pop("cache", None))
    of_the_session = {key: given.pop(key) for key in SessionOptions.__annotations__ if key in given}
    if "allow_http" in of_the_session:
        given["allow_http"] = of_the_session["allow_http"]
    client = management.add_client("api", **given)
    management.add_session("api", base_url=base_url, client=client.name, **of_the_session)
    session = management.make_session("api")
    session.close_too(management)
    return session
