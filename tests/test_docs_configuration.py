"""docs/configuration.md lists every option there is, and each example of its tables is one that a file may hold."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from pathlib import Path

import pytest
import trustme
from cryptography.fernet import Fernet

from requests_cc_token import AccessTokenManagement, FileTokenCache, MemoryTokenCache, RedisTokenCache
from requests_cc_token import TokenRequestParameters as Parameters
from requests_cc_token import config as files
from requests_cc_token.authentication.by_name import METHODS, keys_beside_auth
from requests_cc_token.clients import OPTIONS
from requests_cc_token.grants.by_name import GRANTS, keywords_of
from requests_cc_token.session_options import SessionOptions

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
CODE_ONLY = "code"

Rows = list[dict[str, str]]


def table(heading: str, first: str) -> Rows:
    """The rows below a heading of the first table whose first column has that name."""
    section = PAGE.split(f"\n{heading}\n", 1)[1]
    lines = re.search(rf"^\| {first} \|.*\n(?:\|.*\n)+", section, re.MULTILINE)
    assert lines is not None, heading
    header, _, *rows = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines[0].splitlines())
    assert {len(row) for row in rows} == {len(header)}, heading
    return [dict(zip(header, row, strict=True)) for row in rows]


CLIENTS = table("## Token clients", "option")
SESSIONS = table("## Sessions", "option")
BACKCHANNEL = table("## Backchannel", "option")
PARAMETERS = table("### One request", "option")
CACHE = table("## Cache", "option")
MANAGEMENT = table("## The management", "option")
GRANT_KEYS = table("### Grants", "option")
METHOD_KEYS = table("### Client authentication", "TOML key")


NEEDED_OF_GRANTS = {
    "jwt_bearer": {"key": '{ file = "client.pem" }'},
    "token_exchange": {"subject_token": '{ file = "token" }', "subject_token_type": '"jwt"'},
}


def name(row: dict[str, str], column: str = "option") -> str:
    return row[column].strip("`")


def in_code(function: object) -> set[str]:
    assert callable(function)
    return set(inspect.signature(function).parameters) - {"self"}


#: What a table is about: its rows, the keywords in code, the keys in a file.
TABLES: dict[str, tuple[Rows, Collection[str], Collection[str]]] = {
    "clients": (CLIENTS, OPTIONS, files._CLIENT_KEYS - keys_beside_auth()),
    "sessions": (SESSIONS, {*SessionOptions.__annotations__, "base_url"}, files._SESSION_KEYS),
    "backchannel": (BACKCHANNEL, in_code(AccessTokenManagement.configure_backchannel), files._BACKCHANNEL_KEYS),
    "token_parameters": (PARAMETERS, in_code(Parameters), files._PARAMETER_KEYS),
    "management": (
        MANAGEMENT, in_code(AccessTokenManagement), files._TABLES - {"clients", "sessions", "backchannel", "cache"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("thing", TABLES)
def test_a_table_has_a_row_for_each_option(thing: str) -> None:
    """Each keyword in code has one row, and each row is a keyword."""
    rows, keywords, _ = TABLES[thing]
    assert sorted(map(name, rows)) == sorted(keywords)


@pytest.mark.parametrize("thing", TABLES)
def test_a_table_says_which_options_a_file_has(thing: str) -> None:
    """The rows with an example in TOML are the keys that a file may hold; the others are said to be for code only."""
    rows, _, keys = TABLES[thing]
    assert sorted(name(row) for row in rows if row["TOML"] != CODE_ONLY) == sorted(keys)
    for row in rows:
        assert row["TOML"] == CODE_ONLY or row["TOML"].startswith(f"`{name(row)} = ")


def test_the_methods_have_a_row_for_each_key() -> None:
    """Each key beside ``auth`` has one row, with its argument in code and the methods that it belongs to."""
    rows = {name(row, "TOML key"): (name(row, "argument in code"), row["methods"]) for row in METHOD_KEYS}
    known: dict[str, tuple[str, str]] = {}
    for method, described in METHODS.items():
        for key, argument in described.keys.items():
            methods = f"{known[key][1]}, `{method}`" if key in known else f"`{method}`"
            known[key] = argument, methods
    assert rows == known


def test_the_grants_have_a_row_for_each_keyword() -> None:
    """Each keyword of a grant has one row, which names the grant and says whether it is needed."""
    rows = [(row["grants"].strip("`"), name(row), row["default"] == "needed") for row in GRANT_KEYS]
    assert sorted(rows) == sorted((grant, *pair) for grant in GRANTS for pair in keywords_of(grant).items())


def test_the_caches_have_a_row_for_each_option() -> None:
    """Each option of a cache has one row, which names the caches that take it."""
    caches = {"memory": MemoryTokenCache, "file": FileTokenCache, "Redis": RedisTokenCache}
    for title, cache in caches.items():
        keywords = in_code(cache) - {"clock", "path", "client_or_url"}
        assert {name(row) for row in CACHE if title in row["caches"]} == keywords, title


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name."""
    certificate = trustme.CA().issue_cert("client.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("M2M_SECRET", Fernet.generate_key().decode())
    return tmp_path


def examples(rows: Rows) -> list[object]:
    return [pytest.param(row["TOML"].strip("`"), id=name(row)) for row in rows if row["TOML"] != CODE_ONLY]


def loads(folder: Path, content: str) -> None:
    (folder / "worker.toml").write_text(content, encoding="utf-8")
    AccessTokenManagement.from_config(folder / "worker.toml").close()


@pytest.mark.parametrize("example", examples(CLIENTS))
def test_an_example_of_a_client_loads(example: str, folder: Path) -> None:
    """What the table of token clients shows is taken from a file."""
    needed = {"client_id": '"worker"', "client_secret": '"secret"', "token_endpoint": '"https://example.com/token"'}
    given = example.partition(" = ")[0]
    dropped = {given, "token_endpoint"} if given == "issuer" else {given}
    if given == "resource":
        needed["scope"] = '"orders"'
    lines = [f"{key} = {value}" for key, value in needed.items() if key not in dropped]
    loads(folder, "\n".join(["[clients.worker]", *lines, example]))


@pytest.mark.parametrize("row", GRANT_KEYS, ids=name)
def test_an_example_of_a_grant_loads(row: dict[str, str], folder: Path) -> None:
    """What the table of grants shows is taken from a file."""
    grant, example = row["grants"].strip("`"), row["TOML"].strip("`")
    beside = {"type": f'"{grant}"', **{k: v for k, v in NEEDED_OF_GRANTS[grant].items() if k != name(row)}}
    partner = {"actor_token": 'actor_token_type = "jwt"', "actor_token_type": 'actor_token = { file = "token" }'}
    lines = [*(f"{key} = {value}" for key, value in beside.items()), example, partner.get(name(row), "")]
    client = '[clients.worker]\nclient_id = "worker"\ntoken_endpoint = "https://example.com/token"'
    loads(folder, "\n".join([client, "[clients.worker.grant]", *lines]))


@pytest.mark.parametrize("example", examples(SESSIONS))
def test_an_example_of_a_session_loads(example: str, folder: Path) -> None:
    """What the table of sessions shows is taken from a file."""
    base_url = "" if example.startswith("base_url") else 'base_url = "https://api.example.com/"'
    loads(folder, f"[sessions.orders]\n{base_url}\n{example}")


@pytest.mark.parametrize("example", examples(BACKCHANNEL))
def test_an_example_of_the_backchannel_loads(example: str, folder: Path) -> None:
    """What the table of the backchannel shows is taken from a file."""
    loads(folder, f"[backchannel]\n{example}")


@pytest.mark.parametrize("example", examples(PARAMETERS))
def test_an_example_of_one_request_loads(example: str, folder: Path) -> None:
    """What the table of one request's options shows is taken from a session's table in a file."""
    base_url = 'base_url = "https://api.example.com/"'
    loads(folder, f"[sessions.orders]\n{base_url}\n[sessions.orders.token_parameters]\n{example}")


@pytest.mark.parametrize("row", CACHE, ids=name)
def test_an_example_of_a_cache_loads(row: dict[str, str], folder: Path) -> None:
    """What the table of the cache shows is taken from a file."""
    example, url = row["TOML"].strip("`"), {"memory": "memory:", "Redis": "redis://127.0.0.1"}.get(row["caches"])
    if example.startswith("url = "):
        loads(folder, f"[cache]\n{example}".replace("/var/cache", f"{folder}"))
    else:
        loads(folder, f'[cache]\nurl = "{url or f"file://{folder}/tokens"}"\n{example}')


@pytest.mark.parametrize("example", examples(MANAGEMENT))
def test_an_example_of_the_management_loads(example: str, folder: Path) -> None:
    """What the table of the management shows is taken from a file."""
    loads(folder, example)
