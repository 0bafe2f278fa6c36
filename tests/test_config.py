"""A management from TOML, and what is said of a file that cannot work."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement, ConfigurationError, config
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

TAINT = "t41nted-s3cret"

CLIENT = """
[clients.a]
token_endpoint = "https://login.example.com/token"
client_id = "m2m"
client_secret = "t41nted-s3cret"
"""
SESSION = """
[sessions.api]
base_url = "https://api.example.com/"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "worker.toml"


def refusal(file: Path, content: str | bytes) -> str:
    """What is said of such a file, without the file's name and a colon in front."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError) as refused:
        AccessTokenManagement.from_config(file)
    message = str(refused.value)
    assert message.isprintable(), "one line"
    shown = "".join(traceback.TracebackException.from_exception(refused.value, capture_locals=True).format())
    assert TAINT not in shown.replace(repr(content), "").replace(content if isinstance(content, str) else "", "")
    assert TAINT not in message
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


def test_a_file_with_everything(
    file: Path, token_service: TokenService, api: ProtectedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients with secrets from text, file and environment, the backchannel and sessions: all of it works."""
    token_service.add_client("m2m", TAINT, scopes="api reports")
    (file.parent / "secret").write_text(TAINT + "\n")
    monkeypatch.setenv("WORKER_SECRET", TAINT)
    file.write_text(
        f"""
        [clients.text]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "m2m"
        client_secret = "{TAINT}"

        [clients."from a file"]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "m2m"
        client_secret = {{ file = "{file.parent / "secret"}" }}
        auth = "client_secret_post"
        scope = ["api", "reports"]
        resource = "urn:a"
        audience = "aud"
        parameters = {{ acr = "high" }}
        default_lifetime = 60
        strict_scope = true

        [clients.env]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "m2m"
        client_secret.env = "WORKER_SECRET"
        scope = "api reports"

        [backchannel]
        wait = [1, 2.5]
        timeout = [3, 7]
        max_time = 20
        max_tries = 3

        [sessions.api]
        base_url = "{api.base_url}"
        client = "from a file"
        timeout = [3, 10]
        pool_size = 8
        max_retries = 2
        headers = {{ X-Tenant = "t" }}
        renew_on = []
        keep_authorization = false
        token_patience = 1

        [sessions.plain]
        base_url = "{api.base_url}"
        client = "env"
        timeout = 5
        """
    )
    with AccessTokenManagement.from_config(str(file)) as management:
        for name in ("text", "from a file", "env"):
            assert management.service.get_access_token(name).scope == "api reports"
        session = management.make_session("api")
        assert session.get("echo").json()["headers"]["X-Tenant"] == "t"
        assert vars(session)["timeout"] == (3, 10)
        assert vars(management.make_session("plain"))["timeout"] == 5
        options = management._backchannel.options
        assert (options.wait, options.timeout, options.max_time, options.max_tries) == ((1, 2.5), (3, 7), 20, 3)
    assert [r.auth_method for r in token_service.requests] == [
        "client_secret_basic",
        "client_secret_post",
        "client_secret_basic",
    ]
    assert token_service.requests[1].form["acr"] == "high"


def test_a_mapping_of_the_same_shape(token_service: TokenService, api: ProtectedApi) -> None:
    """What TOML would give, or Django's settings hold; there a callable may be the secret."""
    token_service.add_client("m2m", TAINT, scopes="api")
    configuration = {
        "clients": {
            "a": {
                "token_endpoint": token_service.token_endpoint,
                "client_id": "m2m",
                "client_secret": lambda: TAINT,
            }
        },
        "sessions": {"api": {"base_url": api.base_url}},
    }
    with AccessTokenManagement.from_config(configuration) as management:
        assert management.make_session("api").get("test").ok
    with pytest.raises(ConfigurationError, match=r"^the configuration: unknown client; known are "):
        AccessTokenManagement.from_config({"client": {}})


def test_an_empty_file_is_an_empty_management(file: Path) -> None:
    """Everything may be added by the program."""
    file.write_text("")
    with AccessTokenManagement.from_config(file) as management:
        assert repr(management) == "<AccessTokenManagement clients=[] sessions=[]>"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe", "not valid TOML (it is not UTF-8)"),
        ("[clients", "not valid TOML ("),
        ("a = " + "[" * 50_000, "not valid TOML ("),
        (f'client_secret = "{TAINT}', "not valid TOML ("),
        (f'a = "{TAINT}"\na = "{TAINT}"', "not valid TOML ("),
        (CLIENT + CLIENT, "not valid TOML ("),
        ("[client.a]", "unknown client; known are backchannel, cache, clients"),
        ("clients = 5", "[clients] must be a table"),
        ("sessions = []", "[sessions] must be a table"),
        ("backchannel = 'x'", "[backchannel] must be a table"),
        (f"clients.a = '{TAINT}'", "[clients.a] must be a table"),
        ("[[clients]]", "[clients] must be a table"),
    ],
)
def test_files_that_are_no_configuration(file: Path, content: str | bytes, sentence: str) -> None:
    """The message has the file and what is wrong with it, and nothing of its values."""
    assert refusal(file, content).startswith(sentence)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_files_that_cannot_be_read(file: Path, kind: str) -> None:
    """The system's reason is given."""
    if kind == "folder":
        file.mkdir()
    with pytest.raises(ConfigurationError) as refused:
        AccessTokenManagement.from_config(file)
    reason = "No such file or directory" if kind == "missing" else "Is a directory"
    assert str(refused.value) == f"{file}: cannot be read ({reason})"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('secret = "x"', "unknown secret; known are algorithm, allow_any_resource, allow_http"),
        ('"a\\nb" = 1', "unknown 'a\\nb'; known are"),
        (
            'token_endpoint = "http://login.example.com/"',
            "token client 'a': token_endpoint http://login.example.com/ is",
        ),
        ("token_endpoint = 5", "token client 'a': token_endpoint must be text, not int"),
        ('client_id = ""', "token client 'a': client_id must be printable text"),
        ("client_id = 5", "token client 'a': client_id must be printable text"),
        ('client_secret = ""', "token client 'a': client_secret is empty"),
        ("client_secret = 5", "token client 'a': client_secret must be text, a callable"),
        (f'client_secret = {{ value = "{TAINT}" }}', "token client 'a': client_secret must be text, a callable"),
        (f'client_secret = [["{TAINT}"]]', "token client 'a': client_secret must be text, a callable"),
        ("scope = 5", "token client 'a': scope must be text, or several texts, not int"),
        ('scope = "a\\tb"', "token client 'a': scope"),
        ('resource = "a"', "token client 'a': resource must be an absolute URI"),
        ('audience = ["a"]', "token client 'a': audience must be text, not list"),
        ("parameters = 5", "token client 'a': parameters must be a mapping"),
        ("parameters = { a = 5 }", "token client 'a': the parameter 'a' must be text, or several texts, not int"),
        (f'parameters = {{ client_secret = "{TAINT}" }}', "token client 'a': the parameter 'client_secret' is set by"),
        ('auth = "basic"', "token client 'a': auth is no known method; one of client_secret_basic"),
        ("auth = 5", "token client 'a': auth=int is no known method"),
        ('allow_http = "no"', "token client 'a': token_endpoint: allow_http must be true or false, not str"),
        ('strict_scope = "no"', "token client 'a': strict_scope must be true or false"),
        ("default_lifetime = 0", "token client 'a': default_lifetime must be a number of seconds, more than 0"),
        ("default_lifetime = nan", "token client 'a': default_lifetime must be a number of seconds, more than 0"),
    ],
)
def test_clients_that_cannot_work(file: Path, change: str, sentence: str) -> None:
    """The message has the file, the entry, and what the registration says of it."""
    name = change.partition(" = ")[0]
    kept = "\n".join(line for line in CLIENT.splitlines() if not line.startswith(f"{name} "))
    assert refusal(file, f"{kept}\n{change}\n").startswith(f"[clients.a]: {sentence}")


@pytest.mark.parametrize("missing", ["token_endpoint", "client_id", "client_secret"])
def test_what_a_client_needs(file: Path, missing: str) -> None:
    """What is missing is named."""
    message = refusal(file, "\n".join(line for line in CLIENT.splitlines() if not line.startswith(missing)))
    assert message.startswith("[clients.a]: ")
    assert missing in message


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("pool = 5", "unknown pool; known are allow_http, base_url, client"),
        ('base_url = "http://api.example.com/"', "session 'api': base_url http://api.example.com/ is plain http"),
        (
            f'base_url = "https://u:{TAINT}@api.example.com/"',
            "session 'api': base_url https://***@api.example.com/ must",
        ),
        ("base_url = 5", "session 'api': base_url must be text, not int"),
        ("client = 5", "session 'api': the name of a token client must be printable text"),
        ('allow_http = "no"', "session 'api': base_url: allow_http must be true or false"),
        ('timeout = "10"', "session 'api': timeout must be seconds above 0"),
        ("timeout = [1, 2, 3]", "session 'api': timeout must be seconds above 0"),
        ("pool_size = 1.5", "session 'api': pool_size must be a whole number from 1 on"),
        ('max_retries = "3"', "session 'api': max_retries must be a whole number from 0 on"),
        ("headers = { X-A = 1 }", "session 'api': headers must be a mapping of names to texts"),
        ('renew_on = "false"', "session 'api': renew_on must be several statuses from 400 to 599"),
        ('keep_authorization = "no"', "session 'api': keep_authorization must be true or false"),
        ('token_patience = "5"', "session 'api': token_patience must be a number of seconds"),
        ("token_parameters = 5", "token_parameters must be a table"),
        ("token_parameters = { scopes = 'a' }", "token_parameters: unknown scopes; known are allow_any_resource"),
        ('token_parameters = { force_renewal = "no" }', "TokenRequestParameters: force_renewal must be true or false"),
    ],
)
def test_sessions_that_cannot_work(file: Path, change: str, sentence: str) -> None:
    """Likewise."""
    kept = "" if change.startswith("base_url") else SESSION.splitlines()[2]
    assert refusal(file, f"{CLIENT}\n[sessions.api]\n{kept}\n{change}\n").startswith(f"[sessions.api]: {sentence}")


def test_a_session_needs_an_address(file: Path) -> None:
    """What is missing is named."""
    assert refusal(file, "[sessions.api]") == "[sessions.api]: base_url is missing"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("session = 5", "unknown session; known are max_time, max_tries, proxies, timeout, verify, wait"),
        ("wait = 5", "backchannel: wait must be the seconds between the tries"),
        ('wait = ["1"]', "backchannel: wait must be a number of seconds"),
        ("timeout = 0", "backchannel: timeout must be a number of seconds"),
        ("timeout = [1, 2, 3]", "backchannel: timeout must be seconds, or (connect, read) seconds"),
        ("max_time = true", "backchannel: max_time must be a number of seconds"),
        ("max_tries = 0", "backchannel: max_tries must be a whole number above 0"),
        ('verify = "no"', "backchannel: verify must be a CA bundle's path, or False"),
        ("proxies = 5", "backchannel: proxies must be a mapping"),
    ],
)
def test_backchannels_that_cannot_work(file: Path, change: str, sentence: str) -> None:
    """Likewise."""
    assert refusal(file, f"[backchannel]\n{change}\n").startswith(f"[backchannel]: {sentence}")


def test_names_that_are_no_bare_keys(file: Path) -> None:
    """An entry's name is shown as TOML would write it, line breaks and all, in one line."""
    assert refusal(file, '[clients."a b"]').startswith("[clients.'a b']: client_id is missing")
    assert refusal(file, '[sessions."a\\nb"]\nbase_url = "https://a.test/"').startswith(
        "[sessions.'a\\nb']: the name of a session must be printable text"
    )
    with pytest.raises(
        ConfigurationError, match=r"^the configuration: \[clients\.5\]: the name of a token client must"
    ):
        AccessTokenManagement.from_config(
            {"clients": {5: {"token_endpoint": "https://a.test/", "client_id": "m2m", "client_secret": TAINT}}}
        )


ODD_VALUES: list[Any] = [
    *(object(), b"", {1: 2}, {"a": {}}, [None], [[]], 10**400, lambda: 5, None, "", "x", "\0", -1, 1.5, True),
    *(float("nan"), {"file": 5}, {"file": "\0"}, {"env": "\0"}, {"env": "X"}, [1], ["a"]),
]
METHODS = "client_secret_jwt private_key_jwt tls_client_auth self_signed_tls_client_auth client_assertion".split()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        *(("clients", key) for key in sorted(config._CLIENT_KEYS)),
        *(("sessions", key) for key in sorted(config._SESSION_KEYS)),
        *(("backchannel", key) for key in sorted(config._BACKCHANNEL_KEYS)),
    ],
)
def test_no_odd_value_raises_anything_else(table: str, key: str) -> None:
    """From a mapping anything may come; it is accepted or refused as a configuration error that names the entry."""
    entries: dict[str, list[dict[str, Any]]] = {
        "clients": [
            {"token_endpoint": "https://a.test/", "client_id": "m2m", "client_secret": TAINT},
            *({"token_endpoint": "https://a.test/", "client_id": "m2m", "auth": method} for method in METHODS),
        ],
        "sessions": [{"base_url": "https://a.test/"}],
        "backchannel": [{}],
    }
    refusals: list[str] = []
    for entry in entries[table]:
        for value in ODD_VALUES:
            odd = {**entry, key: value}
            try:
                AccessTokenManagement.from_config({table: odd if table == "backchannel" else {"a": odd}}).close()
            except ConfigurationError as error:
                refusals.append(str(error))
    assert len(refusals) >= 10
    assert all(message.startswith(f"the configuration: [{table}") for message in refusals)
    assert TAINT not in str(refusals)


def test_a_keyword_that_a_method_lacks_is_named() -> None:
    """With those that it has, and the one that was meant."""
    table = {"method": "private_key_jwt", "key": {"env": "KEY"}, "lifetme": 30}
    entry = {"token_endpoint": "https://a.test/", "client_id": "m2m", "auth": table}
    with pytest.raises(ConfigurationError, match=r"private_key_jwt has no 'lifetme'.*did you mean 'lifetime'"):
        AccessTokenManagement.from_config({"clients": {"erp": entry}})


@pytest.mark.parametrize("name", ["NOT_SET", "EMPTY", "A=B", "\0"])
def test_a_text_of_the_environment_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said where the configuration is read, not at the first request."""
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    entry = {"token_endpoint": {"env": name}, "client_id": "m2m", "client_secret": TAINT}
    with pytest.raises(ConfigurationError, match=r"token_endpoint: (the environment variable|env must be)"):
        AccessTokenManagement.from_config({"clients": {"erp": entry}})


def test_a_text_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is as good as one that is written there."""
    monkeypatch.setenv("ENDPOINT", "https://a.test/")
    monkeypatch.setenv("SCOPE", "api")
    entry = {"token_endpoint": {"env": "ENDPOINT"}, "client_id": "m", "client_secret": TAINT}
    with AccessTokenManagement.from_config({"clients": {"erp": {**entry, "scope": [{"env": "SCOPE"}]}}}) as management:
        client = management.clients["erp"]
        assert (client.token_endpoint, client.scope) == ("https://a.test/", ("api",))
