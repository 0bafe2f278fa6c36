"""The token of a CI job as client assertion, against a double of the service that GitHub's runners ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from requests_cc_token import (
    AccessTokenManagement,
    AmbientAssertion,
    ClientCredentialsClient,
    ConfigurationError,
    TokenRequestError,
)
from requests_cc_token.cli.app import run
from requests_cc_token.demand import Demand

from .scripted_server import Action, Request, ScriptedServer, answer, error_answer
from .strict_fixtures import KEY, empty_management, fetch  # noqa: F401 - fixtures
from .strict_service import StrictTokenService

pytest.importorskip("id", reason="the extra ambient is not installed")

AUDIENCE = "https://login.example.com"
JOB = "repo:octo-org/orders:ref:refs/heads/main"
RUNNER = "T41NT-runner"


class GitHub(ScriptedServer):
    """What ``ACTIONS_ID_TOKEN_REQUEST_URL`` leads to: an identity of the job for an audience, signed with ``KEY``."""

    def __init__(self) -> None:
        super().__init__()
        self.respond = self._respond

    def _respond(self, request: Request) -> Action | None:
        if self.script:
            return None
        query = parse_qs(urlsplit(request.target).query)
        if request.headers.get("authorization") != f"bearer {RUNNER}" or query["api-version"] != ["2.0"]:
            return error_answer(401, "unauthorized")
        claims = {"iss": "https://token.actions.githubusercontent.com", "sub": JOB, "aud": query["audience"][0]}
        token = KEY.sign({"typ": "JWT"}, {**claims, "jti": f"T41NT-{len(self.requests)}"})
        return answer(200, {"count": 1, "value": token})


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that vouches for nobody."""
    for name in ("GITHUB_ACTIONS", "BUILDKITE", "GITLAB_CI", "CIRCLECI", "GOOGLE_SERVICE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    # Where the kernel says that the machine is Google's.
    monkeypatch.setattr("id._internal.oidc.ambient._GCP_PRODUCT_NAME_FILE", str(tmp_path / "product"))


@pytest.fixture
def github(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """A job of GitHub Actions that may ask for its identity."""
    with GitHub() as github:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", RUNNER)
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{github.url}idtoken?api-version=2.0")
        yield github


@pytest.fixture
def service() -> Iterator[StrictTokenService]:
    """The token service, which has federated with the issuer of jobs."""
    with StrictTokenService() as service:
        service.keys[JOB] = KEY.public_jwk
        service.audience = AUDIENCE
        yield service


def add(management: AccessTokenManagement, service: StrictTokenService) -> None:
    management.add_client("w", token_endpoint=service.token_endpoint, client_id=JOB, auth=AmbientAssertion(AUDIENCE))


def failed(management: AccessTokenManagement, service: StrictTokenService) -> TokenRequestError:
    management.configure_backchannel(max_tries=1)
    add(management, service)
    with pytest.raises(TokenRequestError) as refused:
        fetch(management)
    assert service.requests == []
    return refused.value


def test_the_jobs_identity_gets_a_token(
    management: AccessTokenManagement, service: StrictTokenService, github: GitHub
) -> None:
    """Asked for at each token request, for the audience; it is all that is sent."""
    add(management, service)
    fetch(management)
    management.service.delete_access_token()
    fetch(management)
    assert len(github.requests) == 2
    assert [claims["aud"] for _, claims in service.assertions] == [AUDIENCE, AUDIENCE]
    form = service.requests[0].form
    assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    assert form["client_id"] == [JOB]


def test_from_a_file(service: StrictTokenService, github: GitHub, tmp_path: Path) -> None:
    """By a name and the audience."""
    with AccessTokenManagement.from_config(configured(service, tmp_path)) as management:
        assert repr(management.clients["w"].auth) == f"AmbientAssertion(audience={AUDIENCE!r})"
        fetch(management)


def configured(service: StrictTokenService, folder: Path) -> Path:
    file = folder / "worker.toml"
    file.write_text(
        f'[clients.w]\ntoken_endpoint = "{service.token_endpoint}"\nclient_id = "{JOB}"\n'
        f'auth = "ambient_assertion"\nassertion_audience = "{AUDIENCE}"\n'
    )
    return file


def test_a_check_asks_nobody_unless_it_may(service: StrictTokenService, github: GitHub, tmp_path: Path) -> None:
    """``check`` sends nothing, to the platform neither; with ``--live`` it asks for the identity."""
    check = ["check", "--config", str(configured(service, tmp_path))]
    assert run(check) == 0
    assert github.requests == []
    assert run([*check, "--live"]) == 0
    assert len(github.requests) == 1


def test_a_job_that_may_not_ask(
    management: AccessTokenManagement, service: StrictTokenService, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says what its workflow lacks; that will not pass by itself."""
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    error = failed(management, service)
    assert "token client 'w': GitHub gives this job no identity; its workflow needs `permissions:" in str(error)
    assert not error.transient


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (error_answer(403, RUNNER), "GitHub: OIDC token request failed (code=403"),
        (answer(200, {"value": "no token"}), "Malformed token"),
        (answer(200, {"count": 0}), "GitHub: malformed or incomplete JSON"),
    ],
    ids=["refused", "malformed", "empty"],
)
def test_an_identity_that_cannot_be_had(
    management: AccessTokenManagement, service: StrictTokenService, github: GitHub, said: Action, reason: str
) -> None:
    """Is told in the words of what asked for it, without what was answered; it may pass."""
    github.script.append(said)
    error = failed(management, service)
    assert reason in str(error)
    assert RUNNER not in str(error)
    assert error.transient


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://127.0.0.1:1/idtoken?T41NT", "GitHub: OIDC token request timed out"), ("http://[T41NT", "ValueError")],
    ids=["not there", "no URL"],
)
def test_a_service_that_is_not_there(
    management: AccessTokenManagement,
    service: StrictTokenService,
    github: GitHub,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    reason: str,
) -> None:
    """Is told as `id` does; what that does not name is told by its kind only: its sentence may hold the URL."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", url)
    error = failed(management, service)
    assert f"the machine's own identity could not be had ({reason})" in str(error)
    assert error.transient


def test_a_machine_that_vouches_for_nobody(
    management: AccessTokenManagement, service: StrictTokenService, nowhere: None
) -> None:
    """Is told with those that would; that will not pass."""
    error = failed(management, service)
    assert "this machine has no identity of its own; known are jobs of GitHub" in str(error)
    assert not error.transient


def test_its_tokens_stay_in_the_process() -> None:
    """What the job's identity is, is not known before it is asked for: no other process is given what it brought."""

    def keys() -> tuple[str, str]:
        options: Any = {"token_endpoint": AUDIENCE, "client_id": JOB, "auth": AmbientAssertion(AUDIENCE)}
        demand = Demand.of(ClientCredentialsClient("w", **options))
        assert demand.stored_key() == demand.stored_key()
        return demand.cache_key, demand.stored_key()

    assert len({*keys(), *keys()}) == 4


@pytest.mark.parametrize("audience", ["", 5, "a\nb", None])
def test_audiences_that_are_none(audience: Any) -> None:
    """Are refused where they are said."""
    with pytest.raises(ConfigurationError, match="AmbientAssertion: audience must be printable text"):
        AmbientAssertion(audience)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "id", None)
    with pytest.raises(ConfigurationError, match=r"pip install requests_cc_token\[ambient\]"):
        AmbientAssertion(AUDIENCE)
