"""A JSON Schema of the TOML file: ``python -m benchmarks.schema`` writes it to docs/_static.

Which keys there are is what the loader knows; what a value may be is what the keyword's annotation says; what it means
is the line of docs/configuration.md. An annotation that nobody has translated is an error. The draft is 4, which is the
newest that Taplo reads, the language server behind most editors' TOML.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from requests_cc_token import AccessTokenManagement, FileTokenCache, MemoryTokenCache, RedisTokenCache, config
from requests_cc_token import TokenRequestParameters as Parameters
from requests_cc_token.adapter_policy import RenewOn, Timeout
from requests_cc_token.authentication.by_name import METHODS, ClientAuthLike, DPoPLike, keys_beside_auth
from requests_cc_token.authentication.certificate import CertificateLike
from requests_cc_token.authentication.signing_key import KeyLike
from requests_cc_token.caches.records import EncryptionKey
from requests_cc_token.clients import ClientOptions
from requests_cc_token.endpoint.backchannel_options import BackchannelOptions, Wait
from requests_cc_token.grants.by_name import GRANTS, grant_class, keywords_of
from requests_cc_token.grants.token_exchange import TokenLike
from requests_cc_token.parameters import Texts
from requests_cc_token.secret_source import SecretLike, SecretsLike
from requests_cc_token.session_options import Retries, SessionOptions

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs" / "_static" / "requests-cc-token.schema.json"
PAGE = ROOT / "docs" / "configuration.md"

Schema = dict[str, Any]
#: Annotations by the keyword that they are of.
Hints = Mapping[str, Any]


def one_of(*kinds: Schema) -> Schema:
    return {"anyOf": list(kinds)}


def several(kind: Schema) -> Schema:
    return {"type": "array", "items": kind}


def table(properties: Mapping[str, Schema], *required: str) -> Schema:
    """A table with these keys and no others."""
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **needed}


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


NAME = {"type": "string", "minLength": 1}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
SECONDS = {"type": "number", "minimum": 0}
OBJECT = {"type": "object"}

#: Where a secret is read when it is used.
SOURCES: list[Schema] = [
    {"description": "a file, read again at each use", **table({"file": NAME}, "file")},
    {"description": "an environment variable, read again at each use", **table({"env": NAME}, "env")},
    {
        "description": "the variable NAME, or the file that NAME_FILE names",
        **table({"env_or_file": NAME}, "env_or_file"),
    },
    {"description": "of systemd, Docker or Podman", **table({"credential": NAME}, "credential")},
    {
        "description": "what a program prints, without a shell",
        **table({"command": {"minItems": 1, **several(NAME)}}, "command"),
    },
]

DEFINITIONS: dict[str, Schema] = {
    "environment": {
        "description": "the content of an environment variable, when the file is loaded",
        **table({"env": NAME}, "env"),
    },
    "text": one_of({"type": "string"}, ref("environment")),
    "texts": one_of({"type": "string"}, ref("environment"), several(ref("text"))),
    "pairs": {"type": "object", "additionalProperties": ref("text")},
    "secret": one_of({"description": "for experiments", **NAME}, *SOURCES),
}

#: What each annotation is in a file.
KINDS: dict[Any, Schema] = {
    str: ref("text"),
    bool: FLAG,
    int: COUNT,
    float: SECONDS,
    Any: one_of(OBJECT, several(OBJECT), {"type": "string"}),
    Texts: ref("texts"),
    Mapping[str, Any]: OBJECT,
    Mapping[str, str]: ref("pairs"),
    Mapping[str, Texts]: {"type": "object", "additionalProperties": ref("texts")},
    SecretLike: ref("secret"),
    SecretsLike: one_of(ref("secret"), {"description": "newest first", "minItems": 1, **several(ref("secret"))}),
    KeyLike: one_of(ref("secret"), OBJECT),
    TokenLike: one_of(*SOURCES, {"description": "that of another client", **table({"client": NAME}, "client")}),
    Union[Callable[[], str], Mapping[str, Any]]: ref("secret"),
    EncryptionKey: one_of(ref("secret"), several(ref("secret"))),
    CertificateLike: ref("texts"),
    Timeout: one_of(SECONDS, {"minItems": 2, "maxItems": 2, **several(SECONDS)}),
    Union[float, tuple[Union[float, None], Union[float, None]]]: one_of(
        SECONDS, {"minItems": 2, "maxItems": 2, **several(SECONDS)}
    ),
    Wait: several(SECONDS),
    Union[bool, str]: one_of(FLAG, ref("text")),
    Retries: COUNT,
    RenewOn: several({"type": "integer", "minimum": 100, "maximum": 599}),
    ClientAuthLike: one_of({"type": "string", "enum": sorted(METHODS)}, OBJECT),
    DPoPLike: one_of(
        table({"key": one_of(ref("secret"), OBJECT), "algorithm": ref("text"), "password": ref("secret")}, "key"),
        table({"generate": {"type": "string"}}, "generate"),
    ),
}


def kind_of(hint: Any) -> Schema:
    """What an annotation is in a file; None, which TOML has not, is what is left out. Raises ``LookupError``."""
    for known, schema in KINDS.items():
        if _kinds(hint) == _kinds(known):
            return schema
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    raise LookupError(f"benchmarks/schema.py has no translation of {hint}")


def _kinds(hint: Any) -> frozenset[Any]:
    parts = get_args(hint) if get_origin(hint) is Union or type(hint).__name__ == "UnionType" else (hint,)
    return frozenset(parts) - {type(None)}


def keywords(function: Any) -> Hints:
    return get_type_hints(function.__init__ if inspect.isclass(function) else function)


def rows(heading: str, first: str) -> dict[str, str]:
    """What docs/configuration.md says of each key, in plain text."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    found = re.search(rf"^\| {first} \|.*\n(?:\|.*\n)+", section, re.MULTILINE)
    assert found is not None, heading
    header, _, *lines = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in found[0].splitlines())
    said = {}
    for line in lines:
        row = dict(zip(header, line, strict=True))
        default = f" Default: {row['default']}." if row["default"] and row["default"] != "needed" else ""
        said[row[first].strip("`")] = plain(f"{row['type']}: {row['meaning']}.{default}")
    return said


def plain(markdown: str) -> str:
    """Without links and code marks."""
    return re.sub(r"\.{2,}", ".", re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", markdown).replace("`", ""))


def properties(keys: Collection[str], hints: Hints, said: Mapping[str, str], **known: Schema) -> dict[str, Schema]:
    """For each key what it may hold, and what it means."""
    return {key: {"description": said[key], **(known.get(key) or kind_of(hints[key]))} for key in sorted(keys)}


def clients() -> Schema:
    keys = config._CLIENT_KEYS - keys_beside_auth()
    said = rows("## Token clients", "option")
    found = properties(keys, get_type_hints(ClientOptions), said, grant=one_of(*map(grant, GRANTS)))
    beside: dict[str, Any] = {}
    for method in METHODS.values():
        hints = keywords(getattr(method.make, "func", method.make))
        beside |= {key: hints[keyword] for key, keyword in method.keys.items()}
    found |= properties(keys_beside_auth(), beside, rows("### Client authentication", "TOML key"))
    return {
        **table(found, "client_id"),
        "anyOf": [{"required": ["token_endpoint"]}, {"required": ["issuer"]}],
    }


def grant(name: str) -> Schema:
    needs = keywords_of(name)
    found = properties(needs, keywords(grant_class(name)), rows("### Grants", "option"))
    return table({"type": {"type": "string", "enum": [name]}, **found}, "type", *(key for key in needs if needs[key]))


def sessions() -> Schema:
    parameters = table(properties(config._PARAMETER_KEYS, keywords(Parameters), rows("### One request", "option")))
    hints = {"base_url": str, **get_type_hints(SessionOptions)}
    said = rows("## Sessions", "option")
    return table(properties(config._SESSION_KEYS, hints, said, token_parameters=parameters), "base_url")


def cache() -> Schema:
    hints: dict[str, Any] = {"url": SecretLike}
    for each in (MemoryTokenCache, FileTokenCache, RedisTokenCache):
        hints |= keywords(each)
    said = rows("## Cache", "option")
    return table(properties(said, hints, said), "url")


def schema() -> Schema:
    """The schema of the whole file."""
    management = properties(
        config._TABLES - {"clients", "sessions", "backchannel", "cache"},
        keywords(AccessTokenManagement),
        rows("## The management", "option"),
    )
    backchannel = properties(
        config._BACKCHANNEL_KEYS, get_type_hints(BackchannelOptions.changed), rows("## Backchannel", "option")
    )
    tables = {
        "clients": {"description": "Token clients by name.", "type": "object", "additionalProperties": clients()},
        "sessions": {"description": "Sessions by name.", "type": "object", "additionalProperties": sessions()},
        "backchannel": {"description": "How token requests are sent.", **table(backchannel)},
        "cache": {"description": "Where tokens stay.", **cache()},
    }
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "requests_cc_token",
        "definitions": DEFINITIONS,
        **table({**management, **tables}),
    }


def text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write it."""
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
