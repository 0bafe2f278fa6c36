"""The JSON Schema of the TOML file is what the loader takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from benchmarks import schema
from requests_cc_token import AccessTokenManagement, ConfigurationError
from tests import test_docs, test_docs_configuration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CLIENT = '[clients.worker]\ntoken_endpoint = "https://example.com/token"\nclient_id = "worker"\n'
SESSION = '[sessions.orders]\nbase_url = "https://api.example.com/"\n'


@pytest.fixture(scope="module")
def validator() -> Draft4Validator:
    published = json.loads(schema.FILE.read_text(encoding="utf-8"))
    Draft4Validator.check_schema(published)
    return Draft4Validator(published)


def faults(validator: Draft4Validator, toml: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(tomllib.loads(toml))]


def test_the_schema_is_as_the_command_writes_it() -> None:
    """The file of the docs is what ``python -m benchmarks.schema`` writes from the loader's own declarations."""
    assert schema.FILE.read_text(encoding="utf-8") == schema.text()


@pytest.mark.parametrize("toml", test_docs.configurations())
def test_it_takes_what_the_docs_show(validator: Draft4Validator, toml: str) -> None:
    """Each ``toml`` block of the docs is valid."""
    assert faults(validator, toml) == []


@pytest.mark.parametrize("path", sorted(test_docs.SAMPLES.rglob("*.toml")), ids=lambda path: path.name)
def test_it_takes_what_the_samples_hold(validator: Draft4Validator, path: Path) -> None:
    """So is each file of the samples."""
    assert faults(validator, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (CLIENT, test_docs_configuration.CLIENTS),
        (SESSION, test_docs_configuration.SESSIONS),
        ("[backchannel]\n", test_docs_configuration.BACKCHANNEL),
        (f"{SESSION}[sessions.orders.token_parameters]\n", test_docs_configuration.PARAMETERS),
        ('[cache]\nurl = "memory:"\n', test_docs_configuration.CACHE),
        ("", test_docs_configuration.MANAGEMENT),
    ],
    ids=["clients", "sessions", "backchannel", "token_parameters", "cache", "management"],
)
def test_it_takes_the_examples_of_the_tables(validator: Draft4Validator, table: str, rows: Any) -> None:
    """So is each line that the tables of docs/configuration.md show."""
    for row in rows:
        example = row["TOML"].strip("`")
        if example != "code":
            needed = [line for line in table.splitlines() if line.split(" = ")[0] != example.split(" = ")[0]]
            assert faults(validator, "\n".join([*needed, example])) == [], example


@pytest.mark.parametrize(
    "toml",
    [
        pytest.param(f"{CLIENT}scopes = 'orders'", id="a key that there is not"),
        pytest.param("[clients.worker]\nclient_id = 'worker'", id="no token endpoint"),
        pytest.param("[clients.worker]\ntoken_endpoint = 'https://example.com/token'", id="no client_id"),
        pytest.param(f"{CLIENT}client_secret = {{ vault = 'm2m' }}", id="a source of secrets that there is not"),
        pytest.param(f"{CLIENT}allow_http = 'yes'", id="text for a truth value"),
        pytest.param(f"{CLIENT}default_lifetime = '5m'", id="text for seconds"),
        pytest.param(f"{CLIENT}auth = 'client_secret_basics'", id="a method that there is not"),
        pytest.param(f"{CLIENT}encoding = 'utf-8'", id="an encoding that there is not"),
        pytest.param(f"{CLIENT}grant = {{ type = 'jwt_bearer' }}", id="a grant without its key"),
        pytest.param("[sessions.orders]\nclient = 'worker'", id="no base_url"),
        pytest.param(f"{SESSION}timeout = [1, 2, 3]", id="three timeouts"),
        pytest.param("[backchannel]\nwait = 3", id="one wait that is no list"),
        pytest.param("[cache]\nlease = 10", id="a cache without its url"),
        pytest.param("[client.worker]\nclient_id = 'worker'", id="a table that there is not"),
    ],
)
def test_it_refuses_what_the_loader_refuses(validator: Draft4Validator, toml: str, tmp_path: Path) -> None:
    """What an editor marks is what ``from_config`` would raise for."""
    assert faults(validator, toml)
    with pytest.raises(ConfigurationError):
        AccessTokenManagement.from_config(tomllib.loads(toml))


def test_each_key_says_what_it_means() -> None:
    """An editor shows a description for each key of each table."""
    whole = schema.schema()
    tables = whole["properties"]
    entries = (tables[name]["additionalProperties"] for name in ("clients", "sessions"))
    for each in (*entries, tables["cache"], tables["backchannel"]):
        assert all(len(described["description"]) > 10 for described in each["properties"].values())


def test_an_option_that_nobody_translated_is_told() -> None:
    """An annotation that the command does not know is an error, not an option that takes anything."""
    with pytest.raises(LookupError, match="complex"):
        schema.kind_of(complex)
