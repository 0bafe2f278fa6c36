"""A6: every key of a configuration with every odd value is a named error that repeats no value, or it works."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement, ConfigurationError
from requests_cc_token.authentication.by_name import METHODS
from requests_cc_token.config import _BACKCHANNEL_KEYS, _CLIENT_KEYS, _PARAMETER_KEYS, _SESSION_KEYS

TAINT = "M4RKED"

#: What TOML can hold where something else was meant, each with the mark that no message may repeat.
ODD: dict[str, Any] = {
    "text": TAINT,
    "surrogate": f"{TAINT}\ud800",
    "NUL": f"{TAINT}\0",
    "line break": f"{TAINT}\n{TAINT}",
    "empty": "",
    "number": 41_414_141,
    "negative": -41_414_141,
    "huge": 10**400,
    "float": 41.414141,
    "nan": float("nan"),
    "infinite": float("inf"),
    "true": True,
    "array": [TAINT],
    "array of surrogates": [f"{TAINT}\ud800"],
    "array of arrays": [[TAINT]],
    "array of numbers": [41_414_141],
    "table": {"x": TAINT},
    "table of surrogates": {"x": f"{TAINT}\ud800"},
    "odd table": {"key\ud800": TAINT},
    "file": {"file": f"{TAINT}\ud800"},
    "file of a number": {"file": 41_414_141},
    "env": {"env": f"{TAINT}\ud800"},
    "env of a number": {"env": 41_414_141},
    "none": None,
    "bytes": TAINT.encode(),
    "object": object(),
}

CLIENT = {"token_endpoint": "https://login.example.com/token", "client_id": "m2m", "client_secret": "s"}
SESSION = {"base_url": "https://api.example.com/", "client": "w"}


def places() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each key: its table, its name, and what stands beside it so that it counts."""
    for key in sorted(_CLIENT_KEYS):
        yield "clients", key, {}
        for name, method in METHODS.items():
            if key in method.keys:
                yield "clients", key, {"auth": name}
    for key in sorted(_SESSION_KEYS):
        yield "sessions", key, {}
    for key in sorted(_BACKCHANNEL_KEYS):
        yield "backchannel", key, {}
    for key in sorted(_PARAMETER_KEYS):
        yield "sessions", "token_parameters", {"inner": key}


@pytest.mark.parametrize(("table", "key", "beside"), list(places()), ids=str)
def test_a_key_with_every_odd_value(table: str, key: str, beside: dict[str, Any]) -> None:
    """It is refused by a ``ConfigurationError`` that names the table, or taken; nothing else comes out of it."""
    for kind, value in ODD.items():
        inner = beside.get("inner")
        given = {inner: value} if inner is not None else value
        options = {name: each for name, each in beside.items() if name != "inner"}
        if table == "clients":
            config: dict[str, Any] = {"clients": {"w": {**CLIENT, **options, key: given}}}
        elif table == "sessions":
            config = {"clients": {"w": CLIENT}, "sessions": {"api": {**SESSION, key: given}}}
        else:
            config = {"backchannel": {key: given}}
        refused = None
        try:
            AccessTokenManagement.from_config(config).close()
        except ConfigurationError as error:
            refused = error
        if refused is not None:
            shown = "".join(traceback.TracebackException.from_exception(refused).format())
            assert f"[{table}" in str(refused), kind
            assert str(refused).isprintable(), kind
            for mark in (TAINT, "41414141", "41.414141"):
                assert mark not in shown, kind


@pytest.mark.parametrize("deep", [f"parameters.{'.'.join(3000 * ['a'])} = 'x'", f"parameters = {'[' * 60}{']' * 60}"])
def test_a_file_that_is_nested_too_deeply(tmp_path: Path, deep: str) -> None:
    """A dotted key makes a table for each dot, which TOML's own readers take: a named error, whoever reads the file."""
    path = tmp_path / "worker.toml"
    path.write_text(f"[clients.worker]\nclient_id = 'x'\n{deep}\n")
    with pytest.raises(ConfigurationError, match=r"not valid TOML \(it is nested too deeply\)"):
        AccessTokenManagement.from_config(path)
