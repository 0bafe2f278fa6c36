"""The grants of machines: a JWT of the worker's own (RFC 7523), a token of its own exchanged (RFC 8693)."""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, ClassVar

import pytest

from requests_cc_token import (
    AccessTokenManagement,
    ClientCredentialsClient,
    ClientSecretPost,
    ConfigurationError,
    DPoPKey,
    FileTokenCache,
    InvalidTokenResponseError,
    JwtBearerGrant,
    MemoryTokenCache,
    PrivateKeyJwt,
    TokenEndpointError,
    TokenExchangeGrant,
    TokenRequestError,
    TokenRequestParameters,
)
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.authentication.no_authentication import NoClientAuthentication
from requests_cc_token.authentication.signing_key import generated
from requests_cc_token.demand import Demand
from requests_cc_token.grants.by_name import GRANTS, keywords_of
from requests_cc_token.grants.grant import Grant
from requests_cc_token.watched_files import file_stamp

from .granting_service import EXCHANGE, JWT_BEARER, TYPE, GrantingService
from .scripted_server import PATIENCE, answer, error_answer
from .skipping_clock import SkippingClock
from .strict_fixtures import KEY, empty_management  # noqa: F401 - fixtures
from .strict_service import StrictApi

ENDPOINT = "https://login.example.com/token"
SUBJECT = "T41NT-subject-token"
#: What no client is called.
ODD_NAMES: tuple[Any, ...] = (5, "", "\ud800", "a\n", None)
OTHER_KEY = generated("ES256", "a test")


@pytest.fixture
def service(clock: SkippingClock) -> Iterator[GrantingService]:
    """The token service, which knows ``KEY`` as that of ``worker`` and takes ``SUBJECT`` as a JWT."""
    with GrantingService(clock.time) as service:
        service.keys["worker"] = KEY.public_jwk
        service.takes[TYPE + "jwt"] = {SUBJECT}
        yield service


def add(
    management: AccessTokenManagement, service: GrantingService, grant: Any, name: str = "w", **options: Any
) -> None:
    options = {"client_id": "worker", **options}
    management.add_client(name, token_endpoint=service.token_endpoint, grant=grant, **options)


def fetch(management: AccessTokenManagement, name: str = "w") -> str:
    return management.service.get_access_token(name).value


def client(**options: Any) -> ClientCredentialsClient:
    return ClientCredentialsClient("w", token_endpoint=ENDPOINT, **{"client_id": "worker", **options})


def exchange(token: Any = lambda: SUBJECT, kind: str = "jwt", **options: Any) -> TokenExchangeGrant:
    return TokenExchangeGrant(token, kind, **options)


class TestJwtBearer:
    """RFC 7523 section 2.1."""

    def test_an_assertion_is_all_that_is_sent(
        self, management: AccessTokenManagement, service: GrantingService, clock: SkippingClock
    ) -> None:
        """Grant type and assertion, no client authentication; issuer and subject are the client, for a minute."""
        add(management, service, JwtBearerGrant(KEY, key_id="k1"))
        fetch(management)
        (request,) = service.requests
        assert "authorization" not in request.headers
        assert request.form.keys() == {"grant_type", "assertion"}
        assert request.form["grant_type"] == [JWT_BEARER]
        ((header, claims),) = service.granted
        assert header == {"alg": "ES256", "typ": "JWT", "kid": "k1"}
        assert len(claims.pop("jti")) * 6 >= 128
        now = int(clock.time())
        assert claims == {
            "iss": "worker",
            "sub": "worker",
            "aud": service.token_endpoint,
            "iat": now,
            "nbf": now,
            "exp": now + 60,
        }

    def test_the_shape_of_google(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """No secret, no subject, the scope within the assertion, an hour of life."""
        scope = "https://www.googleapis.com/auth/devstorage.read_only"
        service.keys["worker@project.iam.gserviceaccount.com"] = KEY.public_jwk
        grant = JwtBearerGrant(KEY, audience="token_endpoint", subject="", claims={"scope": scope}, lifetime=3600)
        add(management, service, grant, client_id="worker@project.iam.gserviceaccount.com")
        assert management.service.get_access_token().scope == scope
        ((_, claims),) = service.granted
        assert "sub" not in claims
        assert (claims["scope"], claims["exp"] - claims["iat"]) == (scope, 3600)

    def test_the_shape_of_salesforce(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """The consumer key signs for an integration account; the audience is the login host."""
        service.audiences = {"https://login.salesforce.com"}
        grant = JwtBearerGrant(KEY, subject="integration@example.com", audience="https://login.salesforce.com")
        add(management, service, grant)
        fetch(management)
        ((_, claims),) = service.granted
        assert (claims["iss"], claims["sub"]) == ("worker", "integration@example.com")

    @pytest.mark.parametrize(
        ("options", "sent"),
        [
            ({"client_secret": "T41NT-s3cret"}, "authorization"),
            ({"client_secret": "T41NT-s3cret", "auth": ClientSecretPost()}, "client_secret"),
            ({"auth": PrivateKeyJwt(KEY)}, "client_assertion"),
        ],
        ids=["basic", "post", "key"],
    )
    def test_the_client_may_authenticate_as_well(
        self, management: AccessTokenManagement, service: GrantingService, options: dict[str, Any], sent: str
    ) -> None:
        """How, is independent of the grant; the assertion's issuer may be another than the client."""
        service.keys["https://issuer.example.com"] = OTHER_KEY.public_jwk
        add(management, service, JwtBearerGrant(OTHER_KEY, issuer="https://issuer.example.com"), **options)
        fetch(management)
        (request,) = service.requests
        assert sent in {**request.headers, **request.form}
        assert service.granted[0][1]["iss"] == "https://issuer.example.com"

    def test_each_try_has_an_assertion_of_its_own(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Also after a failure that passes, and with a nonce for the DPoP proof."""
        service.script.append(answer(503))
        service.proofs.nonce = "n1"
        add(management, service, JwtBearerGrant(KEY), dpop=DPoPKey.generate())
        management.configure_backchannel(wait=[1, 2])
        assert management.service.get_access_token().token_type == "DPoP"
        assertions = [request.form["assertion"][0] for request in service.requests]
        assert len(set(assertions)) == len(assertions) == 3

    def test_a_refusal_says_what_to_check(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """Once asked, held off then; the message speaks of the grant, and repeats nothing of the assertion."""
        add(management, service, JwtBearerGrant(OTHER_KEY))
        for _ in range(2):
            with pytest.raises(TokenEndpointError, match=r"invalid_grant.*check issuer, subject, audience") as refused:
                fetch(management)
            assert not refused.value.transient
        (request,) = service.requests
        assert request.form["assertion"][0] not in str(refused.value)

    def test_a_key_that_was_replaced_is_used_at_once(
        self, management: AccessTokenManagement, service: GrantingService, tmp_path: Path
    ) -> None:
        """The refusal of an assertion has the key's file read again, once (T13)."""
        file = tmp_path / "key.json"

        def write(key: Any) -> None:
            file.write_text(json.dumps(key._key.as_dict(private=True)))

        def refuse(connection: Any) -> bool:
            write(KEY)
            return error_answer(400, "invalid_grant")(connection)

        write(OTHER_KEY)
        service.script.append(refuse)
        add(management, service, JwtBearerGrant({"file": file}))
        fetch(management)
        assert len(service.requests) == 2
        assert management.clients["w"].grant is not None
        before = Demand.of(management.clients["w"]).stamp()
        write(OTHER_KEY)
        file.with_name("new").write_text(" " + file.read_text())
        file.with_name("new").replace(file)
        assert Demand.of(management.clients["w"]).stamp() != before

    def test_a_wrong_clock_is_learned_from_the_refusal(
        self, management: AccessTokenManagement, service: GrantingService, clock: SkippingClock
    ) -> None:
        """The assertion is dated by the token service's clock after that."""
        clock.now += 200
        service._now = lambda: clock.time() - 200
        service.script.append(
            error_answer(400, "invalid_grant", (("Date", formatdate(clock.time() - 200, usegmt=True)),))
        )
        add(management, service, JwtBearerGrant(KEY))
        fetch(management)
        assert len(service.requests) == 2

    def test_claims_in_another_order_are_the_same(self) -> None:
        """Two registrations that say the same share a token."""
        one, same, other = (
            JwtBearerGrant(KEY, claims=claims)
            for claims in ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, {"a": 1, "b": {"c": 2}})
        )
        keys = [Demand.of(client(grant=each)).cache_key for each in (one, same, other)]
        assert keys[0] == keys[1] != keys[2]

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"audience": ""}, "audience must be printable text"),
            ({"issuer": 5}, "issuer must be printable text"),
            ({"subject": "a\nb"}, "subject must be printable text"),
            ({"header_type": ""}, "header_type must be printable text"),
            ({"lifetime": 0}, "lifetime must be a number of seconds"),
            ({"algorithm": "none"}, "algorithm must be one of"),
            ({"claims": "scope"}, "claims must be a mapping"),
            ({"claims": {"iss": "x"}}, "the claim 'iss' is set by issuer="),
            ({"claims": {"sub": "x"}}, "the claim 'sub' is set by subject="),
            ({"claims": {"aud": "x"}}, "the claim 'aud' is set by audience="),
            ({"claims": {"exp": 5}}, "the claim 'exp' is set by lifetime="),
            ({"claims": {"jti": "x"}}, "the claim 'jti' is made for each assertion"),
            ({"claims": {5: "x"}}, "claims must be such that JSON can carry them"),
            ({"claims": {"x": float("nan")}}, "claims must be such that JSON can carry them"),
            ({"claims": {"x": object()}}, "claims must be such that JSON can carry them"),
        ],
    )
    def test_what_cannot_work(self, options: dict[str, Any], sentence: str) -> None:
        """Is refused where it is said."""
        with pytest.raises(ConfigurationError, match=f"JwtBearerGrant: {sentence}"):
            JwtBearerGrant(KEY, **options)


class TestTokenExchange:
    """RFC 8693."""

    def test_the_parameters(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """The subject token with its type; scope, audience and resource are the client's; nothing else."""
        add(
            management, service, exchange(), scope="read", audience="api", resource=["urn:a", "urn:b"],
            client_secret="T41NT-s3cret",
        )  # fmt: skip
        token = management.service.get_access_token()
        (request,) = service.requests
        assert request.form == {
            "grant_type": [EXCHANGE],
            "subject_token": [SUBJECT],
            "subject_token_type": ["urn:ietf:params:oauth:token-type:jwt"],
            "scope": ["read"],
            "audience": ["api"],
            "resource": ["urn:a", "urn:b"],
        }
        assert "authorization" in request.headers
        assert token.extra["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"

    def test_an_actor_and_a_requested_type(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Are sent where they are said, short names of types as the URIs that they stand for."""
        service.takes[TYPE + "id_token"] = {"actor"}
        grant = exchange(
            actor_token=lambda: "actor", actor_token_type="id_token", requested_token_type="urn:vendor:token"
        )
        add(management, service, grant, token_type="Bearer")
        assert management.service.get_access_token().extra["issued_token_type"] == "urn:vendor:token"
        form = service.requests[0].form
        assert form["actor_token_type"] == ["urn:ietf:params:oauth:token-type:id_token"]
        assert form["requested_token_type"] == ["urn:vendor:token"]

    def test_one_request_may_ask_for_another_audience(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Each audience has a token of its own, as with the client's own credentials."""
        add(management, service, exchange(), audience="one")
        other = TokenRequestParameters(audience="two")
        tokens = [management.service.get_access_token("w", asked).value for asked in (None, other, None, other)]
        assert tokens[:2] == tokens[2:]
        assert [request.form["audience"] for request in service.requests] == [["one"], ["two"]]

    def test_several_audiences(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """Each is a field of its own (RFC 8693 section 2.1); their order makes no other token, and one text is none."""
        add(management, service, exchange(), audience=["urn:b", "urn:a", "urn:b"])
        asked = [None, *(TokenRequestParameters(audience=each) for each in (("urn:a", "urn:b"), ["urn:a urn:b"], []))]
        tokens = [management.service.get_access_token("w", each).value for each in asked]
        assert [tokens.index(token) for token in tokens] == [0, 0, 2, 3]
        sent = [request.form.get("audience") for request in service.requests]
        assert sent == [["urn:a", "urn:b"], ["urn:a urn:b"], None]
        assert {line.audience for line in management.stats()} == {"urn:a urn:b", None}

    def test_several_audiences_without_an_exchange(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Are refused before anything is sent, for the client and for one request: no other grant has them."""
        with pytest.raises(ConfigurationError, match="audience must be text, not list; a token request has one"):
            add(management, service, JwtBearerGrant(KEY), audience=["urn:a", "urn:b"])
        add(management, service, JwtBearerGrant(KEY))
        with pytest.raises(ConfigurationError, match="client 'w': the audience of TokenRequestParameters must be"):
            management.service.get_access_token("w", TokenRequestParameters(audience=["urn:a", "urn:b"]))
        assert service.requests == []

    def test_the_subject_is_read_at_each_fetch(
        self, management: AccessTokenManagement, service: GrantingService, tmp_path: Path
    ) -> None:
        """A projected token that was replaced is used at the next fetch; its line break is none of it."""
        file = tmp_path / "token"
        file.write_text(SUBJECT + "\n")
        add(management, service, exchange({"file": file}))
        fetch(management)
        service.takes[TYPE + "jwt"] = {"rotated"}
        file.write_text(" rotated\n\n")
        management.service.delete_access_token()
        fetch(management)
        assert [request.form["subject_token"] for request in service.requests] == [[SUBJECT], ["rotated"]]

    def test_a_refused_subject_is_read_once_more(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """One that was replaced meanwhile is tried at once; one that was not is asked for no second time."""
        tokens = iter(["old", SUBJECT])
        add(management, service, exchange(lambda: next(tokens)))
        fetch(management)
        assert len(service.requests) == 2
        add(management, service, exchange(lambda: "unknown"), "other")
        with pytest.raises(TokenEndpointError, match="the subject or actor token may have expired"):
            fetch(management, "other")
        assert len(service.requests) == 3

    @pytest.mark.parametrize("issued", ["id_token", "jwt", "refresh_token"])
    def test_what_is_no_access_token_is_refused(
        self, management: AccessTokenManagement, service: GrantingService, issued: str
    ) -> None:
        """Unless it was asked for, in which case the token service has to say how to present it."""
        service.issues = TYPE + issued
        add(management, service, exchange())
        with pytest.raises(InvalidTokenResponseError, match=f"token-type:{issued}' where an access token") as refused:
            fetch(management)
        assert not refused.value.transient
        add(management, service, exchange(requested_token_type=issued), "asked", token_type="Bearer")
        fetch(management, "asked")
        add(management, service, exchange(requested_token_type=issued), "not applicable")
        with pytest.raises(InvalidTokenResponseError, match="its token_type 'N_A' is none"):
            fetch(management, "not applicable")

    @pytest.mark.parametrize("issued", [5, ["a"], {"a": 1}, "urn:other"], ids=repr)
    def test_another_type_than_was_asked_for_is_refused(
        self, management: AccessTokenManagement, service: GrantingService, issued: Any
    ) -> None:
        """Whatever the answer has in its place."""
        members = {"access_token": "t", "token_type": "Bearer", "issued_token_type": issued}
        service.script.append(answer(200, members))
        add(management, service, exchange(requested_token_type="urn:wanted"))
        with pytest.raises(InvalidTokenResponseError, match="where urn:wanted was asked for"):
            fetch(management)

    def test_an_answer_that_does_not_say_its_type(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Is an access token by its token_type, as from services that leave the member out."""
        service.issues = None
        add(management, service, exchange())
        fetch(management)

    @pytest.mark.parametrize(
        ("arguments", "options", "sentence"),
        [
            (("text", "jwt"), {}, "subject_token must be a callable, .* so a fixed one is of no use"),
            ((["text"], "jwt"), {}, "subject_token must be a callable"),
            *((({"client": name}, "jwt"), {}, "the client of subject_token must be") for name in ODD_NAMES),
            ((len, "JWT"), {}, "subject_token_type must be a URI, or one of access_token"),
            ((len, "urn:a b"), {}, "subject_token_type must be a URI"),
            ((len, "urn:a\x7f"), {}, "subject_token_type must be a URI"),
            ((len, None), {}, "subject_token_type must be a URI"),
            ((len, "jwt"), {"requested_token_type": ""}, "requested_token_type must be a URI"),
            ((len, "jwt"), {"actor_token": len}, "actor_token and actor_token_type go together"),
            ((len, "jwt"), {"actor_token_type": "jwt"}, "actor_token and actor_token_type go together"),
            ((len, "jwt"), {"actor_token": len, "actor_token_type": 5}, "actor_token_type must be a URI"),
        ],
    )
    def test_what_cannot_work(self, arguments: Any, options: dict[str, Any], sentence: str) -> None:
        """Is refused where it is said."""
        with pytest.raises(ConfigurationError, match=f"TokenExchangeGrant: {sentence}"):
            TokenExchangeGrant(*arguments, **options)

    @pytest.mark.parametrize("value", ["a b", "é", "a\0"])
    def test_a_subject_that_no_token_can_be(
        self, management: AccessTokenManagement, service: GrantingService, value: str
    ) -> None:
        """Is not sent, and not shown."""
        add(management, service, exchange(lambda: value))
        with pytest.raises(TokenRequestError, match="the subject token is empty, or holds blanks") as refused:
            fetch(management)
        assert value not in str(refused.value)
        assert not refused.value.transient
        assert service.requests == []

    def test_a_type_of_ones_own(self) -> None:
        """Is any URI, as given; what it may consist of goes from ``!`` to ``~``."""
        assert exchange(kind="urn:!~").subject.type == "urn:!~"

    def test_tokens_that_the_answer_repeats_are_not_shown(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Neither the subject's nor the actor's."""
        said = {"error": "invalid_target", "error_description": f"no {SUBJECT}, no T41NT-actor"}
        service.script.append(answer(400, said))
        add(management, service, exchange(actor_token=lambda: "T41NT-actor", actor_token_type="jwt"))
        with pytest.raises(TokenEndpointError, match=r"no \*\*\*, no \*\*\*") as refused:
            fetch(management)
        assert "T41NT" not in f"{refused.value} {refused.value.response_text} {refused.value.error_description}"

    def test_its_files_are_looked_at(self, tmp_path: Path) -> None:
        """What they are stamped with differs after a change, so that a hold-off ends; other sources have no stamp."""
        subject, actor = tmp_path / "subject", tmp_path / "actor"
        actor.write_text("a")
        grant = exchange({"file": subject}, actor_token={"file": actor}, actor_token_type="jwt")
        assert grant.stamp() == (None, file_stamp(actor))
        subject.write_text("s")
        assert grant.stamp() == (file_stamp(subject), file_stamp(actor))
        chained = exchange({"client": "first"}, "access_token", actor_token={"file": actor}, actor_token_type="jwt")
        assert chained.stamp() == (file_stamp(actor),)
        assert exchange().stamp() == (None,)

    def test_a_subject_that_cannot_be_read(
        self, management: AccessTokenManagement, service: GrantingService, tmp_path: Path
    ) -> None:
        """Is told with its place, and which token it was to be."""
        add(management, service, exchange({"file": tmp_path / "none"}))
        with pytest.raises(TokenRequestError, match=r"token client 'w': the subject token: .*none'") as refused:
            fetch(management)
        assert not refused.value.transient


class TestChained:
    """The subject token is the access token of another client of the same management."""

    @pytest.fixture
    def chained(self, management: AccessTokenManagement, service: GrantingService) -> AccessTokenManagement:
        # What it needs may be registered later.
        add(management, service, exchange({"client": "first"}, "access_token"))
        add(management, service, JwtBearerGrant(KEY), "first")
        return management

    def test_one_after_the_other(self, chained: AccessTokenManagement, service: GrantingService) -> None:
        """Both are cached: each is asked for once."""
        for _ in range(2):
            assert fetch(chained) == "T41NT-token-2"
        assert [request.form["grant_type"] for request in service.requests] == [[JWT_BEARER], [EXCHANGE]]
        assert service.requests[1].form["subject_token"] == ["T41NT-token-1"]

    def test_a_subject_that_was_revoked_is_renewed(
        self, chained: AccessTokenManagement, service: GrantingService
    ) -> None:
        """The refusal of the exchange has the other client renew its token, and the exchange is tried once more."""
        fetch(chained)
        service.revoked.add("T41NT-token-1")
        chained.service.delete_access_token("w")
        assert fetch(chained) == "T41NT-token-4"
        grants = [request.form["grant_type"] for request in service.requests[2:]]
        assert grants == [[EXCHANGE], [JWT_BEARER], [EXCHANGE]]

    def test_the_first_ones_failure_is_told(self, chained: AccessTokenManagement, service: GrantingService) -> None:
        """Both names are in the message; whether to ask again is what the first one's answer says."""
        service.keys.clear()
        with pytest.raises(
            TokenRequestError, match=r"token client 'w': the subject token: token client 'first': .*invalid_grant"
        ) as refused:
            fetch(chained)
        assert not refused.value.transient
        assert refused.value.client == "w"

    def test_the_first_one_may_be_told_to_wait(self, chained: AccessTokenManagement, service: GrantingService) -> None:
        """For how long, is known to who waits for both; nothing more is sent until then."""
        service.script.append(answer(429, {"error": "slow_down"}, (("Retry-After", "60"),)))
        for _ in range(2):
            with pytest.raises(TokenRequestError, match="the subject token: token client 'first'") as refused:
                fetch(chained)
            assert (refused.value.transient, refused.value.retry_after) == (True, 60.0)
        assert len(service.requests) == 1

    def test_a_client_that_nobody_registered(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """Is told where the token is needed."""
        add(management, service, exchange({"client": "nobody"}, "access_token"))
        with pytest.raises(TokenRequestError, match="the subject token: no token client is named 'nobody'") as refused:
            fetch(management)
        assert not refused.value.transient

    def test_a_client_of_a_resolver(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """May be either of them."""

        def resolver(name: str) -> ClientCredentialsClient:
            grant = JwtBearerGrant(KEY) if name == "first" else exchange({"client": "first"}, "access_token")
            return ClientCredentialsClient(token_endpoint=service.token_endpoint, client_id="worker", grant=grant)

        management.add_client_resolver(resolver)
        assert fetch(management, "tenant") == "T41NT-token-2"

    @pytest.mark.parametrize(
        ("names", "circle"),
        [
            ({"a": "a"}, "'a' -> 'a'"),
            ({"a": "b", "b": "a"}, "'b' -> 'a' -> 'b'"),
            ({"a": "b", "b": "c", "c": "a"}, "'c' -> 'a' -> 'b' -> 'c'"),
        ],
        ids=str,
    )
    def test_a_circle_is_refused(
        self, management: AccessTokenManagement, service: GrantingService, names: dict[str, str], circle: str
    ) -> None:
        """Where its last link is registered; that one is not, and the others may be mended."""
        *first, last = names
        for name in first:
            add(management, service, exchange({"client": names[name]}, "access_token"), name)
        for role in ({}, {"actor_token": {"client": names[last]}, "actor_token_type": "access_token"}):
            token: Any = {"client": "else"} if role else {"client": names[last]}
            with pytest.raises(ConfigurationError, match=f"token client {last!r}: .* would be its own: {circle}"):
                add(management, service, exchange(token, "access_token", **role), last)
        assert set(management.clients) == set(first)
        add(management, service, JwtBearerGrant(KEY), last)
        fetch(management, last)

    def test_a_circle_of_a_resolver_ends(self, management: AccessTokenManagement, service: GrantingService) -> None:
        """With an error, not with a wait without end."""
        others = {"a": "b", "b": "a"}

        def resolver(name: str) -> ClientCredentialsClient:
            grant = exchange({"client": others[name]}, "access_token")
            return ClientCredentialsClient(token_endpoint=service.token_endpoint, client_id="worker", grant=grant)

        management.add_client_resolver(resolver)
        with pytest.raises(TokenRequestError, match="its token was asked for by the code that fetches it"):
            fetch(management, "a")

    def test_a_chain_without_end_of_a_resolver_ends(
        self, management: AccessTokenManagement, service: GrantingService
    ) -> None:
        """A resolver that has a client before each client costs an error, and not a thread for each of them."""
        asked: list[str] = []

        def resolver(name: str) -> ClientCredentialsClient:
            asked.append(name)
            grant = exchange({"client": str(int(name) + 1)}, "access_token")
            # One client id, so that one hash of the secret is enough for the keys of all.
            return ClientCredentialsClient(token_endpoint=service.token_endpoint, client_id="worker", grant=grant)

        management.add_client_resolver(resolver)
        with pytest.raises(TokenRequestError, match="one of too many clients that wait for each other's tokens"):
            fetch(management, "0")
        assert len(asked) <= 21

    def test_managements_that_share_a_cache_share_no_name(self, service: GrantingService, clock: SkippingClock) -> None:
        """The client of that name may be another one in each: who has another subject gets another token."""
        cache = MemoryTokenCache(clock=clock)
        service.keys["stranger"] = OTHER_KEY.public_jwk
        tokens = []
        for client_id, key in (("worker", KEY), ("stranger", OTHER_KEY)):
            with AccessTokenManagement(cache=cache, clock=clock) as management:
                add(management, service, exchange({"client": "first"}, "access_token"))
                add(management, service, JwtBearerGrant(key), "first", client_id=client_id)
                tokens.append(fetch(management))
        assert len(set(tokens)) == 2


class TestWhoCannotProveItselfGetsNothing:
    """A1: tokens are kept under what a grant proves: key, issuer, subject, audience, claims; the tokens exchanged."""

    GRANTS: Mapping[str, Callable[[], Any]] = {
        "none": lambda: None,
        "key": lambda: JwtBearerGrant(KEY),
        "another key": lambda: JwtBearerGrant(OTHER_KEY),
        "issuer": lambda: JwtBearerGrant(KEY, issuer="i"),
        "subject": lambda: JwtBearerGrant(KEY, subject="s"),
        "no subject": lambda: JwtBearerGrant(KEY, subject=""),
        "audience": lambda: JwtBearerGrant(KEY, audience="a"),
        "claims": lambda: JwtBearerGrant(KEY, claims={"scope": "s"}),
        "token": lambda: exchange({"env": "SUBJECT"}),
        "another token": lambda: exchange({"env": "OTHER"}),
        "type": lambda: exchange({"env": "SUBJECT"}, "id_token"),
        "requested": lambda: exchange({"env": "SUBJECT"}, requested_token_type="jwt"),
        "actor": lambda: exchange({"env": "SUBJECT"}, actor_token={"env": "OTHER"}, actor_token_type="jwt"),
        "another actor": lambda: exchange({"env": "SUBJECT"}, actor_token={"env": "SUBJECT"}, actor_token_type="jwt"),
    }

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUBJECT", SUBJECT)
        monkeypatch.setenv("OTHER", "T41NT-other")

    @pytest.mark.parametrize("of", ["cache_key", "stored_key"])
    def test_keys_differ_where_proofs_do(self, of: str) -> None:
        """In this process and in a store; the same grant made twice has the same keys."""

        def key(make: Callable[[], Any]) -> Any:
            grant = make()
            demand = Demand.of(client(grant=grant, **({"client_secret": "s"} if grant is None else {})))
            return demand.cache_key if of == "cache_key" else demand.stored_key()

        keys = [key(make) for make in self.GRANTS.values()]
        assert len(set(keys)) == len(self.GRANTS)
        assert keys == [key(make) for make in self.GRANTS.values()]

    def test_a_store_is_asked_by_the_token_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another token from the same place, a pod's of another account say, finds nothing of the first one's."""
        demand = Demand.of(client(grant=exchange({"env": "SUBJECT"})))
        before = demand.stored_key()
        monkeypatch.setenv("SUBJECT", "T41NT-rotated")
        assert demand.stored_key() != before
        assert demand.cache_key == Demand.of(client(grant=exchange({"env": "SUBJECT"}))).cache_key

    def test_processes_share_by_a_file(
        self, service: GrantingService, clock: SkippingClock, tmp_path: Path
    ) -> None:
        """Managements with the same key share a folder's tokens; one with another key gets its own, or none."""
        for key in (KEY, KEY, OTHER_KEY):
            cache = FileTokenCache(tmp_path / "tokens", timeout=PATIENCE, clock=clock)
            with AccessTokenManagement(cache=cache, clock=clock) as own:
                add(own, service, JwtBearerGrant(key))
                if key is KEY:
                    assert fetch(own) == "T41NT-token-1"
                else:
                    with pytest.raises(TokenEndpointError, match="invalid_grant"):
                        fetch(own)

    def test_a_chained_one_is_known_by_its_management_only(self) -> None:
        """Outside of one, what it proves cannot be said."""
        with pytest.raises(TokenRequestError, match=r"token client 'w': the subject token: .* the client 'first'"):
            Demand.of(client(grant=exchange({"client": "first"}, "access_token"))).stored_key()


def test_callers_share_one_flight(management: AccessTokenManagement, service: GrantingService) -> None:
    """Many threads at once cause one token request, whatever the grant."""
    asked = threading.Barrier(8)
    add(management, service, exchange())
    tokens: list[str] = []

    def work() -> None:
        asked.wait(10)
        tokens.append(fetch(management))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert tokens == ["T41NT-token-1"] * 8
    assert len(service.requests) == 1


def test_a_session_renews_after_a_refusal(management: AccessTokenManagement, service: GrantingService) -> None:
    """An API call whose token was revoked is sent once more, with a token of the same grant."""
    add(management, service, JwtBearerGrant(KEY))
    with StrictApi(service) as api:
        management.add_session("api", base_url=api.url, client="w")
        with management.make_session("api") as session:
            assert session.get("x").json() == {"token": "token-1"}
            api.revoked.add("T41NT-token-1")
            assert session.get("x").json() == {"token": "token-2"}


def test_the_name_of_the_grant_is_its_own() -> None:
    """A vendor's name is for the client's own credentials; that of the grant may be repeated."""
    registered = client(grant=JwtBearerGrant(KEY), grant_type=JWT_BEARER)
    assert registered.grant_type == JWT_BEARER
    assert registered.named("other").grant is registered.grant
    with pytest.raises(ConfigurationError, match=r"grant=\.\.\. names its grant_type itself"):
        client(grant=JwtBearerGrant(KEY), grant_type="account_credentials")
    with pytest.raises(ConfigurationError, match="the parameter 'assertion' is set by grant="):
        client(grant=JwtBearerGrant(KEY), parameters={"assertion": "x"})
    assert client(client_secret="s", grant_type=JWT_BEARER, parameters={"assertion": "x"}).grant is None


def test_only_a_grant_does_without_authentication() -> None:
    """The client's own credentials are for clients that authenticate (RFC 6749 section 4.4)."""
    assert client(grant=JwtBearerGrant(KEY)).auth.method == "none"
    assert client(grant=JwtBearerGrant(KEY), client_secret="s").auth.method == "client_secret_basic"
    assert client(grant=exchange(), parameters={"client_id": "worker"}).auth.method == "none"
    with pytest.raises(ConfigurationError, match="without a grant of its own a client has to authenticate"):
        client(auth=NoClientAuthentication())
    with pytest.raises(ConfigurationError, match="needs a client_secret"):
        client(grant=JwtBearerGrant(KEY), auth="client_secret_basic")
    with pytest.raises(ConfigurationError, match="none uses no client_secret"):
        client(grant=exchange(), auth=NoClientAuthentication(), client_secret="s")


@pytest.mark.parametrize(
    "grant", [JwtBearerGrant(KEY, claims={"a": "hidden-text"}), exchange({"command": ["print", "hidden-text"]})]
)
def test_a_grant_is_a_frozen_value_that_shows_no_secret(grant: Grant) -> None:
    """Neither by itself nor within its client; and it is not pickled."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(grant, dataclasses.fields(grant)[0].name, None)  # type: ignore[arg-type]
    assert "hidden-text" not in f"{grant!r} {grant} {client(grant=grant)!r}"
    assert type(grant).__name__ in repr(client(grant=grant))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(grant)


def test_a_grant_says_what_it_is() -> None:
    """The base proves nothing, needs nobody and objects to nothing."""

    class Empty(Grant):
        grant_type = "urn:x"
        fields = frozenset()
        advice: ClassVar[Mapping[str, str]] = {}

    registered = client(client_secret="s")
    assert Empty().clients == ()
    assert Empty().stamp() is None
    assert Empty().objection({}) is None
    for call in (
        lambda: Empty().identity(registered),
        lambda: Empty().proof(registered, None),
        lambda: Empty().add_to(TokenRequest(ENDPOINT), registered, None),
    ):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("jwt_bearer", "grant must be a JwtBearerGrant, a TokenExchangeGrant, or a table"),
        ({}, "type = one of jwt_bearer, token_exchange"),
        ({"type": ["jwt_bearer"]}, "type = one of jwt_bearer, token_exchange"),
        ({"type": None}, "type = one of jwt_bearer, token_exchange"),
        ({"type": "jwt-bearer"}, "did you mean 'jwt_bearer'"),
        ({"type": 5}, "grant must be"),
        ({"type": "jwt_bearer"}, "the grant jwt_bearer lacks key"),
        ({"type": "jwt_bearer", "key": "k", "subjekt": "s"}, "has no 'subjekt'; .*did you mean 'subject'"),
        ({"type": "token_exchange"}, "the grant token_exchange lacks subject_token, subject_token_type"),
        ({"type": "jwt_bearer", "key": "T41NT"}, "^token client 'w': JwtBearerGrant: the key cannot be used"),
    ],
    ids=str,
)
def test_tables_that_are_no_grant(given: Any, sentence: str) -> None:
    """Are refused with what is known, and without what was given."""
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        client(grant=given)
    assert "T41NT" not in str(refused.value)


def test_both_grants_from_a_file(
    service: GrantingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text may be one of the environment, and files count from the folder of the configuration."""
    jwk = KEY._key.as_dict(private=True)
    (tmp_path / "key.json").write_text(json.dumps(jwk))
    (tmp_path / "token").write_text(SUBJECT)
    monkeypatch.setenv("SUBJECT", "account")
    service.keys["signer"] = KEY.public_jwk
    service.takes[TYPE + "saml2"] = {base64.urlsafe_b64encode(b"<saml/>").decode()}
    monkeypatch.setenv("SAML", base64.urlsafe_b64encode(b"<saml/>").decode())
    file = tmp_path / "worker.toml"
    file.write_text(
        f"""
        [clients.bearer]
        token_endpoint = "{service.token_endpoint}"
        client_id = "worker"
        [clients.bearer.grant]
        type = "jwt_bearer"
        key = {{ file = "key.json" }}
        issuer = "signer"
        subject = {{ env = "SUBJECT" }}
        claims = {{ scope = "read", account = {{ env = "SUBJECT" }} }}

        [clients.exchange]
        token_endpoint = "{service.token_endpoint}"
        client_id = "worker"
        client_secret = "secret"
        grant = {{ type = "token_exchange", subject_token = {{ file = "token" }}, subject_token_type = "jwt" }}

        [clients.acting]
        token_endpoint = "{service.token_endpoint}"
        client_id = "worker"
        [clients.acting.grant]
        type = "token_exchange"
        subject_token = {{ client = "bearer" }}
        subject_token_type = "access_token"
        actor_token = {{ env = "SAML" }}
        actor_token_type = "saml2"
        """
    )
    with AccessTokenManagement.from_config(file) as management:
        service._now = management._clock.time
        for name in ("bearer", "exchange", "acting"):
            assert fetch(management, name)
    assert service.granted[0][1]["account"] == "account"
    assert len(service.requests) == 3


def test_a_circle_in_a_file(tmp_path: Path) -> None:
    """Is told with the file and the entry that closes it."""
    grant = 'grant = { type = "token_exchange", subject_token = { client = "b" }, subject_token_type = "access_token" }'
    entry = f'[clients.{{}}]\ntoken_endpoint = "{ENDPOINT}"\nclient_id = "w"\n'
    file = tmp_path / "worker.toml"
    file.write_text(entry.format("b") + grant)
    with pytest.raises(ConfigurationError, match=r"worker\.toml: \[clients\.b\]: token client 'b': .*'b' -> 'b'"):
        AccessTokenManagement.from_config(file)


def test_keywords_are_those_of_the_classes() -> None:
    """A table has the keywords of the class, and needs those without a default."""
    needed = {name: [k for k, is_needed in keywords_of(name).items() if is_needed] for name in GRANTS}
    assert needed == {"jwt_bearer": ["key"], "token_exchange": ["subject_token", "subject_token_type"]}


def test_who_signs_with_the_time() -> None:
    """A method, a grant or a DPoP key that does makes a wrong clock matter; nothing else of a client does."""
    options: dict[str, Any] = {"token_endpoint": "https://t.example.com/", "client_id": "m2m"}
    secret: dict[str, Any] = {**options, "client_secret": "T41NT"}
    exchange = TokenExchangeGrant({"client": "other"}, "access_token")
    for given, signs in (
        (secret, False),
        ({**options, "auth": PrivateKeyJwt(KEY)}, True),
        ({**options, "grant": JwtBearerGrant(KEY)}, True),
        ({**secret, "dpop": DPoPKey.generate()}, True),
        ({**options, "grant": exchange}, False),
    ):
        assert ClientCredentialsClient("worker", **given).makes_dated_proofs is signs
