"""What a worker configures once: token clients and sessions by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase

from .adapter import AccessTokenAdapter, AdapterOptions
from .adapter_policy import RENEW_ON, RenewOn
from .caches.memory import MemoryTokenCache
from .caches.protocol import SharedTokenCache, TokenCache
from .clients import ClientCredentialsClient, ClientOptions
from .clock import Clock, SystemClock, checked_seconds
from .demand import Demand
from .endpoint.backchannel import Backchannel
from .endpoint.backchannel_options import Wait
from .endpoint.revocation import introspect, revoke
from .events import Events, Subscriber, logger
from .exceptions import ConfigurationError, TokenRequestError, UnknownClientError
from .keyword_arguments import Unpack, checked_flag, refuse_unknown
from .mounts import Mount
from .parameters import TokenRequestParameters
from .pickling import Reference, management_of, managements
from .registry import ClientRegistry, ClientResolver, listed
from .service import AccessTokenService
from .session import AccessTokenSession
from .session_options import ApiOptions, SessionDescription, SessionOptions, checked_name, described_session
from .stats import ClientStats
from .tracebacks import sealed

#: The options of a session that an auth object has too. Not ``keep_authorization``: requests lets ``auth=`` win.
AUTH_OPTIONS = frozenset({"renew_on", "token_patience", "token_parameters"})

#: Seconds that ``close`` spends on revocations: a worker that is told to stop has ten or so.
REVOCATION_TIME = 5.0


class AccessTokenManagement:
    """Registers token clients and APIs by name, and gets, caches and renews the access tokens for them.

    Create one when the program starts, register everything, and share it between threads. It is a context manager that
    calls ``close`` at the end.

    - ``cache``: where tokens are kept, a ``TokenCache``; by default in the memory of this process
    - ``clock``: where the time comes from, a ``Clock``; replace it in tests
    - ``name``: a name by which other processes find their own counterpart of this management. Sessions and adapters
      are pickled as a reference to their management; unpickling uses the newest management that the other process
      created under the same name. A management that was read from a TOML file is found by the path of the file without
      a name, and the default management needs none. Any other management cannot be pickled.
    - ``revoke_on_close``: whether ``close`` revokes the tokens of this process (RFC 7009). Not allowed with a cache
      that other processes share, because they use the same tokens.

    Raises ``ConfigurationError``.

    (More than 300 lines, because every option is documented here, at the method that takes it.)
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
        _check_cache(cache)
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
        """Create a management from a TOML file, or from a mapping with the same structure.

        ``config`` is the path of the file, or the mapping. ``clock`` is as for ``AccessTokenManagement``.

        Raises ``ConfigurationError``, which names the file and the table in it.
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
        """What is pickled instead of this management and its service. Raises ``TypeError`` if nothing can be."""
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
        """Register a token client under ``name``, and return the registration.

        The token service and the client's credentials:

        - ``token_endpoint``: the URL to request tokens from; or ``issuer``, whose metadata names it (RFC 8414)
        - ``client_id``: the client's id at the token service
        - ``client_secret``: a string, a callable that returns one, ``{"file": path}``, ``{"env": name}``,
          ``{"env_or_file": name}`` (the variable, or the file that ``NAME_FILE`` names), ``{"credential": name}``
          (systemd, Docker, Podman) or ``{"command": [program, argument...]}``; all but a string are read again for each
          token request. Or a list of these, newest first: after ``invalid_client`` the next one is tried once
        - ``auth``: how the client authenticates: an IANA method name, or an object such as ``PrivateKeyJwt(...)``;
          ``"client_secret_basic"`` by default
        - ``allow_http``: True permits a token endpoint on another machine over plain http

        What is requested:

        - ``scope``, ``resource`` (RFC 8707): a string or several; ``allow_any_resource=True`` permits a resource that
          is not a URI
        - ``audience``: a string; with a ``TokenExchangeGrant``, a string or several
        - ``authorization_details``: one object or several, or their JSON (RFC 9396)
        - ``parameters``: further form fields, by name
        - ``grant_type``: the vendor's own name for the client credentials grant; ``"client_credentials"`` by default
        - ``grant``: a ``JwtBearerGrant`` or ``TokenExchangeGrant``, to request tokens by another grant; the client then
          authenticates only if ``client_secret`` or ``auth`` is given
        - ``headers``: further headers of the token request, such as a gateway's key
        - ``dpop``: the ``DPoPKey`` to bind the tokens to (RFC 9449)
        - ``cert``: the client certificate to bind the tokens to if ``auth`` is not mutual TLS (RFC 8705 section 3): the
          path of a PEM file, or (certificate, key)

        How the answer is read:

        - ``default_lifetime``: how many seconds a token lives if the answer does not say; 300 by default
        - ``strict_scope``: True raises an error if less scope is granted than was requested
        - ``token_type``: ``"Bearer"`` accepts an answer that names no token type, or a type of the vendor's own

        For token services with an API of their own:

        - ``customize_request``: a function that is called with each token request, a ``requests.PreparedRequest``,
          before it is sent; it changes the request, or returns another one
        - ``read_answer``: a function that is called with the ``requests.Response`` and returns a mapping with the
          members of RFC 6749 section 5.1
        - ``revocation_endpoint``, ``introspection_endpoint``: the URLs for ``revoke`` and ``introspect``, if the
          issuer's metadata does not name them

        Raises ``ConfigurationError``, also if the name is taken, and ``TypeError`` for an unknown keyword.
        """
        client = ClientCredentialsClient(checked_name(name, "token client"), **options)
        self._registry.add(client)
        self.service.registrations_changed()
        return client

    def add_client_resolver(self, resolver: ClientResolver) -> None:
        """Look up token clients that were not registered, such as those of tenants, by calling ``resolver(name)``.

        The resolver returns a ``ClientCredentialsClient``, or None if it has none of that name; then the next resolver
        is called. A client that it returns is used for five minutes before it is asked again. It has 30 seconds to
        answer. What it raises reaches the caller that needed the client.

        Raises ``ConfigurationError`` for something that cannot be called.
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
        """Change how token requests are sent. Options that are left out keep their value.

        - ``wait``: the seconds between tries, used exactly, such as ``(1, 2, 3)``; or a wait generator of `backoff`. By
          default a random time of up to 1, 2, 4 … seconds
        - ``timeout``: seconds, or (connect, read) seconds, for each try; (5, 10) by default
        - ``max_time``: seconds for all tries together, including the waits; 30 by default
        - ``max_tries``: how many tries there are, including the first; by default 4, or one more than ``wait`` has
          entries
        - ``session``: a ``requests.Session`` of your own to send token requests with: its adapters, CA, proxies,
          certificate and headers are used. Its ``auth`` and cookies, ``.netrc`` and redirects are not
        - ``verify``, ``proxies``: as in ``requests``; not together with ``session``

        Takes effect with the next token request, which is no longer delayed by earlier failures. Raises
        ``ConfigurationError``.
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
        """Register an API under ``name``, for ``make_session(name)`` and ``make_auth(name)``.

        - ``base_url``: the address of the API; a missing slash at its end is added. The token is sent nowhere else
        - ``client``: the name of the token client; may be left out if only one is registered
        - ``allow_http``: True permits an API on another machine over plain http
        - ``timeout``: seconds, or (connect, read) seconds, for calls without a timeout of their own; (5, 30) by default
        - ``pool_size``: how many connections are kept per host; 64 by default
        - ``max_retries``: how often a failed connection is retried, a number or a ``urllib3.Retry``; 0 by default
        - ``headers``: headers to send with every request
        - ``adapters``: further transport adapters to mount, by prefix
        - ``inner``, ``renew_on``, ``keep_authorization``, ``token_patience``, ``token_parameters``: see
          ``AccessTokenAdapter``

        Raises ``ConfigurationError``, also if the name is taken, and ``TypeError`` for an unknown keyword.
        """
        description = described_session(self.service, checked_name(name, "session"), base_url, **options)
        if self._sessions.setdefault(name, description) is not description:
            raise ConfigurationError(
                f"a session named {name!r} is registered already; registered are {listed(self._sessions)}"
            )

    def make_session(self, name: str) -> AccessTokenSession:
        """Create a session for the API that was registered under ``name``. Threads may share it.

        Raises ``UnknownClientError`` if there is no API of that name, or if its token client is not registered.
        """
        return self._session(self._described(name))

    def make_auth(self, name: str) -> AuthBase:
        """Create a ``requests`` auth object for the API that was registered under ``name``.

        Use it with libraries that accept ``auth=`` but no session. It is the same as ``auth`` with the base URL,
        client, ``allow_http``, ``renew_on``, ``token_patience`` and ``token_parameters`` of the registration; the other
        options of a session do not apply.

        Raises ``UnknownClientError`` if there is no API of that name.
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
        """Make an existing session send a client's token with its requests to URLs under ``prefix``.

        - ``session``: only its adapters change; mount before other threads use it
        - ``prefix``: scheme, host and path, ending with a slash
        - ``client``: the name of the token client; may be left out if only one is registered
        - ``allow_http``: True permits an API on another machine over plain http
        - ``inner``: an adapter that sends the requests, such as the one that was mounted there before
        - all other keywords: see ``AccessTokenAdapter``

        Returns the adapter. An adapter with a longer prefix takes precedence, as always in ``requests``; if that keeps
        the token from requests, a warning is logged. Raises ``ConfigurationError`` for a prefix that would also match
        other hosts or paths, and for plain http.
        """
        mount = Mount(prefix, allow_http=allow_http)
        # By what it can do: who replaces the class, as some tracers do, has sessions of another one.
        if isinstance(session, type) or not callable(getattr(session, "mount", None)):
            raise ConfigurationError(f"mount: session must be a requests.Session, not {type(session).__name__}")
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
        """Create a ``requests`` auth object that sends a client's token to URLs under ``prefix``.

        For single calls, ``requests.get(url, auth=management.auth("worker", prefix))``, and for libraries that accept
        ``auth=`` but no session.

        - ``client``: the name of the token client; may be None if only one is registered
        - ``prefix``: scheme, host and path, ending with a slash
        - ``allow_http``: True permits an API on another machine over plain http
        - ``token_timeout``: how many seconds a request waits for a token; None waits until the fetch ends
        - ``renew_on``, ``token_patience``, ``token_parameters``: see ``AccessTokenAdapter``

        Raises ``ConfigurationError`` for a prefix that would also match other hosts or paths, and for plain http.
        """
        from .access_token_auth import AccessTokenAuth

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
        """The registered token clients, by name; without those that a resolver returned."""
        return self._registry.clients

    @property
    def sessions(self) -> dict[str, tuple[str, str | None]]:
        """Base URL and token client name of each registered API, by its name; the client is None if it was left out."""
        return {name: (session.base_url, session.client) for name, session in self._sessions.items()}

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(event)`` for each ``TokenEvent`` from now on; call the returned function to stop.

        A subscriber is called in the thread in which the event happens, so it should return quickly. What it raises is
        logged and goes no further. Raises ``ConfigurationError`` for something that cannot be called.
        """
        return self._events.subscribe(subscriber)

    def stats(self) -> list[ClientStats]:
        """Usage figures of each token client in this process, for metrics. Nothing is sent.

        There is one entry for each registered client, used or not, and one for each other scope, resource or audience
        that was requested with it; sorted by the name of the client, its registered scope first. Entries of the 10,000
        combinations that were used most recently are kept.
        """
        return self.service.stats()

    def health(self) -> dict[str, dict[str, Any]]:
        """The state of each registered token client, by name, for readiness checks. Nothing is sent.

        Each value is a mapping with

        - ``status``: ``"fine"``, also if the client was not used yet; ``"degraded"``: there is a valid token, but
          renewing it fails; ``"failing"``: there is no token and the last fetch failed, or the key or certificate file
          cannot be read
        - ``reason``: the text of the last error, or None
        - ``seconds_to_expiry``: for how long the token can be used, or None if there is none
        """
        return {name: self.service.health(name) for name in self._registry.clients}

    def warm_up(self, *clients: str, timeout: float | None = None) -> None:
        """Get a token for each of these clients, or for all registered ones, before the first request needs it.

        ``timeout`` is the number of seconds for all of them together; None means no limit. If some fail, the others are
        still tried; then the first error is raised, a ``TokenRequestError``. Raises ``UnknownClientError`` for a name
        that is not registered, and ``ConfigurationError`` for a timeout that is no number of seconds.
        """
        if timeout is not None:
            timeout = checked_seconds(timeout, "warm_up: timeout", zero=True)
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
        """Revoke the client's current token at the token service, and remove it from the cache (RFC 7009).

        Does nothing if there is no token. ``client`` and ``parameters`` are as for
        ``AccessTokenService.get_access_token``. Raises ``UnknownClientError``, and ``TokenRequestError`` if the token
        could not be revoked; it is removed from the cache in any case.
        """
        demand = Demand.of(self._registry.find(client), parameters)
        token = next((token for held, token in self.service.held_tokens() if held == demand), None)
        self.service.delete_access_token(client, parameters)
        if token is not None:
            revoke(demand, token, self._backchannel, self._clock)

    def introspect(
        self, client: str | None = None, parameters: TokenRequestParameters | None = None
    ) -> Mapping[str, Any]:
        """Ask the token service about the client's current token, for debugging (RFC 7662).

        Returns the server's answer as a mapping: ``active`` and, for an active token, members such as ``scope``,
        ``exp`` and ``aud``. ``client`` and ``parameters`` are as for ``AccessTokenService.get_access_token``. Raises
        ``UnknownClientError`` and ``TokenRequestError``.
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
        """Stop fetching tokens and forget those that there are; callers that wait for one get an error.

        With ``revoke_on_close`` the tokens of this process are revoked first; failures to do so are logged. Sessions
        stay open: close them yourself.
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


def _check_cache(given: object) -> None:
    if given is not None and not isinstance(given, TokenCache):
        raise ConfigurationError(f"cache must be a TokenCache, as MemoryTokenCache() is, not {type(given).__name__}")


class SessionForOptions(ClientOptions, ApiOptions, total=False):
    """The keywords of ``session_for``: those of the client, those of the API, and where tokens stay."""

    cache: TokenCache | None


@sealed
def session_for(base_url: str, **options: Unpack[SessionForOptions]) -> AccessTokenSession:
    """Create a session for one API, with a token client of its own.

    ::

        session = session_for(
            "https://api.example.com/",
            token_endpoint="https://login.example.com/token",
            client_id="worker",
            client_secret={"file": "/run/secrets/worker"},
            scope="orders",
        )
        session.get("orders")

    ``base_url`` is the address of the API. The keywords are those of ``AccessTokenManagement.add_client``, and those of
    ``AccessTokenManagement.add_session`` except ``client``: ``headers`` are sent to the API, and ``allow_http`` applies
    to the API and the token service. ``cache`` is where the token is kept, by default in the memory of this process.
    Closing the session also stops everything that fetches its token.

    For several APIs or token clients, create an ``AccessTokenManagement``. Raises ``ConfigurationError``, and
    ``TypeError`` for an unknown keyword.
    """
    given: dict[str, Any] = dict(options)
    refuse_unknown(given, SessionForOptions.__annotations__, "session_for")
    management = AccessTokenManagement(cache=given.pop("cache", None))
    of_the_session = {key: given.pop(key) for key in ApiOptions.__annotations__ if key in given}
    if "allow_http" in of_the_session:
        given["allow_http"] = of_the_session["allow_http"]
    client = management.add_client("api", **given)
    management.add_session("api", base_url=base_url, client=client.name, **of_the_session)
    session = management.make_session("api")
    session.close_too(management)
    return session
