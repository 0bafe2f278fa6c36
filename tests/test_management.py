"""The management: token clients and sessions by name."""

from __future__ import annotations

import pickle
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from requests_cc_token import (
    AccessTokenAdapter,
    AccessTokenManagement,
    ClientCredentialsClient,
    ConfigurationError,
    TokenRequestError,
    UnknownClientError,
)
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.registry import RESOLVED_CLIENT_LIFETIME

from .conftest import SECRET
from .fetch_threads import started
from .scripted_server import PATIENCE
from .skipping_clock import SkippingClock

ENDPOINT = "https://login.example.com/token"
TAINT = "t41nted-s3cret"


def add(management: AccessTokenManagement, name: str = "a", **options: Any) -> ClientCredentialsClient:
    return management.add_client(
        name, **{"token_endpoint": ENDPOINT, "client_id": "m2m", "client_secret": TAINT, **options}
    )


# Token clients


def test_one_client_needs_no_name(management: AccessTokenManagement, token_service: TokenService) -> None:
    """While there is one token client it is meant wherever none is named, and it is the same token."""
    get = management.service.get_access_token
    assert get() is get(None) is get("worker")
    assert len(token_service.requests) == 1


def test_a_second_client_makes_the_name_necessary(
    management: AccessTokenManagement, token_service: TokenService
) -> None:
    """From the moment of its registration on, also where a token is cached; the error lists the names there are."""
    management.service.get_access_token()
    add(management, "b")
    with pytest.raises(UnknownClientError) as unknown:
        management.service.get_access_token()
    assert str(unknown.value) == "there are several token clients, so name one; registered are 'b', 'worker'"
    assert unknown.value.names == ("b", "worker")
    assert management.service.get_access_token("worker").scope == "api reports"
    assert len(token_service.requests) == 1


def test_unknown_names_list_the_names_there_are(management: AccessTokenManagement) -> None:
    """Of token clients and of sessions, sorted; where there are none it says none."""
    management.add_session("api", base_url="https://api.example.com/")
    for call, sentence in (
        (lambda: management.service.get_access_token("x"), "no token client is named 'x'; registered are 'worker'"),
        (lambda: management.make_session("x"), "no session is named 'x'; registered are 'api'"),
        (AccessTokenManagement().service.get_access_token, "there is no token client; registered are none"),
        (lambda: AccessTokenManagement().make_session("x"), "no session is named 'x'; registered are none"),
        (lambda: management.make_auth("x"), "no session is named 'x'; registered are 'api'"),
    ):
        with pytest.raises(UnknownClientError) as unknown:
            call()
        assert str(unknown.value) == sentence


def test_names_are_unique(management: AccessTokenManagement) -> None:
    """A second client or session of a name is refused, and the first one stays."""
    add(management, "b")
    with pytest.raises(ConfigurationError) as refusal:
        add(management, "b", client_id="other")
    assert str(refusal.value) == "a token client named 'b' is registered already; registered are 'b', 'worker'"
    management.add_session("api", base_url="https://api.example.com/", client="b")
    with pytest.raises(ConfigurationError) as refusal:
        management.add_session("api", base_url="https://other.example.com/")
    assert str(refusal.value) == "a session named 'api' is registered already; registered are 'api'"
    assert vars(management.make_session("api"))["base_url"] == "https://api.example.com/"


@pytest.mark.parametrize("name", ["", None, 5, "a\nb", b"a"], ids=repr)
def test_names_are_printable_texts(management: AccessTokenManagement, name: Any) -> None:
    """Names end up in messages and logs."""
    with pytest.raises(ConfigurationError, match="the name of a token client must be printable text"):
        add(management, name)
    with pytest.raises(ConfigurationError, match="the name of a session must be printable text"):
        management.add_session(name, base_url="https://api.example.com/")


def test_a_refused_registration_leaves_nothing(management: AccessTokenManagement) -> None:
    """The name stays free."""
    with pytest.raises(ConfigurationError):
        add(management, "b", scope="a\nb")
    assert add(management, "b").name == "b"


def test_clients_may_be_added_while_others_work(management: AccessTokenManagement, token_service: TokenService) -> None:
    """Registrations by some threads do not disturb those who ask for tokens."""
    stop = threading.Event()

    def ask() -> int:
        count = 0
        while True:  # at least once, be it that all are added before this thread comes to it
            management.service.get_access_token("worker")
            count += 1
            if stop.is_set():
                return count

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(3)]
        for number in range(200):
            add(management, f"client {number}")
            repr(management)
        stop.set()
        assert all(asker.result(30) for asker in askers)
    assert len(token_service.requests) == 1


# Resolvers


def tenant(name: str, token_service: TokenService, **options: Any) -> ClientCredentialsClient:
    return ClientCredentialsClient(
        **{
            "token_endpoint": token_service.token_endpoint,
            "client_id": "worker",
            "client_secret": SECRET,
            "parameters": {"tenant": name},
            **options,
        }
    )


def test_tenants_are_resolved(management: AccessTokenManagement, token_service: TokenService) -> None:
    """A name that nobody registered is asked for, and gets a token of its own; a registered one is not asked for."""
    asked: list[str] = []

    def resolve(name: str) -> ClientCredentialsClient | None:
        asked.append(name)
        return tenant(name, token_service) if name.startswith("tenant") else None

    management.add_client_resolver(resolve)
    get = management.service.get_access_token
    one, two = get("tenant 1"), get("tenant 2")
    assert one.value != two.value
    assert get("tenant 1") is one
    assert get("worker").value not in (one.value, two.value)
    assert asked == ["tenant 1", "tenant 2"]
    assert [request.form.get("tenant") for request in token_service.requests] == ["tenant 1", "tenant 2", None]
    with pytest.raises(UnknownClientError, match="no token client is named 'nobody'; registered are 'worker'"):
        get("nobody")


def test_a_resolved_client_is_used_for_a_while(
    management: AccessTokenManagement, token_service: TokenService, clock: SkippingClock
) -> None:
    """Its answer is asked for again after five minutes; the token stays as long as the registration says the same."""
    asked: list[str] = []

    def resolve(name: str) -> ClientCredentialsClient:
        asked.append(name)
        return tenant("same", token_service)

    management.add_client_resolver(resolve)
    token = management.service.get_access_token("t")
    clock.now += RESOLVED_CLIENT_LIFETIME - 1
    assert management.service.get_access_token("t") is token
    assert asked == ["t"]
    clock.now += 1
    assert management.service.get_access_token("t") is token
    assert asked == ["t", "t"]


def test_resolvers_are_asked_in_turn(management: AccessTokenManagement, token_service: TokenService) -> None:
    """The first one that knows a name answers, and messages use the name that was asked for."""
    management.add_client_resolver(lambda name: None)
    management.add_client_resolver(lambda name: tenant("second", token_service, client_secret="wrong"))
    management.add_client_resolver(lambda name: pytest.fail("the second one knew it"))
    with pytest.raises(TokenRequestError, match=r"token client 't': .*invalid_client"):
        management.service.get_access_token("t")
    assert token_service.requests[0].form["tenant"] == "second"


def test_resolved_clients_are_bounded(
    management: AccessTokenManagement, token_service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ones resolved longest ago are forgotten first."""
    monkeypatch.setattr("requests_cc_token.registry.MAX_RESOLVED", 2)
    asked: list[str] = []

    def resolve(name: str) -> ClientCredentialsClient:
        asked.append(name)
        return tenant("same", token_service)

    management.add_client_resolver(resolve)
    for name in ("a", "b", "c", "c", "b", "a"):
        management.service.get_access_token(name)
    assert asked == ["a", "b", "c", "a"]


@pytest.mark.parametrize("answer", ["a client", {"client_id": "x"}, True])
def test_a_resolver_that_returns_something_else(management: AccessTokenManagement, answer: Any) -> None:
    """The error says what it must return and shows nothing of what it did."""
    management.add_client_resolver(lambda name: answer)
    with pytest.raises(ConfigurationError, match=f"returned {type(answer).__name__} for 't'; it must return a Client"):
        management.service.get_access_token("t")


def test_a_resolver_must_be_callable(management: AccessTokenManagement) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ConfigurationError, match="must be callable"):
        management.add_client_resolver({"t": "client"})  # type: ignore[arg-type]


def test_an_error_of_a_resolver_is_the_callers(management: AccessTokenManagement) -> None:
    """What the database behind it says is not hidden."""

    def resolve(name: str) -> ClientCredentialsClient | None:
        raise ConnectionRefusedError("the database")

    management.add_client_resolver(resolve)
    with pytest.raises(ConnectionRefusedError, match="the database"):
        management.service.get_access_token("t")


def test_callers_that_wait_for_one_resolver_have_errors_of_their_own(management: AccessTokenManagement) -> None:
    """One of them raises what the resolver raised, and nothing of what another one was at."""
    asked, gate = threading.Event(), threading.Event()
    errors: list[ConnectionRefusedError] = []

    def resolve(name: str) -> ClientCredentialsClient | None:
        asked.set()
        assert gate.wait(PATIENCE)
        raise ConnectionRefusedError(111, "the database")

    def call() -> None:
        try:
            management.service.get_access_token("t")
        except ConnectionRefusedError as error:
            errors.append(error)

    management.add_client_resolver(resolve)
    overs = [started(call)]
    assert asked.wait(PATIENCE)
    waiting = management._registry._resolving["t"].bells
    overs += [started(call) for _ in range(3)]
    while len(waiting) < 4:
        assert not any(over.is_set() for over in overs)
    gate.set()
    assert all(over.wait(PATIENCE) for over in overs)
    assert len({id(error) for error in errors}) == 4
    for error in errors:
        assert (error.errno, error.strerror) == (111, "the database")
        places = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert (places[0], places[-1], places.count("call")) == ("call", "resolve", 1)


def test_sessions_of_tenants(management: AccessTokenManagement, token_service: TokenService, api: ProtectedApi) -> None:
    """A session may name a client that only a resolver knows; without a resolver that is an error at once."""
    management.add_session("api", base_url=api.base_url, client="tenant")
    with pytest.raises(UnknownClientError, match="no token client is named 'tenant'"):
        management.make_session("api")
    management.add_client_resolver(lambda name: tenant(name, token_service))
    assert management.make_session("api").get("test").ok


# Sessions


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"base_url": "api.example.com"}, "base_url"),
        ({"base_url": "http://api.example.com/"}, "base_url http://api.example.com/ is plain http"),
        ({"base_url": f"https://user:{TAINT}@api.example.com/"}, "base_url https://***@api.example.com/ must not hold"),
        ({"base_url": f"https://api.example.com/?key={TAINT}"}, "must not have a query"),
        ({"base_url": None}, "base_url must be text, not NoneType"),
        ({"allow_http": "no"}, "base_url: allow_http must be true or false"),
        ({"client": 5}, "the name of a token client must be printable text"),
        ({"timeout": "10"}, "timeout must be seconds above 0"),
        ({"timeout": 0}, "timeout must be seconds above 0"),
        ({"pool_size": 0}, "pool_size must be a whole number from 1 on"),
        ({"pool_size": "8"}, "pool_size must be a whole number"),
        ({"pool_size": 10**9}, "pool_size must be 65535 at most"),
        ({"max_retries": -1}, "max_retries must be a whole number from 0 on"),
        ({"max_retries": True}, "max_retries must be a whole number"),
        ({"headers": {"X": 1}}, "headers must be a mapping of names to texts"),
        ({"headers": "X: y"}, "headers must be a mapping of names to texts"),
        ({"renew_on": "no"}, "renew_on must be several statuses from 400 to 599"),
        ({"keep_authorization": 0}, "keep_authorization must be true or false"),
        ({"token_patience": "5"}, "token_patience must be a number of seconds, 0 or more"),
        ({"token_patience": -1}, "token_patience must be a number of seconds, 0 or more"),
        ({"token_patience": float("nan")}, "token_patience must be a number of seconds"),
        ({"inner": HTTPAdapter(), "max_retries": 3}, "so give pool_size and max_retries to it"),
        ({"inner": HTTPAdapter(), "pool_size": 3}, "the inner adapter sends"),
        ({"inner": "https://"}, "inner must be a transport adapter of requests, not str"),
        ({"adapters": HTTPAdapter()}, "adapters must be a mapping of prefixes to adapters"),
        ({"adapters": {5: HTTPAdapter()}}, "adapters must be a mapping of prefixes to adapters"),
        ({"inner": requests.Session()}, "inner must be a transport adapter of requests, not a session"),
        ({"adapters": {"https://a.test/": 5}}, "adapters: 'https://a.test/' must be a transport adapter of requests"),
        ({"adapters": {"https://a.test/": requests.Session()}}, "'https://a.test/' must be a transport adapter"),
    ],
)
def test_sessions_that_cannot_work(management: AccessTokenManagement, options: dict[str, Any], sentence: str) -> None:
    """The error comes with the registration, says which option is wrong, and leaves the name free."""
    with pytest.raises(ConfigurationError) as refusal:
        management.add_session("api", **{"base_url": "https://api.example.com/", **options})
    assert sentence in str(refusal.value)
    assert TAINT not in str(refusal.value)
    management.add_session("api", base_url="https://api.example.com/")


@pytest.mark.parametrize("cache", ["redis://cache.example.com/", {}])
def test_what_is_no_cache(cache: Any) -> None:
    """A URL is for files, a dict keeps no expiry: told when the management is made, not at the first token."""
    with pytest.raises(ConfigurationError, match="cache must be a TokenCache"):
        AccessTokenManagement(cache=cache)


def test_a_session_may_have_an_inner_adapter(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """It does the sending for every session of the name."""
    inner = HTTPAdapter(max_retries=3)
    management.add_session("api", base_url=api.base_url, inner=inner, token_patience=5)
    session = management.make_session("api")
    assert session.get("test").ok
    adapter = session.get_adapter(api.base_url)
    assert isinstance(adapter, AccessTokenAdapter)
    assert vars(adapter)["_inner"] is inner


def test_plain_http_by_name(management: AccessTokenManagement) -> None:
    """``allow_http=True`` is for the client, the session or the mount that says so."""
    add(management, "http", token_endpoint="http://login.example.com/token", allow_http=True)
    management.add_session("http", base_url="http://api.example.com/", client="http", allow_http=True)
    session = management.make_session("http")
    adapter = management.mount(session, "http://other.example.com/", "http", allow_http=True)
    assert session.get_adapter("http://other.example.com/") is adapter
    with pytest.raises(ConfigurationError, match="is plain http"):
        management.mount(session, "http://third.example.com/", "http")


def test_mounting_covers_the_default_port_too(management: AccessTokenManagement) -> None:
    """The prefix is mounted as it is and with its port written out, by one adapter."""
    session = requests.Session()
    adapter = management.mount(session, "https://api.example.com/v1/", "worker")
    assert session.get_adapter("https://api.example.com/v1/x") is adapter
    assert session.get_adapter("https://api.example.com:443/v1/x") is adapter
    assert session.get_adapter("https://api.example.com/v2/") is not adapter


def test_mounting_leaves_a_session_as_it_is(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """But for its adapters a session stays as it is; where another adapter takes our place nothing of us is left."""
    session = requests.Session()
    before = {name: value for name, value in vars(session).items() if name != "adapters"}
    mounted_before = dict(session.adapters)
    management.mount(session, api.base_url, "worker")
    assert session.get(f"{api.base_url}test").ok
    assert type(session) is requests.Session
    assert {name: value for name, value in vars(session).items() if name != "adapters"} == before
    for prefix in session.adapters.keys() - mounted_before.keys():
        session.mount(prefix, requests.adapters.HTTPAdapter())
    assert b"requests_cc_token" not in pickle.dumps(session)


@pytest.mark.parametrize("prefix", ["https://api.example.com", "https://", "api.example.com/", ""])
def test_prefixes_that_match_more_than_they_say(management: AccessTokenManagement, prefix: str) -> None:
    """They are refused before the session is touched."""
    session = requests.Session()
    before = dict(session.adapters)
    with pytest.raises(ConfigurationError, match="the prefix"):
        management.mount(session, prefix, "worker")
    assert dict(session.adapters) == before


# Its end


def test_a_closed_management_gives_no_tokens(
    management: AccessTokenManagement, api: ProtectedApi, token_service: TokenService
) -> None:
    """After ``close``, which may be called twice, cached tokens are gone and the error says so; nothing is sent."""
    management.add_session("api", base_url=api.base_url)
    session = management.make_session("api")
    session.get("test")
    management.close()
    management.close()
    with pytest.raises(TokenRequestError, match="token client 'worker': the access token management is closed"):
        session.get("test")
    assert len(api.requests) == len(token_service.requests) == 1


def test_leaving_the_context_closes(token_service: TokenService) -> None:
    """``with`` is the short way, and it does not swallow errors."""
    with pytest.raises(LookupError), AccessTokenManagement() as management:
        raise LookupError
    add(management)
    with pytest.raises(TokenRequestError, match="closed"):
        management.service.get_access_token()


def test_a_management_shows_names_only(management: AccessTokenManagement) -> None:
    """Its repr holds no secret."""
    management.add_session("api", base_url="https://api.example.com/")
    assert repr(management) == "<AccessTokenManagement clients=['worker'] sessions=['api']>"


def test_figures(management: AccessTokenManagement) -> None:
    """``stats`` counts per token client."""
    management.service.get_access_token("worker")
    management.service.get_access_token("worker")
    (line,) = management.stats()
    assert line.requests == 1
    assert line.hits >= 1
    assert line.seconds_to_expiry == pytest.approx(3595)
