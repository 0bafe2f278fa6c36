"""TLS contexts that are made once, not for each connection."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Any

import urllib3.util.ssl_

from requests_cc_token.tls_contexts import TLSContexts

# Any, because urllib3 does not export what is read of it, and mypy would refuse that.
_ssl: Any = urllib3.util.ssl_


def context_for(verify: bool | str) -> ssl.SSLContext | None:
    """The context for the next connection, which holds its certificates.

    None where requests has something to say of these certificates, or the contexts are not Python's: those of pyOpenSSL
    serve one connection each.
    """
    if not issubclass(_ssl.SSLContext, ssl.SSLContext):
        return None
    try:
        return _contexts(_ssl.SSLContext, os.environ.get("SSLKEYLOGFILE")).get(verify)
    except OSError:
        return None


@functools.lru_cache(4)
def _contexts(*_: Any) -> TLSContexts:
    """The contexts of one kind of TLS: truststore puts its own into urllib3."""
    return TLSContexts()
