"""A1: whoever cannot prove itself gets no token that another one proved itself for, from memory or from any store."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from requests_cc_token import (
    AccessTokenManagement,
    ClientAssertion,
    ClientCredentialsClient,
    ClientSecretBasic,
    ConfigurationError,
    DPoPKey,
    FileTokenCache,
    MemoryTokenCache,
    PrivateKeyJwt,
    TlsClientAuth,
    TokenCache,
    TokenEndpointError,
    TokenRequestError,
    demand,
    secret_source,
)
from requests_cc_token.authentication.method import Applicant, ClientAuthentication, TokenRequest
from requests_cc_token.demand import Demand
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .scripted_server import PATIENCE
from .skipping_clock import SkippingClock
from .strict_service import Authority

ENDPOINT = "https://login.example.com/token"


def wanted(**options: Any) -> Demand:
    given = {"token_endpoint": ENDPOINT, "client_id": "m2m", **options}
    return Demand.of(ClientCredentialsClient("any", **given))


def keys(asked: Demand) -> tuple[str, str]:
    """The keys of a demand: in this process, and in a store that others read."""
    return asked.cache_key, asked.stored_key()


def jwt(subject: str) -> str:
    parts = (json.dumps({"alg": "ES256"}), json.dumps({"sub": subject}), "signature")
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


class OfOnesOwn(ClientAuthentication):
    """A method that its user wrote, and thought no further about."""

    method = "x_own"

    def __init__(self, credential: str) -> None:
        self.credential = credential

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add a header."""
        request.headers["X-Credential"] = self.credential


def signing(seed: str) -> Callable[[requests.PreparedRequest], None]:
    def customize(request: requests.PreparedRequest) -> None:
        request.headers["X-Signature"] = seed

    return customize


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proofs")


@pytest.fixture(scope="module")
def proofs(folder: Path) -> Iterator[dict[str, Callable[[str], dict[str, Any]]]]:
    """Every way to authenticate, as options by who it is: "a" or "b"."""
    authority = Authority(folder)
    ec = {who: ECKey.generate_key("P-256").as_dict(private=True) for who in "ab"}
    rsa = {who: RSAKey.generate_key(2048).as_pem(private=True) for who in "ab"}
    for who in "ab":
        authority.issue(who)
        (folder / f"secret-{who}").write_text(f"secret {who}")
        (folder / f"key-{who}").write_text(json.dumps(ec[who]))
        (folder / f"assertion-{who}").write_text(jwt("the same"))
        os.environ[f"PROOF_{who}"] = f"secret {who}"
        os.environ[f"KEY_{who}"] = json.dumps(ec[who])
    yield {
        "secret": lambda who: {"client_secret": f"secret {who}"},
        "secret of a file": lambda who: {"client_secret": {"file": folder / f"secret-{who}"}},
        "secret of the environment": lambda who: {"client_secret": {"env": f"PROOF_{who}"}},
        "secret of a function": lambda who: {"client_secret": lambda: f"secret {who}"},
        "in the body": lambda who: {"client_secret": f"secret {who}", "auth": "client_secret_post"},
        "MACed": lambda who: {"client_secret": f"secret {who}", "auth": "client_secret_jwt"},
        "key": lambda who: {"auth": PrivateKeyJwt(ec[who])},
        "RSA key": lambda who: {"auth": PrivateKeyJwt(rsa[who])},
        "key of a file": lambda who: {"auth": PrivateKeyJwt({"file": folder / f"key-{who}"})},
        "key of the environment": lambda who: {"auth": PrivateKeyJwt({"env": f"KEY_{who}"})},
        "assertion of a file": lambda who: {"auth": ClientAssertion({"file": folder / f"assertion-{who}"})},
        "assertion of a function": lambda who: {"auth": ClientAssertion(lambda: jwt("the same"))},
        "certificate": lambda who: {"auth": TlsClientAuth(folder / f"{who}.pem", folder / f"{who}.key")},
        "method of one's own": lambda who: {"auth": OfOnesOwn(who)},
        "gateway's header": lambda who: {"client_secret": "s", "headers": {"X-API-Key": who}},
        "request of one's own": lambda who: {"client_secret": "s", "customize_request": signing(who)},
        "answer of one's own": lambda who: {"client_secret": "s", "read_answer": lambda response: response.json()},
        "bound to a key": lambda who: {"client_secret": "s", "dpop": DPoPKey(ec[who])},
    }
    for who in "ab":
        del os.environ[f"PROOF_{who}"], os.environ[f"KEY_{who}"]


WAYS = (
    "secret",
    "secret of a file",
    "secret of the environment",
    "secret of a function",
    "in the body",
    "MACed",
    "key",
    "RSA key",
    "key of a file",
    "key of the environment",
    "assertion of a file",
    "assertion of a function",
    "certificate",
    "method of one's own",
    "gateway's header",
    "request of one's own",
    "answer of one's own",
    "bound to a key",
)
#: What no other registration can be known to have too, so that its tokens are shared with none.
ALONE = {"assertion of a function", "method of one's own", "request of one's own", "answer of one's own"}

Proofs = Mapping[str, Callable[[str], "dict[str, Any]"]]


def test_every_way_is_tried(proofs: Proofs) -> None:
    """The list below is that of the fixture."""
    assert set(WAYS) == set(proofs)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=st.sampled_from(WAYS), other=st.sampled_from(WAYS), who=st.sampled_from("ab"))
def test_another_proof_is_another_key(proofs: Proofs, one: str, other: str, who: str) -> None:
    """Two registrations of one client id that prove themselves differently have no key in common."""
    if one == other:
        who = "b"
        first, second = wanted(**proofs[one]("a")), wanted(**proofs[one]("b"))
    else:
        first, second = wanted(**proofs[one]("a")), wanted(**proofs[other](who))
    the_same_secret = {one, other} <= {way for way in WAYS if way.startswith("secret")} and who == "a"
    the_same_key = {one, other} <= {way for way in WAYS if way.startswith("key")} and who == "a"
    assert (first.stored_key() == second.stored_key()) is (the_same_secret or the_same_key)
    assert first.cache_key != second.cache_key


@pytest.mark.parametrize("way", WAYS)
def test_the_same_proof_is_the_same_key(proofs: Proofs, way: str) -> None:
    """A registration that is made again, by a resolver for example, goes on with the tokens that are there."""
    asked = wanted(**proofs[way]("a"))
    assert keys(asked) == keys(asked)
    again = wanted(**proofs[way]("a"))
    assert (again.stored_key() == asked.stored_key()) is (way not in ALONE)
    # A function that was made anew is not known to be the one from before.
    assert (again.cache_key == asked.cache_key) is (way not in {*ALONE, "secret of a function"})


def test_functions_that_other_processes_have_too() -> None:
    """One that can be imported by its name is the same in each process; one with a state of its own is not."""
    assert secret_source.importable_name(jwt) == f"{__name__}:jwt"
    for own in (signing("a"), lambda: "", OfOnesOwn("a"), "".join):
        assert secret_source.importable_name(own) is None
    own_mark = secret_source.own_mark
    assert secret_source.importable_name(own_mark) == "requests_cc_token.secret_source:own_mark"
    assert secret_source.importable_name(ClientAssertion.stamp) is not None, "of a class"
    one, other = (wanted(auth=ClientAssertion(some_assertion)) for _ in range(2))
    assert one.stored_key() == other.stored_key()
    one, other = (wanted(client_secret="s", customize_request=jwt) for _ in range(2))
    assert one.stored_key() == other.stored_key()


def test_a_function_that_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a state of its own, by whatever name it goes."""
    module = ModuleType("wraps")
    monkeypatch.setitem(sys.modules, "wraps", module)
    module.__dict__["read"] = wraps_a_state(lambda: "a")
    assert module.read.__qualname__ == "read"
    assert secret_source.importable_name(module.read) is None


def wraps_a_state(state: Callable[[], str]) -> Callable[[], str]:
    def read() -> str:
        return state()

    read.__qualname__, read.__module__ = "read", "wraps"
    return read


@pytest.mark.parametrize("main", ["__main__", "__mp_main__", None])
def test_functions_of_a_main_module(main: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have names that another program gives to other functions: its main module, its workers', or none at all."""
    module = ModuleType(str(main))
    monkeypatch.setitem(sys.modules, str(main), module)
    exec("def function(): pass", module.__dict__)
    module.function.__module__ = main
    assert secret_source.importable_name(module.function) is None


def test_functions_that_are_made_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that have one name, other processes have the last one by it; the tokens of the others are kept apart."""
    module = ModuleType("tenants")
    monkeypatch.setitem(sys.modules, "tenants", module)
    loop = "functions = []\nfor tenant in 'ab':\n  def read(tenant=tenant): return tenant\n  functions.append(read)"
    exec(loop, module.__dict__)
    names = [secret_source.importable_name(function) for function in module.functions]
    assert names == [None, "tenants:read"]
    first, last = (wanted(auth=ClientAssertion(function)) for function in module.functions)
    assert first.stored_key() != last.stored_key()
    last_again = wanted(auth=ClientAssertion(module.functions[1]))
    assert last_again.stored_key() == last.stored_key()


def some_assertion() -> str:
    return jwt("the same")


def test_processes_with_the_same_proof_share_a_key(proofs: Proofs, folder: Path) -> None:
    """A fleet shares one token by its store, though nothing that a process makes up goes into the key."""
    program = f"""
from requests_cc_token import *
from requests_cc_token.demand import Demand
for options in (
    dict(client_secret="secret a"),
    dict(auth=PrivateKeyJwt({{"file": {str(folder / "key-a")!r}}})),
    dict(auth=ClientAssertion({{"file": {str(folder / "assertion-a")!r}}})),
    dict(auth=TlsClientAuth({str(folder / "a.pem")!r}, {str(folder / "a.key")!r})),
    dict(client_secret="s", headers={{"X-API-Key": "a"}}),
):
    client = ClientCredentialsClient("x", token_endpoint={ENDPOINT!r}, client_id="m2m", **options)
    print(Demand.of(client).stored_key())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    ways = ("secret", "key of a file", "assertion of a file", "certificate", "gateway's header")
    assert done.stdout.split() == [wanted(**proofs[way]("a")).stored_key() for way in ways]


def test_a_guess_at_the_secret_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others may read depends on the secret by a slow hash only, salted by client and endpoint, made once."""
    calls: list[tuple[str, str]] = []

    def hash_of_everything(secret: str, salt: str) -> bytes:
        calls.append((secret, salt))
        return b"the same for all"

    one, other = wanted(client_secret="one"), wanted(client_secret="other")
    monkeypatch.setattr(demand, "slow_hash", hash_of_everything)
    assert one.stored_key() == other.stored_key()
    assert [secret for secret, _ in calls] == ["one", "other"]
    assert all("m2m" in salt and ENDPOINT in salt for _, salt in calls)
    assert one.cache_key != other.cache_key


def test_slow_hashes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process pays once for a secret, and what it keeps is bounded."""
    made = []
    scrypt = hashlib.scrypt

    def counted(*args: Any, **options: Any) -> bytes:
        made.append(options["salt"])
        made_hash: bytes = scrypt(*args, **options)
        return made_hash

    monkeypatch.setattr(hashlib, "scrypt", counted)
    monkeypatch.setattr(secret_source, "SCRYPT_COST", 2)
    monkeypatch.setattr(secret_source, "MAX_SLOW_HASHES", 2)
    monkeypatch.setattr(secret_source, "_slow_hashes", {})
    first = secret_source.slow_hash("one", "salt")
    assert secret_source.slow_hash("one", "salt") == first
    assert len({first, secret_source.slow_hash("two", "salt"), secret_source.slow_hash("one", "other")}) == 3
    assert made == [b"salt", b"salt", b"other"]
    assert len(secret_source._slow_hashes) == 1
    secret_source.slow_hash("two", "other")
    assert secret_source.slow_hash("one", "other")
    assert made == [b"salt", b"salt", b"other", b"other"]


def test_a_slow_hash_is_the_same_in_every_version() -> None:
    """A fleet shares a store while it is updated, so what its keys are made of stays: scrypt, RFC 7914."""
    made = secret_source.slow_hash("secret", "salt")
    assert made == hashlib.scrypt(b"secret", salt=b"salt", n=16_384, r=8, p=1, dklen=32)


def test_a_public_part_that_is_somebody_elses() -> None:
    """A thumbprint proves something because nobody can have it without the key."""
    mine, theirs = (OKPKey.generate_key("Ed25519").as_dict(private=True) for _ in range(2))
    with pytest.raises(ConfigurationError, match="its public part is that of another key"):
        PrivateKeyJwt({**mine, "x": theirs["x"]})
    mine, theirs = (ECKey.generate_key("P-256").as_dict(private=True) for _ in range(2))
    with pytest.raises(ConfigurationError, match="the key cannot be used"):
        PrivateKeyJwt({**mine, "x": theirs["x"], "y": theirs["y"]})
    mine, theirs = (RSAKey.generate_key(2048).as_dict(private=True) for _ in range(2))
    with pytest.raises(ConfigurationError, match="the key cannot be used"):
        PrivateKeyJwt({"kty": "RSA", "n": theirs["n"], "e": theirs["e"], "d": mine["d"]})


# Over sockets


@pytest.fixture(params=["memory", "file"])
def cache(request: pytest.FixtureRequest, tmp_path: Path, clock: SkippingClock) -> TokenCache:
    if request.param == "memory":
        return MemoryTokenCache(clock=clock)
    return FileTokenCache(tmp_path / "tokens", timeout=PATIENCE)


@pytest.fixture
def worker(token_service: TokenService) -> dict[str, Any]:
    return {"token_endpoint": token_service.token_endpoint, "client_id": "worker"}


def test_an_invented_secret_gets_its_own_answer(
    token_service: TokenService, worker: dict[str, Any], cache: TokenCache
) -> None:
    """The token service judges each secret, and the refusal of the wrong one is no matter of the right one's."""
    with AccessTokenManagement(cache=cache) as management:
        management.add_client("wrong too", client_secret="invented", **worker)
        management.add_client("right", client_secret=SECRET, **worker)
        management.add_client("wrong", client_secret="guessed", **worker)
        get = management.service.get_access_token
        with pytest.raises(TokenEndpointError, match="invalid_client"):
            get("wrong too")
        token = get("right")
        with pytest.raises(TokenEndpointError, match="invalid_client"):
            get("wrong")
        assert get("right") is token
    assert len(token_service.requests) == 3


def test_a_tenant_who_knows_the_id_of_another(
    token_service: TokenService, worker: dict[str, Any], cache: TokenCache
) -> None:
    """A resolver's registrations are told apart by their secrets, whatever they are called."""
    secrets = {"tenant a": SECRET, "tenant b": "invented"}
    with AccessTokenManagement(cache=cache) as management:
        management.add_client_resolver(
            lambda name: ClientCredentialsClient(client_secret=lambda: secrets[name], **worker)
        )
        management.service.get_access_token("tenant a")
        with pytest.raises(TokenEndpointError, match="invalid_client"):
            management.service.get_access_token("tenant b")


def test_a_rotation_costs_one_token_request(
    token_service: TokenService, worker: dict[str, Any], tmp_path: Path
) -> None:
    """With the new secret there is one request, for all that have it; with the old one none gets the new token."""
    secret, cache = tmp_path / "secret", FileTokenCache(tmp_path / "tokens", timeout=PATIENCE)
    secret.write_text(SECRET)

    def token() -> str:
        with AccessTokenManagement(cache=cache) as management:
            management.add_client("worker", client_secret={"file": secret}, **worker)
            return management.service.get_access_token().value

    assert token() == token()
    token_service.add_client("worker", "new", scopes="api")
    secret.write_text("new")
    assert token() == token()
    assert len(token_service.requests) == 2
    secret.write_text("never right")
    with pytest.raises(TokenEndpointError, match="invalid_client"):
        token()


def test_a_proof_that_cannot_be_had(worker: dict[str, Any], tmp_path: Path) -> None:
    """Without its secret a client gets nothing out of a cache either; the error names client and file."""
    cache = FileTokenCache(tmp_path / "tokens", timeout=PATIENCE)
    with AccessTokenManagement(cache=cache) as management:
        management.add_client("worker", client_secret={"file": tmp_path / "none"}, **worker)
        for use in (management.service.get_access_token, management.service.delete_access_token):
            with pytest.raises(TokenRequestError, match=r"token client 'worker': the secret's file '.*none'"):
                use()


def test_what_is_deleted_is_what_was_stored(
    token_service: TokenService, worker: dict[str, Any], cache: TokenCache, tmp_path: Path
) -> None:
    """A token is forgotten in the cache though its secret was replaced since, and by a process that never had it."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    for expected, has_it in ((1, True), (2, False)):
        with AccessTokenManagement(cache=cache) as management:
            management.add_client("worker", client_secret={"file": secret}, **worker)
            if has_it:
                management.service.get_access_token()
                secret.write_text("replaced")
            management.service.delete_access_token()
            secret.write_text(SECRET)
            management.service.get_access_token()
            assert len(token_service.requests) == expected + 1


def test_encodings_of_one_secret_share_tokens() -> None:
    """How a secret is written down on the way does not change what it proves."""
    one, other = (wanted(client_secret="s", auth=ClientSecretBasic(encoding)) for encoding in ("form", "raw"))
    assert keys(one) == keys(other)
