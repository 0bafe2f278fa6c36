"""What the short ways stand in for, and whether it is still what requests, urllib3 and Python shipped.

A short way leaves out work of a library, so it gives the same only while that work is what it was read to be. All that
they rely on stands in the tables of this module. The libraries' versions and their private attributes are looked at
once, when the module is loaded; functions, which test doubles and tracers replace at any time, are compared at each
request. If anything differs, ``as_shipped`` is False and nothing is left out: requests does all of its own work, and
whoever has replaced one of its functions is called.
"""

from __future__ import annotations

import http.client
import os
import re
import sys
import types
import urllib.request
from typing import Any

import requests
import requests.adapters
import requests.sessions
import requests.utils
import urllib3
import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.sessions import Session, SessionRedirectMixin
from requests.structures import CaseInsensitiveDict

#: The lowest and the highest version, major and minor, that the tests have compared with the short ways.
TESTED_VERSIONS = {requests: ((2, 32), (2, 34)), urllib3: ((2, 2), (2, 8))}

#: The functions that are not called, or not always, and those whose result is remembered.
FUNCTIONS: tuple[tuple[Any, str], ...] = (
    *((Session, name) for name in ("prepare_request", "merge_environment_settings", "send")),
    *((SessionRedirectMixin, name) for name in ("resolve_redirects", "get_redirect_target")),
    *(
        (PreparedRequest, f"prepare{step}")
        for step in ("", "_method", "_url", "_headers", "_cookies", "_body", "_content_length", "_auth", "_hooks")
    ),
    *(
        (HTTPAdapter, name)
        for name in (
            *("get_connection_with_tls_context", "build_connection_pool_key_attributes", "cert_verify"),
            *("request_url", "build_response"),
        )
    ),
    (Response, "content"),
    *((module, "extract_cookies_to_jar") for module in (requests.adapters, requests.sessions)),
    (requests.sessions, "get_environ_proxies"),
    *((requests.utils, name) for name in ("should_bypass_proxies", "getproxies", "proxy_bypass")),
)

#: Attributes of a new ``PreparedRequest``.
NEW_REQUEST: dict[str, Any] = dict.fromkeys(("method", "url", "headers", "_cookies", "body", "hooks", "_body_position"))


def _is_tested(library: types.ModuleType) -> bool:
    lowest, highest = TESTED_VERSIONS[library]
    found = re.match(r"(\d+)\.(\d+)", str(library.__version__))
    return found is not None and lowest <= tuple(map(int, found.groups())) <= highest


def private_parts_as_shipped() -> bool:
    """Whether the versions are tested ones, and the private attributes that are used hold what they held there."""
    python: Any = urllib.request
    return (
        all(map(_is_tested, TESTED_VERSIONS))
        # urllib3-future goes by the name of urllib3 and has connections of another kind.
        and issubclass(urllib3.connection.HTTPConnection, http.client.HTTPConnection)
        and vars(PreparedRequest()) == {**NEW_REQUEST, "hooks": {"response": []}}
        and vars(CaseInsensitiveDict({"Name": "value"})) == {"_store": {"name": ("Name", "value")}}
        and {"_content": False, "_content_consumed": False, "_next": None}.items() <= vars(Response()).items()
        and type(vars(os.environ).get("_data")) is dict
        # Elsewhere proxies come from the system's settings too.
        and python.getproxies is python.getproxies_environment
        and python.proxy_bypass is python.proxy_bypass_environment
    )


def shipped(owner: Any, name: str) -> object:
    """The function that the library shipped, or an object like nothing else if it has been replaced already."""
    found = getattr(owner, name, None)
    function = found.fget if isinstance(found, property) else found
    # Its type, since a wrapper of wrapt says of itself that it is an instance of what it wraps.
    if type(function) is types.FunctionType:
        module = sys.modules.get(function.__module__)
        library = function.__module__.partition(".")[0]
        if library in {"requests", "urllib3", "urllib"} and function.__globals__ is getattr(module, "__dict__", None):
            return found
    return object()


#: Where each function stands, under which name, and what the library shipped there.
_shipped = tuple((vars(owner), name, shipped(owner, name)) for owner, name in FUNCTIONS)
_private_parts_are_known = private_parts_as_shipped()


def as_shipped() -> bool:
    """Whether all that the short ways rely on is as it was shipped, now."""
    if not _private_parts_are_known:
        return False
    try:
        for namespace, name, function in _shipped:
            # Compared by identity: a wrapper of wrapt, which tracers use, equals the function that it wraps.
            # Not by get(), which costs each request 3 % of its instructions.
            if namespace[name] is not function:
                return False
    except KeyError:
        return False  # somebody took it away
    return True
