"""Client authentication, bound tokens and session parameters in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from requests_cc_token import (
    AccessTokenAdapter,
    AccessTokenManagement,
    ClientAssertion,
    ClientSecretBasic,
    ClientSecretJwt,
    ConfigurationError,
    DPoPKey,
    PrivateKeyJwt,
    TlsClientAuth,
    TokenRequestParameters,
)
from requests_cc_token.authentication.signing_key import generated
from requests_cc_token.demand import Demand
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .strict_service import Authority

CLIENT = """
[clients.w]
token_endpoint = "https://login.example.com/token"
client_id = "worker"
"""


def configured(folder: Path, text: str) -> AccessTokenManagement:
    path = folder / "worker.toml"
    path.write_text(text)
    return AccessTokenManagement.from_config(path)


def client_of(folder: Path, text: str) -> object:
    with configured(folder, CLIENT + text) as management:
        return management.clients["w"]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    import json

    from joserfc.jwk import ECKey

    path = tmp_path / "key.json"
    path.write_text(json.dumps(ECKey.generate_key("P-256").as_dict(private=True)))
    return path


def auth_of(folder: Path, text: str) -> object:
    with configured(folder, CLIENT + text) as management:
        return management.clients["w"].auth


def test_basic_raw(tmp_path: Path) -> None:
    """The raw switch of ``client_secret_basic``."""
    auth = auth_of(tmp_path, 'client_secret = "T41NT"\nencoding = "raw"')
    assert isinstance(auth, ClientSecretBasic)
    assert auth.encoding == "raw"


def test_secret_jwt(tmp_path: Path) -> None:
    """Algorithm and audience stand beside the method."""
    auth = auth_of(
        tmp_path,
        'client_secret = "T41NT"\nauth = "client_secret_jwt"\nalgorithm = "HS512"\n'
        'assertion_audience = "token_endpoint"',
    )
    assert isinstance(auth, ClientSecretJwt)
    assert (auth.algorithm, auth.audience) == ("HS512", "token_endpoint")


def test_private_key_jwt(tmp_path: Path, key_file: Path) -> None:
    """The key in a file, with algorithm, key id and audience."""
    auth = auth_of(
        tmp_path,
        f'auth = "private_key_jwt"\nkey = {{ file = "{key_file}" }}\nalgorithm = "ES256"\nkey_id = "k1"\n'
        'assertion_audience = "https://login.example.com"',
    )
    assert isinstance(auth, PrivateKeyJwt)
    assert (auth.algorithm, auth.audience) == ("ES256", "https://login.example.com")
    assert auth._key.get().key_id == "k1"


def test_mutual_tls(tmp_path: Path) -> None:
    """One file, two files, and an encrypted key with its password."""
    files = Authority(tmp_path).issue("worker")
    for method in ("tls_client_auth", "self_signed_tls_client_auth"):
        with configured(
            tmp_path, CLIENT + f'auth = "{method}"\ncert = ["{files.cert}", "{files.key}"]'
        ) as management:
            client = management.clients["w"]
            assert client.auth.method == method
            certificate = Demand.of(client).certificate
            assert certificate is not None
            assert certificate.thumbprint == files.thumbprint
        text = f'auth = "{method}"\ncert = ["{files.cert}", "{files.key}"]\npassword = {{ env = "P" }}'
        auth = auth_of(tmp_path, text)
        assert isinstance(auth, TlsClientAuth)
        assert auth.method == method
        assert auth.certificate is not None
    assert isinstance(auth_of(tmp_path, f'auth = "tls_client_auth"\ncert = "{files.cert}"'), TlsClientAuth)


def test_an_assertion_of_a_file(tmp_path: Path) -> None:
    """A Kubernetes token, with its type where that is another one."""
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
    auth = auth_of(
        tmp_path, f'auth = "client_assertion"\nassertion = {{ file = "/var/run/token" }}\nassertion_type = "{kind}"'
    )
    assert isinstance(auth, ClientAssertion)
    assert auth.type == kind


def test_dpop(tmp_path: Path, key_file: Path) -> None:
    """A key of a file, or one of this process."""
    for written, fixed in ((f'{{ key = {{ file = "{key_file}" }} }}', False), ('{ generate = "ES384" }', True)):
        with configured(tmp_path, CLIENT + f'client_secret = "T41NT"\ndpop = {written}') as management:
            key = management.clients["w"].dpop
            assert isinstance(key, DPoPKey)
            assert key.is_fixed is fixed
            assert key.algorithm == ("ES384" if fixed else "ES256")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('auth = "private_key_jwt"', "private_key_jwt needs a key"),
        ('auth = "private_key_jwt"\nalgorithm = "ES256"', "private_key_jwt needs a key"),
        ('auth = "client_assertion"', "client_assertion needs an assertion"),
        ('auth = "private_key_jwt"\nkey = "T41NT-key"', "PrivateKeyJwt: the key cannot be used: it is no PEM"),
        ('client_secret = "T41NT"\nkey = "T41NT-key"', "key: of no use with auth = 'client_secret_basic'"),
        ('client_secret = "T41NT"\nkey = "T41NT-key"', 'that is for auth = "private_key_jwt"'),
        ('client_secret = "T41NT"\nauth = "client_secret_post"\nencoding = "raw"', "encoding: of no use"),
        ('auth = "private_key_jwtt"\nkey = "T41NT-key"', "auth is no known method; one of"),
        ('auth = "private_key_jwtt"\nkey = "T41NT-key"', "did you mean 'private_key_jwt'?"),
        ('client_secret = "T41NT"\nauth = ["x"]\nencoding = "raw"', "encoding: of no use"),
        ('client_secret = "T41NT"\nencoding = "cooked"', 'must be "form" or "raw"'),
        ('client_secret = "T41NT"\nauth = "nonsense"', "no known method"),
        ('auth = "tls_client_auth"', "needs a certificate"),
        ('client_secret = "T41NT"\ndpop = true', "dpop must be a DPoPKey"),
        ('client_secret = "T41NT"\ndpop = { generate = "HS256" }', "DPoPKey: algorithm must be one of"),
        ('client_secret = "T41NT"\ndpop = { generate = "ES256", key = "x" }', "dpop must be a DPoPKey"),
    ],
)
def test_entries_that_cannot_work(tmp_path: Path, text: str, reason: str) -> None:
    """The message names file, entry and reason, and shows no secret."""
    with pytest.raises(ConfigurationError) as refused:
        configured(tmp_path, CLIENT + text)
    assert str(refused.value).startswith(f"{tmp_path / 'worker.toml'}: [clients.w]: ")
    assert reason in str(refused.value)


def test_parameters_of_a_session(tmp_path: Path, token_service: TokenService) -> None:
    """``parameters`` of a session are what all its requests ask for."""
    text = f"""
[clients.w]
token_endpoint = "{token_service.token_endpoint}"
client_id = "worker"
client_secret = "{SECRET}"

[sessions.reports]
base_url = "http://localhost:1/"
token_parameters = {{ scope = "reports", resource = ["https://a.example/", "https://b.example/"] }}
"""
    with configured(tmp_path, text) as management:
        adapter = management.make_session("reports").get_adapter("http://localhost:1/")
        assert isinstance(adapter, AccessTokenAdapter)
        assert adapter._policy._token_parameters == TokenRequestParameters(
            scope="reports", resource=["https://a.example/", "https://b.example/"]
        )


def test_parameters_that_cannot_work(tmp_path: Path) -> None:
    """A mistake in them names the session."""
    text = '[sessions.x]\nbase_url = "https://api.example.com/"\ntoken_parameters = { scop = "a" }'
    with pytest.raises(ConfigurationError, match=r"\[sessions.x\]: token_parameters: unknown scop"):
        configured(tmp_path, text)


def test_revoke_on_close(tmp_path: Path) -> None:
    """A switch at the top of the file."""
    with configured(tmp_path, "revoke_on_close = true\n" + CLIENT + 'client_secret = "T41NT"') as management:
        assert management._revoke_on_close
    with pytest.raises(ConfigurationError, match=r"worker.toml: revoke_on_close must be true or false"):
        configured(tmp_path, 'revoke_on_close = "yes"')


def test_keys_are_loaded_by_what_they_say() -> None:
    """A key object is for Python only; in a file it is text or a table."""
    key = generated("ES256", "a test")
    assert isinstance(PrivateKeyJwt(key, "ES256"), PrivateKeyJwt)
