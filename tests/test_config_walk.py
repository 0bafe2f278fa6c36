"""Every key of a file: its texts may be the environment's, and its relative files count from the file's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from requests_cc_token import AccessTokenManagement, FileTokenCache
from requests_cc_token import config as files
from requests_cc_token.authentication.by_name import METHODS, keys_beside_auth
from requests_cc_token.authentication.signing_key import generated
from requests_cc_token.config import Entry, Plan, read_plan
from requests_cc_token.grants.by_name import GRANTS, keywords_of
from requests_cc_token.secret_source import secret_source

CLIENT: dict[str, Any] = {"token_endpoint": "https://login.example.com/token", "client_id": "m", "client_secret": "s"}
SESSION: dict[str, Any] = {"base_url": "https://api.example.com/"}

#: A value of each key of a client: texts at any depth.
CLIENTS: dict[str, Any] = {
    "token_endpoint": "https://login.example.com/other",
    "issuer": "https://login.example.com",
    "client_id": "worker",
    "client_secret": "secret",
    "scope": ["read", "write"],
    "resource": ["urn:a", "urn:b"],
    "audience": "api",
    "parameters": {"account": "7", "env": "test"},
    "authorization_details": [{"type": "payment", "locations": ["https://bank.example/"], "limit": {"in": "EUR"}}],
    "auth": "client_secret_post",
    "dpop": {"generate": "ES256"},
    "cert": ["client.pem", "client.key"],
    "token_type": "Bearer",
    "grant_type": "account_credentials",
    "grant": {"type": "jwt_bearer", "key": {"file": "client.key"}, "claims": {"scope": "s", "account": {"id": "7"}}},
    "headers": {"X-Key": "7"},
    "revocation_endpoint": "https://login.example.com/revoke",
    "introspection_endpoint": "https://login.example.com/introspect",
}
#: Those that are no text.
NO_TEXTS = {"allow_any_resource", "allow_http", "default_lifetime", "strict_scope"}

#: The keys of methods, with what stands beside them; and those of grants.
BESIDE_AUTH: dict[str, dict[str, Any]] = {
    "encoding": {"encoding": "raw"},
    "key": {"auth": "private_key_jwt", "key": "KEY"},
    "password": {"auth": "private_key_jwt", "key": {"file": "client.key"}, "password": "s"},
    "algorithm": {"auth": "client_secret_jwt", "algorithm": "HS512"},
    "key_id": {"auth": "private_key_jwt", "key": {"file": "client.key"}, "key_id": "k"},
    "assertion_audience": {"auth": "client_secret_jwt", "assertion_audience": "a"},
    "header_type": {"auth": "client_secret_jwt", "header_type": "JWT"},
    "assertion": {"auth": "client_assertion", "assertion": {"file": "token"}},
    "assertion_type": {"auth": "client_assertion", "assertion": {"file": "token"}, "assertion_type": "urn:x"},
}
GRANT_TEXTS: dict[str, dict[str, Any]] = {
    "jwt_bearer": {
        "key": "KEY",
        "algorithm": "ES256",
        "key_id": "k",
        "audience": "a",
        "issuer": "i",
        "subject": "s",
        "claims": {"scope": "x", "list": ["y", {"z": "z"}]},
        "password": "p",
        "header_type": "JWT",
    },
    "token_exchange": {
        "subject_token": {"file": "token"},
        "subject_token_type": "jwt",
        "requested_token_type": "jwt",
        "actor_token": {"file": "token"},
        "actor_token_type": "jwt",
    },
}
SESSIONS: dict[str, Any] = {
    "base_url": "https://api.example.com/v2/",
    "client": "w",
    "headers": {"X-Tenant": "7"},
    "token_parameters": {
        "scope": "read",
        "resource": "urn:a",
        "audience": "a",
        "parameters": {"tenant": "7"},
        "authorization_details": [{"type": "payment"}],
    },
}
NO_SESSION_TEXTS = {
    "timeout", "pool_size", "max_retries", "allow_http", "renew_on", "keep_authorization", "token_patience"
}  # fmt: skip
BACKCHANNEL: dict[str, Any] = {"verify": "ca.pem", "proxies": {"https": "http://127.0.0.1:3128"}}
NO_BACKCHANNEL_TEXTS = {"wait", "timeout", "max_time", "max_tries"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configuration with the files that it names; the working directory is another one."""
    certificate = trustme.CA().issue_cert("client.example.com")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    (tmp_path / "token").write_text("a.e30.c")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def configurations() -> Iterator[Any]:
    """A configuration for each key that holds text, and the way to its value."""
    for key, value in CLIENTS.items():
        entry = {name: each for name, each in CLIENT.items() if (name, key) != ("token_endpoint", "issuer")}
        if key == "grant_type":
            entry["parameters"] = {"account_id": "7"}
        yield pytest.param(("clients", "w", key), {"clients": {"w": {**entry, key: value}}}, id=f"clients {key}")
    for key, entry in BESIDE_AUTH.items():
        needs_secret = entry.get("auth") in (None, "client_secret_jwt")
        kept = {name: each for name, each in CLIENT.items() if name != "client_secret" or needs_secret}
        yield pytest.param(("clients", "w", key), {"clients": {"w": {**kept, **entry}}}, id=f"clients {key}")
    for grant, keywords in GRANT_TEXTS.items():
        for key in keywords:
            table = {"type": grant, **keywords} if grant != "jwt_bearer" else {**JWT_BEARER, key: keywords[key]}
            config = {"clients": {"w": {**CLIENT, "grant": table}}}
            yield pytest.param(("clients", "w", "grant", key), config, id=f"{grant} {key}")
    for key, value in SESSIONS.items():
        config = {"clients": {"w": CLIENT}, "sessions": {"api": {**SESSION, key: value}}}
        yield pytest.param(("sessions", "api", key), config, id=f"sessions {key}")
    for key, value in BACKCHANNEL.items():
        yield pytest.param(("backchannel", key), {"backchannel": {key: value}}, id=f"backchannel {key}")
    yield pytest.param(("name",), {"name": "worker"}, id="name")
    yield pytest.param(("cache", "url"), {"cache": {"url": "memory:"}}, id="cache url")
    yield pytest.param(("cache", "prefix"), {"cache": {"url": "redis://127.0.0.1", "prefix": "w:"}}, id="cache prefix")


JWT_BEARER: dict[str, Any] = {"type": "jwt_bearer", "key": {"file": "client.key"}}


def in_the_environment(value: Any, monkeypatch: pytest.MonkeyPatch, way: str = "") -> Any:
    """The value with each of its texts in a variable; a table that is a source stays one."""
    if isinstance(value, str):
        monkeypatch.setenv(f"TEXT{way}", value)
        return {"env": f"TEXT{way}"}
    if isinstance(value, list):
        return [in_the_environment(each, monkeypatch, f"{way}_{at}") for at, each in enumerate(value)]
    if isinstance(value, Mapping) and set(value) != {"file"}:
        items = enumerate(value.items())
        return {name: in_the_environment(each, monkeypatch, f"{way}_{at}") for at, (name, each) in items}
    return value


def facts(thing: Any) -> Any:
    """What can be compared of a plan or a part of it: values and what sources give."""
    if is_dataclass(thing) and not isinstance(thing, type):
        return [facts(getattr(thing, field.name)) for field in fields(thing)]
    if isinstance(thing, Entry):
        return thing.name, facts(thing.options)
    if isinstance(thing, Mapping):
        if set(thing) in ({"env"}, {"file"}):
            return secret_source(thing, "x").read()
        return {key: facts(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [facts(each) for each in thing]
    return type(thing).__name__ if type(thing).__module__.startswith("requests_cc_token") else thing


@pytest.mark.parametrize(("way", "config"), list(configurations()))
def test_each_text_may_be_the_environments(
    way: tuple[str, ...], config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any depth: the plan is the same, or has a source that gives the same, and a management can be made of it."""
    key = json.dumps(generated("ES256", "a test")._key.as_dict(private=True))
    config = json.loads(json.dumps(config).replace('"KEY"', json.dumps(key)))
    other = json.loads(json.dumps(config))
    table = other
    for part in way[:-1]:
        table = table[part]
    table[way[-1]] = in_the_environment(table[way[-1]], monkeypatch)
    assert other != config or way[-1] in ("assertion", "subject_token", "actor_token")
    assert facts(plan(other, folder)) == facts(plan(config, folder))
    monkeypatch.chdir(folder)
    AccessTokenManagement.from_config(other).close()


def plan(config: Mapping[str, Any], folder: Path) -> Plan:
    return files.plan_of(config, "a file", folder, None)


def test_no_key_is_left_out() -> None:
    """Each key there is has a text here, or holds none."""
    methods = {key for method in METHODS.values() for key in method.keys}
    assert methods == set(keys_beside_auth())
    assert set(BESIDE_AUTH) | {"lifetime"} == methods
    assert set(CLIENTS) | NO_TEXTS == set(files._CLIENT_KEYS - keys_beside_auth())
    assert set(SESSIONS) | NO_SESSION_TEXTS == set(files._SESSION_KEYS)
    assert set(BACKCHANNEL) | NO_BACKCHANNEL_TEXTS == set(files._BACKCHANNEL_KEYS)
    no_texts = {"force_renewal", "allow_any_resource"}
    assert set(SESSIONS["token_parameters"]) | no_texts == set(files._PARAMETER_KEYS)
    for grant, keywords in GRANT_TEXTS.items():
        assert set(keywords) == set(keywords_of(grant)) - {"lifetime"}, grant
    assert set(GRANT_TEXTS) == set(GRANTS)


FILES: dict[str, Any] = {
    "client_secret": {"client_secret": {"file": "token"}},
    "client_secret of several": {"client_secret": [{"file": "token"}, {"file": "token"}]},
    "key": {"auth": "private_key_jwt", "key": {"file": "client.key"}},
    "key in auth": {"auth": {"method": "private_key_jwt", "key": {"file": "client.key"}}},
    "password": {"auth": "private_key_jwt", "key": {"file": "client.key"}, "password": {"file": "token"}},
    "assertion": {"auth": "client_assertion", "assertion": {"file": "token"}},
    "source": {"auth": {"method": "client_assertion", "source": {"file": "token"}}},
    "cert": {"auth": "tls_client_auth", "cert": ["client.pem", "client.key"]},
    "cert of the environment": {"auth": "tls_client_auth", "cert": [{"env": "CERT"}, {"env": "CERT_KEY"}]},
    "cert in auth": {"auth": {"method": "tls_client_auth", "cert": "client.pem", "key": "client.key"}},
    "dpop": {"client_secret": "s", "dpop": {"key": {"file": "client.key"}}},
    "grant key": {"grant": {"type": "jwt_bearer", "key": {"file": "client.key"}}},
    "subject_token": {"grant": {"type": "token_exchange", **GRANT_TEXTS["token_exchange"]}},
}


@pytest.mark.parametrize("kind", FILES)
def test_each_relative_file_counts_from_the_folder(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the configuration file, wherever the process was started."""
    monkeypatch.setenv("CERT", "client.pem")
    monkeypatch.setenv("CERT_KEY", "client.key")
    config = {"clients": {"w": {"token_endpoint": "https://a.test/", "client_id": "m", **FILES[kind]}}}
    (entry,) = plan(config, folder).clients
    named = [text for text in texts(entry.options) if text.rpartition("/")[2] in ("token", "client.pem", "client.key")]
    assert named
    assert all(Path(text).is_absolute() and Path(text).exists() for text in named)
    assert set(files._READ_WHEN_USED) - {"url"} <= {part for name in FILES for part in (*name.split(), "actor_token")}


def texts(thing: Any) -> Iterator[str]:
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, (Mapping, list)):
        for each in thing.values() if isinstance(thing, Mapping) else thing:
            yield from texts(each)


def test_the_files_of_other_tables(folder: Path) -> None:
    """The CA bundle, the cache's folder, and the URL of a cache in a file."""
    assert plan({"backchannel": {"verify": "ca.pem"}}, folder).backchannel.options["verify"] == str(folder / "ca.pem")
    (folder / "url").write_text("file:tokens")
    for url in ("file:tokens", {"file": "url"}):
        cache = plan({"cache": {"url": url}}, folder).management.options["cache"]
        assert isinstance(cache, FileTokenCache)
        assert Path(cache.path) == folder / "tokens"
    absolute = plan({"cache": {"url": f"file://{folder}/other"}}, folder).management.options["cache"]
    assert Path(absolute.path) == folder / "other"
    mapping = read_plan({"cache": {"url": "file:tokens"}}).management.options["cache"]
    assert Path(mapping.path) == Path("tokens").absolute()
