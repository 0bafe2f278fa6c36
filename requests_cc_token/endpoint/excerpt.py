"""What may be repeated of an answer: bounded, printable, and without what the token service must not get us to say.

An error answer may echo the credentials that it was sent, and a success may hold a token under any name.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from requests_cc_token.authentication.client_secret import form_encode
from requests_cc_token.authentication.method import TokenRequest, confidential_values
from requests_cc_token.exceptions import one_line

from .answer import Answer

#: Characters that an exception keeps of what was said; a message repeats fewer.
MAX_RESPONSE_TEXT = 4_096
#: Characters that are looked at for a sentence to repeat.
_LOOKED_AT = 65_536
#: Levels and entries of a JSON document that are repeated.
_MAX_DEPTH, _MAX_ENTRIES = 6, 50
#: Characters of a part of a credential that is worth hiding by itself.
_MIN_PART = 16

#: Parts of the names of members whose values are not repeated.
_TELLTALE = ("token", "secret", "assertion", "password", "credential", "jwt", "apikey", "api_key")
_NOT_SECRET = frozenset(
    "token_type tokentype token_type_hint subject_token_type actor_token_type requested_token_type issued_token_type "
    "client_assertion_type token_endpoint".split()
)
#: What a JWT may be a part of. It matches wherever it begins, so that a text is read once, whatever is in it.
_DOTTED = r"[\w.-]+"
#: How a JWT begins, and how many more characters its header has at least.
_JWT, _MIN_HEADER = "eyJ", 8
_ASSIGNED = (
    r"(\b(?:access|refresh|id)_?token|\bclient_secret|\bclient_assertion|\bpassword)"
    r"(\W{0,3}[:=]\W{0,3})([^\s\"'&<>,;}]+)"
)


def never_repeated(request: TokenRequest) -> tuple[str, ...]:
    """The credentials of a request, in each form in which a server may echo them; longest first."""
    secrets = {*request.secrets, *confidential_values(request.headers), *_confidential_fields(request.form)}
    query = urlsplit(request.url).query
    secrets |= {query, *(value for _, value in parse_qsl(query) if len(value) > 3)}
    # The parts of a JWT by themselves.
    secrets |= {part for text in secrets for part in text.split(".") if len(part) >= _MIN_PART and "." in text}
    forms = set(secrets)
    for text in secrets:
        forms |= {quote_plus(text), form_encode(text), quote(text, safe=""), html.escape(text)}
        forms |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return tuple(sorted(filter(None, forms), key=len, reverse=True))


def _confidential_fields(form: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    """The values of form fields that are credentials by their name, such as a vendor's ``api_key`` or ``password``."""
    for name, value in form.items():
        if _is_telltale(name):
            yield from (value,) if isinstance(value, str) else value


def _is_telltale(name: str) -> bool:
    name = name.lower()
    return any(part in name for part in _TELLTALE) and name not in _NOT_SECRET


def response_text(answer: Answer, hide: Iterable[str]) -> str | None:
    """What an error answer says, with neither credentials nor tokens in it; None where it says nothing."""
    return _cut(_repeatable(answer.text), MAX_RESPONSE_TEXT, hide)


def sentence(answer: Answer, limit: int, hide: Iterable[str]) -> str | None:
    """The same in short, for a message: an HTML page's title, the text of XML."""
    text = answer.text
    start = text[:_LOOKED_AT].lstrip()
    if start.startswith("<"):
        # Up to the next tag only: a page of nothing but such tags is read once, not once for each.
        title = re.search(r"<title[^<>]*>([^<]*)", start, re.IGNORECASE)
        if title or re.match(r"<(!doctype )?html", start, re.IGNORECASE):
            text = html.unescape(title[1]) if title else ""
        else:
            text = html.unescape(re.sub(r"<[^>]*>?", " ", start))
    else:
        text = _repeatable(text)
    return _cut(text, limit, hide)


def outline(answer: Answer, hide: Iterable[str]) -> str | None:
    """What a success looks like: names and types, since it may hold a token under any name."""
    try:
        document = json.loads(answer.text)
    except (ValueError, RecursionError):
        page = sentence(answer, 200, hide) if answer.text.lstrip()[:1] == "<" else None
        kind = one_line(answer.headers.get("Content-Type") or "no type", 100, hide=hide)
        return f"{len(answer.body)} bytes of {kind}" + (f": {page}" if page else "")
    return _cut(json.dumps(_outlined(document), ensure_ascii=False), MAX_RESPONSE_TEXT, hide)


def _cut(text: str, limit: int, hide: Iterable[str]) -> str | None:
    for secret in hide:
        text = text.replace(secret, "***")
    text = re.sub(_DOTTED, _without_jwt, text[: 4 * limit])
    text = re.sub(_ASSIGNED, r"\1\2***", text, flags=re.IGNORECASE)
    return one_line(" ".join(text.split()), limit) or None


def _without_jwt(words: re.Match[str]) -> str:
    """The words, and ``***`` from where a JWT begins."""
    position = 0
    for part in words[0].split(".")[:-1]:
        begins = part.find(_JWT)
        if begins >= 0 and len(part) - begins >= len(_JWT) + _MIN_HEADER:
            return words[0][: position + begins] + "***"
        position += len(part) + 1
    return words[0]


def _repeatable(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(_redacted(document), ensure_ascii=False) if isinstance(document, (dict, list)) else text


def _redacted(value: Any, name: str = "", depth: int = 0) -> Any:
    """A JSON value without the values of members that sound like credentials."""
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {key: _redacted(value[key], key, depth + 1) for key in list(value)[:_MAX_ENTRIES]}
    if isinstance(value, list):
        return [_redacted(each, name, depth + 1) for each in value[:_MAX_ENTRIES]]
    return "***" if isinstance(value, str) and value and _is_telltale(name) else value


def _outlined(value: Any, depth: int = 0) -> Any:
    """A JSON value with types in the place of values."""
    if isinstance(value, dict) and depth <= _MAX_DEPTH:
        return {key: _outlined(value[key], depth + 1) for key in list(value)[:_MAX_ENTRIES]}
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    kinds = {bool: "true or false", int: "number", float: "number", list: "list", dict: "object"}
    return kinds.get(type(value), "null")
