"""Answers of real token services, by one table: each token is taken, each refusal says what was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from requests_cc_token import ClientCredentialsClient, InvalidTokenResponseError, TokenEndpointError
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.clients import DEFAULT_LIFETIME
from requests_cc_token.demand import Demand
from requests_cc_token.endpoint.answer import Answer
from requests_cc_token.endpoint.token_answer import read_token_answer
from requests_cc_token.expiry import Moment
from requests_cc_token.tokens import AccessToken

from .vendor_answers import NOW, REFUSALS, TOKENS, Refusal, Token

ENDPOINT = "https://login.example.com/token"
SECRET = "T41NT-s3cret"


def answered(body: Any, status: int, headers: dict[str, str]) -> Answer:
    request = TokenRequest(ENDPOINT)
    request.note_secret(SECRET)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(request, Moment(500.0, NOW), status, CaseInsensitiveDict(headers), data)


def demand(**options: Any) -> Demand:
    return Demand.of(
        ClientCredentialsClient("a", token_endpoint=ENDPOINT, client_id="m2m", client_secret=SECRET, **options)
    )


@pytest.mark.parametrize("said", TOKENS, ids=lambda said: said.vendor)
def test_tokens(said: Token) -> None:
    """Each is read as the vendor means it, stored and presented unchanged, and never shown."""
    answer = answered(said.body, said.status, {"Content-Type": said.content_type})
    token = read_token_answer(answer, demand(**said.options))
    assert token.authorization == f"Bearer {said.value}"
    assert token.expires_at == NOW + (DEFAULT_LIFETIME if said.lifetime is None else said.lifetime)
    assert token.scope == said.scope
    assert "refresh_token" not in token.extra
    assert AccessToken.from_record(json.loads(json.dumps(token.to_record()))) == token
    assert said.value not in repr(token) or len(said.value) == 1


@pytest.mark.parametrize(
    "said", [each for each in TOKENS if each.options and "parameters" not in each.options], ids=lambda said: said.vendor
)
def test_the_error_names_the_option(said: Token) -> None:
    """Without its option the answer is refused, and the message says which one takes it; the token is not repeated."""
    with pytest.raises(InvalidTokenResponseError) as refused:
        read_token_answer(answered(said.body, said.status, {"Content-Type": said.content_type}), demand())
    assert any(f"{option}=" in str(refused.value) for option in said.options)
    assert refused.value.response_text is not None
    assert said.value not in f"{refused.value} {refused.value.response_text}"


@pytest.mark.parametrize("said", REFUSALS, ids=lambda said: said.vendor)
def test_refusals(said: Refusal) -> None:
    """The message has what the vendor said, in one printable line; the exception has the code and all of the text."""
    with pytest.raises(TokenEndpointError) as refused:
        read_token_answer(answered(said.body, said.status, dict(said.headers)), demand())
    error = refused.value
    assert said.said in str(error)
    assert str(error).isprintable()
    assert (error.status_code, error.error, error.transient) == (said.status, said.code, said.transient)
    assert (error.response_text is None) == (said.body == b"")
