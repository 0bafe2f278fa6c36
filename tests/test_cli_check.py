"""``check`` without ``--live``: every problem that can be seen without sending, by its name, with what to do."""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from requests_cc_token.authentication.certificate import ClientCertificate
from requests_cc_token.cli import files
from requests_cc_token.cli.app import run
from requests_cc_token.cli.outcome import Exit, exit_code
from requests_cc_token.exceptions import TokenCacheError

NOW = datetime.datetime.now(datetime.timezone.utc)


def client_files(folder: Path, *, ends: datetime.datetime) -> tuple[Path, Path]:
    """A client certificate that ends at this moment, and its key."""
    begins = NOW - datetime.timedelta(days=100)
    issued = trustme.CA().issue_cert("worker", not_before=begins, not_after=ends)
    paths = folder / "worker.pem", folder / "worker.key"
    issued.cert_chain_pems[0].write_to_path(paths[0])
    issued.private_key_pem.write_to_path(paths[1])
    paths[1].chmod(0o600)
    return paths


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def check(config: Path, text: str, *arguments: str) -> int:
    config.write_text(text)
    return run(["check", "--config", str(config), *arguments])


def client(more: str = "", secret: str = 'client_secret = "s3cret-of-the-test"') -> str:
    return f"""
        [clients.erp]
        token_endpoint = "https://token.example/"
        client_id = "worker"
        {secret}
        {more}
    """


def told(capsys: pytest.CaptureFixture[str], verdict: str) -> list[str]:
    """The lines of one verdict."""
    out = capsys.readouterr().out
    assert "s3cret-of-the-test" not in out
    return [line.removeprefix(verdict).strip() for line in out.splitlines() if line.startswith(verdict)]


def test_all_problems_of_all_clients_and_sessions(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the first one only, and each is told where it is."""
    text = """
        surplus = 1
        [clients.one]
        token_endpoint = "ftp://token.example/"
        client_id = 7
        client_secret = "s3cret-of-the-test"
        scopes = "api"
        [clients.two]
        client_id = "worker"
        client_secret = "s3cret-of-the-test"
        [sessions.main]
        base_url = "api.example"
        client = "three"
    """
    assert check(config, text) == 2
    problems = told(capsys, "problem")
    for about, said in [
        ("configuration", "surplus"),
        ("client one", "token_endpoint"),
        ("client one", "client_id"),
        ("client one", "scopes"),
        ("client two", "token_endpoint"),
        ("session main", "base_url"),
        ("session main", "'three'"),
    ]:
        assert any(line.startswith(f"{about}: ") and said in line for line in problems), (about, said, problems)


@pytest.mark.parametrize("text", ["clients = 1", "sessions = []\n" + client(), "clients.erp = 1"])
def test_tables_that_are_none(config: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A problem, not a traceback."""
    assert check(config, text) == 2
    assert told(capsys, "problem")


def test_a_client_that_there_is_not(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named with those that there are; ``--session`` needs ``--live``."""
    assert check(config, client(), "erp") == 0
    assert check(config, client(), "nobody") == 2
    assert "'nobody'; the configuration has 'erp'" in capsys.readouterr().err
    assert check(config, "", "nobody") == 2
    assert "the configuration has none" in capsys.readouterr().err
    assert check(config, client(), "--session", "main") == 2
    assert "--session goes with --live" in capsys.readouterr().err


def test_named_clients_only(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong elsewhere is not told then."""
    text = client() + '[clients.bad]\nclient_id = 7\n[sessions.bad]\nbase_url = "x"'
    assert check(config, text, "erp") == 0
    assert told(capsys, "ok")[0].startswith("client erp: https://token.example/, id worker")


def test_a_backchannel_that_is_wrong_is_told_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And does not hide what is said of the clients."""
    assert check(config, client() + "[backchannel]\nmax_tries = -1\nwrong = 1") == 2
    lines = told(capsys, "problem")
    assert [line.partition(":")[0] for line in lines] == ["configuration", "configuration"]


@pytest.mark.parametrize(
    ("variables", "coloured"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_have_some(
    config: Path,
    variables: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A terminal that does not know what colours are would show how they are switched on."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    check(config, "clients = 1")
    assert ("\x1b[" in capsys.readouterr().out) is coloured


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The findings with documented keys."""
    assert check(config, "clients = 1", "--json") == 2
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 2
    assert said["findings"][0]["verdict"] == "problem"


class TestFiles:
    def secret(self, config: Path, mode: int) -> str:
        path = config.parent / "secret"
        path.write_text("s3cret-of-the-test")
        path.chmod(mode)
        return client(secret='client_secret = { file = "secret" }')

    def test_a_secret_that_others_may_read(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A warning that says how to close it; the check passes."""
        assert check(config, self.secret(config, 0o644)) == 0
        (line,) = told(capsys, "warning")
        assert "others than its owner may use" in line
        assert "(mode 0644)" in line
        assert f"chmod 600 {config.parent / 'secret'}" in line

    def test_a_secret_of_ones_own(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Nothing to tell."""
        assert check(config, self.secret(config, 0o600)) == 0
        assert told(capsys, "warning") == []

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
    def test_a_pipe_is_not_waited_for(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A key has to be a file that can be read again."""
        os.mkfifo(config.parent / "pipe")
        assert check(config, client(secret='auth = "private_key_jwt"\nkey = { file = "pipe" }')) == 2
        (line,) = told(capsys, "warning")
        assert "it is no regular file, so it was not looked at" in line

    def test_a_file_that_is_not_there(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Is one problem, with its path and the reason."""
        assert check(config, client(secret='client_secret = { file = "nowhere" }')) == 2
        (line,) = told(capsys, "problem")
        assert f"the secret's file '{config.parent / 'nowhere'}': No such file" in line

    @pytest.mark.parametrize(("key", "kept"), [("url", "file:tokens"), ("key", "a" * 43 + "=")])
    def test_those_of_the_store_are_looked_at_too(
        self, config: Path, capsys: pytest.CaptureFixture[str], key: str, kept: str
    ) -> None:
        """What encrypts the tokens, and an address that may hold a password, are secrets as any."""
        cache = {"url": '"file:tokens"', key: '{ file = "secret" }'}
        text = client(secret='client_secret = { env = "PATH" }')
        text += "[cache]\n" + "".join(f"{name} = {value}\n" for name, value in cache.items())
        assert check(config, text) == 2
        (line,) = told(capsys, "problem")
        assert f"the secret's file '{config.parent / 'secret'}': No such file" in line
        (config.parent / "secret").write_text(kept)
        (config.parent / "secret").chmod(0o640)
        assert check(config, text) == 0
        (line,) = told(capsys, "warning")
        assert f"cache: {key}: others than its owner may use {config.parent / 'secret'} (mode 0640)" in line

    @pytest.mark.parametrize(
        ("days", "verdict", "said"),
        [(400.5, "warning", None), (10.5, "warning", "the certificate ends in 10 days; replace it in time")],
    )
    def test_certificates_that_end(
        self, config: Path, days: float, verdict: str, said: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A month before their end they are warned of; one file or two, in a table or in the short form."""
        pair = client_files(config.parent, ends=NOW + datetime.timedelta(days=days))
        ClientCertificate(*pair)
        for more in (
            f'auth = "tls_client_auth"\ncert = ["{pair[0]}", "{pair[1]}"]',
            f'auth = {{ method = "tls_client_auth", cert = "{pair[0]}", key = "{pair[1]}" }}',
        ):
            assert check(config, client(more, secret="")) == 0
            lines = told(capsys, verdict)
            assert [line for line in lines if "ends in" in line] == [line for line in lines if said and said in line]
            assert bool(said) == any("ends in" in line for line in lines)

    def test_a_certificate_that_has_ended(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Is a problem."""
        pair = client_files(config.parent, ends=NOW - datetime.timedelta(days=3.5))
        more = f'auth = "tls_client_auth"\ncert = ["{pair[0]}", "{pair[1]}"]'
        assert check(config, client(more, secret="")) == 2
        assert any("the certificate ended 4 days ago; replace it" in line for line in told(capsys, "problem"))

    def test_what_is_no_certificate_has_no_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor has any where there is nothing to read it with."""
        broken = b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n"
        assert files.certificate_expiries(broken + b"and more") == []
        monkeypatch.setitem(sys.modules, "cryptography", None)
        assert files.certificate_expiries(broken) == []


class TestWays:
    def test_what_applies_to_a_url(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Which proxy, which authorities, and that a netrc file is not used."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine token.example login a password s3cret-of-the-test")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cret-of-the-test@proxy.example:8080")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ca.pem")
        assert check(config, client()) == 0
        notes = "\n".join(told(capsys, "note"))
        assert "https://token.example/ is reached by the proxy http://***@proxy.example:8080" in notes
        assert "https://token.example/: certificates are verified by /etc/ca.pem" in notes
        assert "a netrc file has a password for https://token.example/, which is never used here" in notes

    def test_certificates_that_nobody_verifies(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Are noted."""
        assert check(config, client() + "[backchannel]\nverify = false") == 0
        assert any("certificates are not verified" in line for line in told(capsys, "note"))

    def test_plain_http_has_no_certificates(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """So nothing is said of them."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ca.pem")
        assert check(config, client().replace("https://token.example/", "http://127.0.0.1:1/")) == 0
        assert not any("certificates" in line for line in told(capsys, "note"))


def test_the_log_is_shown_where_asked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-v, and twice for the libraries' too; the loggers are left as they were."""
    before = (logging.getLogger("requests_cc_token").level, logging.getLogger().level)
    endpoint = client().replace("https://token.example/", "http://127.0.0.1:1/")
    config.write_text(f"{endpoint}\n[backchannel]\nmax_tries = 1")
    assert run(["-v", "--config", str(config), "token"]) == 4
    err = capsys.readouterr().err
    assert " requests_cc_token: " in err
    assert "urllib3" not in err
    assert run(["-vv", "--config", str(config), "token"]) == 4
    assert " urllib3.connectionpool: " in capsys.readouterr().err
    assert (logging.getLogger("requests_cc_token").level, logging.getLogger().level) == before


def test_errors_have_their_exit_codes() -> None:
    """The store's is 6; an error that nobody expects is the call's own."""
    assert exit_code(TokenCacheError("x")) is Exit.STORE
    assert exit_code(OSError()) is Exit.FAILED


def test_a_grant_is_looked_at(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files are judged like any; what another client's token is exchanged for is told with the first request."""
    client_files(config.parent, ends=NOW + datetime.timedelta(days=300))
    (config.parent / "token").write_text("token")
    (config.parent / "token").chmod(0o644)
    exchange = 'type = "token_exchange", subject_token_type = "jwt"'
    assert check(config, client('grant = { type = "jwt_bearer", key = { file = "worker.key" } }', "")) == 0
    assert "erp: https://token.example/, id worker, none, grant jwt-bearer" in told(capsys, "ok")[0]
    assert check(config, client('grant = { type = "jwt_bearer", key = { file = "none.key" } }', "")) == 2
    (line,) = told(capsys, "problem")
    assert "none.key': No such file" in line
    assert check(config, client(f'grant = {{ {exchange}, subject_token = {{ file = "token" }} }}')) == 0
    assert any("subject_token: others than its owner may use" in line for line in told(capsys, "warning"))
    assert check(config, client(f'grant = {{ {exchange}, subject_token = {{ client = "erp2" }} }}')) == 0
    assert "grant token-exchange, secret from" in told(capsys, "ok")[0]


@pytest.mark.parametrize(
    "more",
    [
        'auth = "private_key_jwt"\nkey = { file = "none.key" }\nheader_type = "JWT"',
        'auth = "private_key_jwt"\nkey = "nonsense"\nalgorithm = "ES256"',
        'auth = "private_key_jwtt"\nkey = { env = "WORKER_KEY" }',
    ],
)
def test_one_fault_of_a_method_is_one_problem(config: Path, capsys: pytest.CaptureFixture[str], more: str) -> None:
    """What belongs to a method that cannot work is not held against the method that is the default."""
    assert check(config, client(more, "")) == 2
    said = told(capsys, "problem")
    assert not [line for line in said if "of no use" in line or "client_secret_basic needs" in line]
    assert len([line for line in said if "key: " not in line]) == 1


def test_each_secret_of_a_list_is_looked_at(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its file may be missing, or open to others."""
    (config.parent / "old").write_text("s3cret-of-the-test")
    (config.parent / "old").chmod(0o644)
    assert check(config, client('client_secret = [{ file = "new" }, { file = "old" }]', "")) == 2
    out = capsys.readouterr().out
    assert "client_secret: " + str(config.parent / "new") + ": No such file" in out
    assert "others than its owner may use " + str(config.parent / "old") in out


PEM = "-----BEGIN PRIVATE KEY-----\\ns3cret-of-the-test\\n-----END PRIVATE KEY-----"
ENVIRONMENT = '{ env = "NAME" }'
FILE_OR_ENVIRONMENT = '{ file = "PATH" } or { env = "NAME" }'


@pytest.mark.parametrize(
    ("text", "about", "key", "instead"),
    [
        (client(), "client erp", "client_secret", FILE_OR_ENVIRONMENT),
        (
            client(secret='client_secret = [{ file = "x" }, "s3cret-of-the-test"]'),
            "client erp",
            "client_secret",
            FILE_OR_ENVIRONMENT,
        ),
        (client(secret=f'auth = "private_key_jwt"\nkey = "{PEM}"'), "client erp", "key", FILE_OR_ENVIRONMENT),
        (
            client(secret=f'auth = {{ method = "private_key_jwt", key = "{PEM}" }}'),
            "client erp",
            "auth.key",
            FILE_OR_ENVIRONMENT,
        ),
        (
            client(secret='grant = { type = "jwt_bearer", key = { kty = "EC", d = "s3cret-of-the-test" } }'),
            "client erp",
            "grant.key",
            FILE_OR_ENVIRONMENT,
        ),
        (
            client(secret='auth = "private_key_jwt"\nkey = { file = "k" }\npassword = "s3cret-of-the-test"'),
            "client erp",
            "password",
            FILE_OR_ENVIRONMENT,
        ),
        (
            client(secret='parameters = { password = "s3cret-of-the-test", tenant = "7" }'),
            "client erp",
            "parameters.password",
            ENVIRONMENT,
        ),
        ('[cache]\nurl = "file:tokens"\nkey = "s3cret-of-the-test"', "cache", "key", FILE_OR_ENVIRONMENT),
        ('[cache]\nurl = "file:tokens"\nkey = ["s3cret-of-the-test"]', "cache", "key", FILE_OR_ENVIRONMENT),
        ('[cache]\nurl = "redis://:s3cret-of-the-test@store.example"', "cache", "url", FILE_OR_ENVIRONMENT),
        (
            '[backchannel]\nproxies = { https = "http://user:s3cret-of-the-test@proxy.example" }',
            "backchannel",
            "proxies.https",
            ENVIRONMENT,
        ),
    ],
)
def test_a_secret_that_stands_in_the_file(
    config: Path, text: str, about: str, key: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is warned of, by its key, with what to write instead; whatever else is wrong."""
    check(config, text)
    (line,) = [line for line in told(capsys, "warning") if "stands in" in line]
    assert line == f"{about}: {key}: the secret stands in {config} itself; write {key} = {instead} instead"


@pytest.mark.parametrize(
    "text",
    [
        client(secret='client_secret = { env = "S3CRET" }'),
        client(secret='client_secret = [{ file = "new" }, { file = "old" }]'),
        client(secret='auth = "private_key_jwt"\nkey = { file = "key" }'),
        client(secret='auth = { method = "tls_client_auth", cert = "worker.pem", key = "worker.key" }'),
        client(secret='parameters = { tenant = "7" }\nheaders = { Accept = "x" }'),
        '[cache]\nurl = "file:tokens"\nkey = { env = "S3CRET" }',
        '[cache]\nurl = "redis://store.example"\nkey = 7',
        '[backchannel]\nproxies = { https = "http://proxy.example", http = "http://[" }',
    ],
)
def test_a_secret_that_stands_elsewhere(config: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Is not said to stand in the file."""
    check(config, text)
    assert [line for line in told(capsys, "warning") if "stands in" in line] == []


def test_a_secret_in_the_file_is_no_failure(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check passes, with -q it is all that is told, and the client's own line does not name the program for it."""
    assert check(config, client()) == 0
    assert "secret from plain text" in capsys.readouterr().out
    assert run(["-q", "check", "--config", str(config)]) == 0
    assert capsys.readouterr().out.count("\n") == 1
