"""One session for one API, and what a management tells and does beside sessions."""

from __future__ import annotations

import inspect
import pickle
import typing
from pathlib import Path
from typing import Any

import pytest

import requests_cc_token
from requests_cc_token import (
    AccessTokenManagement,
    AccessTokenSession,
    ConfigurationError,
    MemoryTokenCache,
    TokenEndpointError,
    TokenEvent,
    TokenRequestError,
    session_for,
)
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .scripted_server import ScriptedServer, error_answer, token_answer
from .test_service import Harness


def options(token_service: TokenService, **others: Any) -> dict[str, Any]:
    return {"token_endpoint": token_service.token_endpoint, "client_id": "worker", "client_secret": SECRET, **others}


class TestSessionFor:
    def test_one_statement_is_enough(self, token_service: TokenService, api: ProtectedApi) -> None:
        """The session has the token for its API, and asks for what it was told to."""
        with session_for(api.base_url, **options(token_service, scope="api")) as session:
            assert isinstance(session, AccessTokenSession)
            assert session.get("test").ok
        assert token_service.requests[0].form["scope"] == "api"

    def test_options_of_client_and_session_go_where_they_belong(
        self, token_service: TokenService, api: ProtectedApi
    ) -> None:
        """``headers`` and ``timeout`` are the session's, ``auth`` and ``parameters`` the client's."""
        cache = MemoryTokenCache()
        given = options(token_service, auth="client_secret_post", parameters={"tenant": "blue"})
        with session_for(api.base_url, **given, headers={"X-Team": "red"}, timeout=7, cache=cache) as session:
            assert session.get("test").ok
            assert (session.headers["X-Team"], session.timeout, len(cache)) == ("red", 7, 1)
        (request,) = token_service.requests
        assert (request.form["tenant"], "X-Team" in request.headers) == ("blue", False)

    def test_plain_http_is_allowed_for_both_addresses_or_for_none(self) -> None:
        """``allow_http`` says it for token endpoint and API alike."""
        addresses = {"token_endpoint": "http://login.example.com/token", "client_id": "w", "client_secret": "T41NT"}
        with pytest.raises(ConfigurationError, match="plain http"):
            session_for("http://api.example.com/", **addresses)  # type: ignore[arg-type]
        session_for("http://api.example.com/", **addresses, allow_http=True).close()  # type: ignore[arg-type]

    def test_closing_the_session_closes_what_fetches_its_token(
        self, token_service: TokenService, api: ProtectedApi
    ) -> None:
        """After that a request fails with an error that says so."""
        session = session_for(api.base_url, **options(token_service))
        session.get("test")
        session.close()
        with pytest.raises(TokenRequestError, match="closed"):
            session.get("test")

    def test_a_misspelt_keyword_is_refused(self, token_service: TokenService) -> None:
        """As Python does for functions of its own, with a guess what was meant."""
        with pytest.raises(TypeError, match=r"session_for has no keyword 'scop'; did you mean 'scope'\?"):
            session_for("https://api.example.com/", **options(token_service), scop="api")  # type: ignore[call-arg]

    def test_it_has_a_client_of_its_own(self, token_service: TokenService) -> None:
        """The name of another one is no keyword, here as for type checkers."""
        with pytest.raises(TypeError, match="session_for has no keyword 'client'; did you mean 'client_id'"):
            session_for("https://api.example.com/", **options(token_service), client="worker")  # type: ignore[call-arg]

    def test_it_is_not_pickled_with_its_secret(self, token_service: TokenService) -> None:
        """Its management has no name by which another process could find it."""
        session = session_for("https://api.example.com/", **options(token_service))
        with pytest.raises(TypeError, match="give it a name"):
            pickle.dumps(session)


def test_f51_the_hints_of_what_users_call_can_be_had() -> None:
    """``typing.get_type_hints`` works for each public function and method of ours."""
    for name in requests_cc_token.__all__:
        thing = getattr(requests_cc_token, name)
        members = [thing, *(getattr(thing, n) for n in dir(thing) if n == "__init__" or not n.startswith("_"))]
        for member in members:
            ours = str(getattr(member, "__module__", "")).startswith("requests_cc_token")
            if ours and (inspect.isfunction(member) or inspect.ismethod(member)):
                typing.get_type_hints(member)


class TestManagement:
    def test_warm_up_gets_a_token_for_each_client(self, server: ScriptedServer) -> None:
        """For all that were added or for those that are named; a second time it asks for nothing."""
        harness = Harness(server)
        server.default = token_answer("one")
        with harness.management as management:
            management.add_client("other", token_endpoint=server.token_endpoint, client_id="o", client_secret="T41NT")
            management.warm_up("other")
            assert harness.requests == 1
            management.warm_up(timeout=10)
            assert harness.requests == 2

    @pytest.mark.parametrize("timeout", ["10", -1, float("nan"), True])
    def test_warm_up_takes_seconds(self, timeout: Any) -> None:
        """Anything else is refused, as wherever seconds are given, and not taken for no time at all."""
        wanted = pytest.raises(ConfigurationError, match="warm_up: timeout must be a number of seconds, 0 or more")
        with AccessTokenManagement() as management, wanted:
            management.warm_up(timeout=timeout)

    def test_warm_up_raises_the_first_error_after_it_tried_all(self, server: ScriptedServer) -> None:
        """A client that has no token is named; the others have theirs."""
        harness = Harness(server)
        server.script.extend([error_answer(401, "invalid_client"), token_answer("two")])
        with harness.management as management:
            management.add_client("zebra", token_endpoint=server.token_endpoint, client_id="o", client_secret="T41NT")
            with pytest.raises(TokenEndpointError, match="'worker'"):
                management.warm_up()
            assert harness.service.get_access_token("zebra").value == "two"

    def test_health_is_fine_degraded_or_failing(self, server: ScriptedServer) -> None:
        """Unused and with a token: fine. Its renewal fails: degraded. No token and the last fetch failed: failing."""
        harness = Harness(server, wait=())
        server.script.extend([token_answer("one", 1000), *[error_answer(500, "server_error")] * 2])
        with harness.management as management:
            assert management.health() == {"worker": {"status": "fine", "reason": None, "seconds_to_expiry": None}}
            harness.get()
            assert management.health()["worker"] == {"status": "fine", "reason": None, "seconds_to_expiry": 995.0}
            harness.clock.advance(900)
            harness.get()
            harness.until_event("failed")
            health = management.health()["worker"]
            assert (health["status"], health["seconds_to_expiry"]) == ("degraded", 95.0)
            assert "server_error" in health["reason"]
            harness.clock.advance(100)
            with pytest.raises(TokenEndpointError):
                harness.get()
            assert management.health()["worker"]["status"] == "failing"

    def test_health_with_a_certificate_that_is_gone(self, server: ScriptedServer, tmp_path: Path) -> None:
        """A file that is no good is a reason to be failing, and none to raise."""
        harness = Harness(server)
        cert = tmp_path / "cert.pem", tmp_path / "key.pem"
        with harness.management as management:
            management.add_client(
                "bound", token_endpoint=server.token_endpoint, client_id="b", client_secret="T41NT", cert=cert
            )
            health = management.health()
            assert health["worker"]["status"] == "fine"
            assert (health["bound"]["status"], health["bound"]["seconds_to_expiry"]) == ("failing", None)
            assert "'bound'" in health["bound"]["reason"]
            assert [line.client for line in management.stats()] == ["bound", "worker"]

    def test_a_token_is_revoked_and_forgotten(self, token_service: TokenService, api: ProtectedApi) -> None:
        """The token service does not hold it valid any more, and the next call asks for another one."""
        with AccessTokenManagement() as management:
            management.add_client(
                "worker", **options(token_service), revocation_endpoint=token_service.revocation_endpoint
            )
            management.revoke()
            first = management.service.get_access_token()
            management.revoke("worker")
            assert token_service.find_token(first.value) is None
            assert management.service.get_access_token().value != first.value

    def test_events_say_why_and_how_long_and_from_where(self, server: ScriptedServer) -> None:
        """Of each fetch that ended: its duration, its reason, its source and its token requests."""
        harness = Harness(server)
        numbers = iter(range(100))
        server.respond = lambda request: token_answer(f"t{next(numbers)}", 1000)
        with harness.management as management:
            token = harness.get()
            harness.service.token_rejected(token)
            harness.get()
            harness.get(parameters=requests_cc_token.TokenRequestParameters(force_renewal=True))
            harness.clock.advance(900)
            harness.get()
            harness.until_event("renewed")
            assert [line.requests for line in management.stats()] == [4]
        told = [event for event in harness.events if event.kind in ("obtained", "renewed")]
        assert [event.reason for event in told] == ["cold", "rejected", "forced", "renewal"]
        assert {(event.source, event.attempts, event.duration) for event in told} == {("service", 1, 0.0)}
        assert isinstance(told[0], TokenEvent)
