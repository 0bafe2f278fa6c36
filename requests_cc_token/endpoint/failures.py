"""What went wrong on the way to the token service, in words: no header and no body is ever in them."""

from __future__ import annotations

import http.client
import traceback
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import requests
import urllib3
from requests.utils import select_proxy

from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.events import logger
from requests_cc_token.exceptions import TokenRequestError, one_line
from requests_cc_token.urls import shown_url

from .excerpt import never_repeated

_T = TypeVar("_T")

#: Characters of a sentence of requests, urllib3 or the system that a message repeats at most.
MAX_SENTENCE = 300

_NO_FILE = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


#: How a connection ends that the other side closes without saying why: in TLS, by a reset, and before any answer.
_ENDED_WITHOUT_A_WORD = ("EOF occurred", "Connection reset", "RemoteDisconnected", "Broken pipe")


class TooMuchError(Exception):
    """The answer is larger than it may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the answer is larger than {most // 1024} KiB")


class Limits(NamedTuple):
    """The time limits of one exchange, and what messages say of them."""

    #: To connect, and between two bytes.
    seconds: tuple[float, float]
    said: tuple[str, str]

    @classmethod
    def of(cls, timeout: tuple[float | None, float | None], left: float, limit: str) -> Limits:
        """Those of the options; what is left until the deadline where that is less, which is what ``limit`` says."""
        connect, read = (left if seconds is None or seconds > left else seconds for seconds in timeout)
        return cls(
            (connect, read),
            (
                limit if connect == left else f"{connect:g} s are over; configure_backchannel(timeout=...) allows more",
                limit if read == left else f"{read:g} s are over; configure_backchannel(timeout=...) allows more",
            ),
        )


def foreign(what: str, function: Callable[[], _T], client: str) -> _T:
    """What ``function()`` returns, which may be code of the user's or have a bug of ours.

    Raises ``TokenRequestError`` for what it was not meant to raise: of its kind only, and the log has the place.
    """
    try:
        return function()
    except TokenRequestError:
        raise
    except Exception as error:
        kind = type(error).__name__
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        place = f"{frame.f_code.co_filename}:{line}"
    # Raised here, so that it does not bring the error along, which may hold anything.
    logger.error("token client %r: %s failed with %s at %s", client, what, kind, place)
    raise TokenRequestError(f"{what} failed unexpectedly ({kind}); the log says where", transient=False)


def explained(
    error: Exception, request: TokenRequest, *, limits: Limits, proxies: Mapping[str, str]
) -> tuple[str, bool]:
    """What went wrong with a request, and whether it is hopeless.

    That is: the same will happen the next time, unless somebody changes the configuration.
    """
    said = one_line(_sentence(error), MAX_SENTENCE, hide=never_repeated(request))
    reason = _reason(error, said, limits, select_proxy(request.url, dict(proxies)))
    if request.cert is not None and _may_be_about_our_certificate(said):
        reason += "; some servers refuse certificates in this way: check the client certificate (auth=..., cert=...)"
    return reason, _is_hopeless(error, said)


def came_after_sending(error: Exception) -> bool:
    """Whether the request had been sent, or a part of it, when it failed: there was a connection."""
    if isinstance(error, requests.RequestException):
        given_up_for = getattr(error.args[0] if error.args else None, "reason", None)
        no_connection = isinstance(given_up_for, urllib3.exceptions.NewConnectionError) or isinstance(
            error,
            (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.ProxyError),
        )
        # ValueError: a URL, scheme, header or proxy that cannot be used.
        return not no_connection and not isinstance(error, ValueError)
    return isinstance(error, (urllib3.exceptions.HTTPError, TooMuchError, zlib.error))


def _reason(error: Exception, said: str, limits: Limits, proxy: str | None) -> str:
    if isinstance(error, TooMuchError):
        return str(error)
    if isinstance(error, zlib.error):
        return "the answer is compressed, and broken"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"could not be connected to in time; {limits.said[0]}"
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
        return f"did not answer in time; {limits.said[1]}"
    if isinstance(error, requests.exceptions.SSLError):
        if _is_about_our_certificate(said):
            return f"the server refused the TLS connection ({said}); check the client certificate (auth=..., cert=...)"
        return (
            f"the TLS connection failed ({said}); check its certificate and your CA settings "
            "(configure_backchannel(verify=...) or REQUESTS_CA_BUNDLE)"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        named = shown_url(proxy) if proxy else "on the way"
        return f"the proxy {named} failed ({said}); check it, and proxies=... or HTTPS_PROXY"
    if isinstance(error, urllib3.exceptions.HTTPError):
        # The body is read without requests, so its errors are urllib3's own.
        return f"the connection broke before the answer was complete ({said})"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"could not be connected to, or the connection broke ({said})"
    return f"the request failed ({said})"


def _is_hopeless(error: Exception, said: str) -> bool:
    if isinstance(error, requests.exceptions.SSLError):
        return "CERTIFICATE_VERIFY_FAILED" in said or _is_about_our_certificate(said)
    if isinstance(error, requests.exceptions.ProxyError):
        return "407" in said.split()
    if isinstance(error, requests.RequestException):
        # A URL, scheme, header or proxy that cannot be used.
        return isinstance(error, ValueError)
    # A file that is missing; requests' own error about a missing CA bundle has no errno.
    return isinstance(error, _NO_FILE) or (isinstance(error, OSError) and error.errno is None)


def _is_about_our_certificate(said: str) -> bool:
    # An alert is what the other side says (RFC 8446 section 6.2): it means the client's certificate.
    said = said.lower()
    return "alert" in said and any(reason in said for reason in ("certificate", "unknown ca", "access denied"))


def _may_be_about_our_certificate(said: str) -> bool:
    # In TLS 1.3 a refusal comes after the handshake, and the end of the connection may overtake the alert.
    return any(ending in said for ending in _ENDED_WITHOUT_A_WORD)


def _sentence(error: BaseException) -> str:
    """What the innermost cause says of itself; only its name where that may be a piece of the answer."""
    current, seen = error, {id(error)}
    while True:
        causes = [getattr(current, "reason", None), *current.args, current.__cause__, current.__context__]
        following = next((c for c in causes if isinstance(c, BaseException) and id(c) not in seen), None)
        if following is None:
            break
        current = following
        seen.add(id(current))
    if isinstance(current, OSError) and current.strerror and current.filename is None:
        return current.strerror
    if isinstance(current, (http.client.HTTPException, UnicodeError, urllib3.exceptions.HTTPError)):
        return type(current).__name__
    text = " ".join(str(current).split())
    # A KeyError's whole text, for example, is the key.
    return text if " " in text else f"{type(current).__name__}: {text}".rstrip(": ")
