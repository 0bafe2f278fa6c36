"""An answer of the token service as HTTP brought it, read within bounds; what it says comes later."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.expiry import Moment

#: Encodings that are decoded as declared; those left out take time out of proportion, or are no encodings of texts.
_ENCODING = r"utf-(8|16|32)|ascii|iso8859|latin|cp\d+|shift_jis|euc_|gb|big5|koi8|mac-|hz"
#: Headers that mean something to a session, and nothing here: where else to go, and what to bring next time. The
#: last two are about a body that has been read.
_NOT_FOR_THE_SESSION = ("Location", "Set-Cookie", "Content-Encoding", "Transfer-Encoding")


class Answer(NamedTuple):
    """An HTTP answer of the token service, read within its bounds. It may hold a token, so it shows no body."""

    #: What it answers.
    request: TokenRequest
    #: When that was sent.
    sent: Moment
    status_code: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status_code}>"

    @property
    def is_success(self) -> bool:
        """Whether the status says that it brings what was asked for (RFC 9110 section 15.3)."""
        return 200 <= self.status_code < 300

    @property
    def media_type(self) -> str:
        """The media type without parameters, in lower case; empty where none is declared."""
        return (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body as text: UTF-8 as JSON is, else as it is declared, else with replacements."""
        try:
            return self.body.decode(json.detect_encoding(self.body))
        except UnicodeDecodeError:
            pass
        declared = re.search(r"charset=[\"']?([\w.:-]{1,40})", self.headers.get("Content-Type") or "", re.IGNORECASE)
        try:
            name = codecs.lookup(declared[1]).name if declared else "utf-8"
        except LookupError:
            name = "utf-8"
        return self.body.decode(name if re.match(_ENCODING, name) else "utf-8", "replace")

    def as_response(self) -> requests.Response:
        """The answer as an object of ``requests``, for code that knows those."""
        response = requests.Response()
        response.status_code = self.status_code
        response.headers = CaseInsensitiveDict(self.headers)
        for name in _NOT_FOR_THE_SESSION:
            response.headers.pop(name, None)
        response.encoding = get_encoding_from_headers(response.headers)
        response.url = self.request.url
        # As a session's adapter would have it, for what records or caches responses.
        response.raw = urllib3.HTTPResponse(
            io.BytesIO(self.body), response.headers, self.status_code, preload_content=False, decode_content=False
        )
        return response


