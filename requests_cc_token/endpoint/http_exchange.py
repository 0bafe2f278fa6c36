"""One request to the token service and its answer, by a ``requests.Session`` as any other request goes.

What its answer may cost is bounded, and nothing that belongs to other requests of the session goes with it: no
credentials, no cookies, no hooks; no redirect is followed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3 import BaseHTTPResponse

from requests_cc_token.authentication.certificate import CertificateConnections
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.expiry import Moment
from requests_cc_token.urls import proxies_that_see_no_secret

from .answer import Answer
from .failures import TooMuchError

#: Bytes of an answer that are read: real ones hold a few KiB.
MAX_ANSWER = 1024 * 1024
#: Bytes that are asked for at once.
_PIECE = 16_384


def exchange(
    session: requests.Session,
    method: str,
    request: TokenRequest,
    *,
    sent: Moment,
    timeout: tuple[float, float],
    proxies: Mapping[str, str],
) -> Answer:
    """Send the request by the session and read its answer.

    ``timeout`` are seconds to connect and seconds between two bytes; ``proxies`` what the session would use. Raises
    what ``requests`` and urllib3 raise, and ``TooMuchError``.
    """
    reader = _Reader(request, sent)
    # None keeps an Authorization header of the session out: one client authentication per request.
    headers: dict[str, str | None] = {
        "Authorization": None,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        # Whatever caches requests in this process or on the way keeps neither the secret nor the token.
        "Cache-Control": "no-store",
        **request.headers,
    }
    if method == "POST":
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    response = session.request(
        method,
        request.url,
        data=request.form,
        headers=headers,  # type: ignore[arg-type]
        auth=_LastStep(request),
        timeout=timeout,
        allow_redirects=False,
        # To requests, None means no proxy for this scheme, whatever session and environment say.
        proxies=None if proxies_that_see_no_secret(request.url, proxies) else dict.fromkeys(proxies),  # type: ignore[arg-type]
        hooks={"response": reader},
        stream=True,
        # The session's setting is to win; given as an argument, requests would ask the environment first.
        verify=None if session.verify is True else session.verify,
        cert=_certificate(session, request),
    )
    # A mock that answers for the session runs no response hook, so its answer was not read yet.
    return reader.answer or _taken(request, sent, response, response.content)


class _LastStep(AuthBase):
    """The last step of preparing a request: no cookies, and what ``customize_request`` changes."""

    def __init__(self, request: TokenRequest) -> None:
        self._request = request

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        # Cookies of the user's session are not meant for the token endpoint.
        prepared.headers.pop("Cookie", None)
        customize = self._request.customize
        if customize is None:
            return prepared
        changed = customize(prepared)
        if isinstance(changed, requests.PreparedRequest):
            prepared = changed
        self._request.note_headers(prepared.headers)
        return prepared


class _Reader:
    """A response hook that reads the answer within its bounds, before anything else can read it without."""

    def __init__(self, request: TokenRequest, sent: Moment) -> None:
        self._request = request
        self._sent = sent
        self.answer: Answer | None = None

    def __call__(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        try:
            self.answer = _taken(self._request, self._sent, response, _read(response))
        finally:
            response.close()
        whole = self.answer.as_response()
        whole.reason, whole.elapsed, whole.request = response.reason, response.elapsed, response.request
        return whole


def _taken(request: TokenRequest, sent: Moment, response: requests.Response, body: bytes) -> Answer:
    if len(body) > MAX_ANSWER:
        raise TooMuchError(MAX_ANSWER)
    return Answer(request, sent, response.status_code, response.headers, body)


def _read(response: requests.Response) -> bytes:
    """The body, not much more than ``MAX_ANSWER`` bytes of it before and after decoding."""
    raw: Any = response.raw
    # http.client decodes the chunks then, and bounds the length of their lines; urllib3's own decoding does not.
    options = {"decode_content": False} if isinstance(raw, BaseHTTPResponse) else {}
    body = bytearray()
    while len(body) <= MAX_ANSWER and (piece := raw.read(_PIECE, **options)):
        body += piece
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate") and len(body) <= MAX_ANSWER:
        # The server compressed although it was asked not to; a decompression bomb stops at the bound.
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(body), MAX_ANSWER + 1)
    return bytes(body)


def _certificate(session: requests.Session, request: TokenRequest) -> Any:
    """The client certificate as the session's adapter takes it."""
    if request.cert is None:
        return None
    ours = isinstance(session.get_adapter(request.url), CertificateConnections)
    return request.cert if ours else request.cert.files
