"""The client's TLS certificate: for token requests, and for the API calls of tokens bound to it (RFC 8705)."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Hashable, Mapping
from typing import Any, NoReturn, Union
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3.util.ssl_ import create_urllib3_context

from requests_cc_token.bounded_reads import NEXT_LOOK, Looks
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError
from requests_cc_token.secret_source import SecretLike, SecretSource, secret_source
from requests_cc_token.tls_contexts import TLSContexts
from requests_cc_token.tracebacks import sealed
from requests_cc_token.watched_files import UnusableFileError, WatchedFiles, is_path, read_regular

from .signing_key import ENCRYPTED, UNDECRYPTED, thumbprint_of_pem

#: TLS contexts made with a certificate when it is read: one for the token endpoint, one for the API. They go on
#: working while the files are being replaced.
SPARE_CONTEXTS = 2


class ClientCertificate:
    """A certificate with its private key in PEM files, read again once they change.

    ``certificate`` holds the chain, the client's own certificate first, and the key too where ``key`` is left out.
    ``password`` is for an encrypted key, given as a secret is. While the files are empty, half written or do not
    match each other, the last good pair is used. Raises ``ConfigurationError`` for what is no path.
    """

    @sealed
    def __init__(
        self,
        certificate: str | os.PathLike[str],
        key: str | os.PathLike[str] | None = None,
        *,
        password: SecretLike | None = None,
    ) -> None:
        given: tuple[object, ...] = (certificate, key)
        for path in given:
            if path is not None and not is_path(path):
                raise ConfigurationError("a client certificate is given by the path of its PEM file, and of its key's")
        self._pair = (os.fspath(certificate), None if key is None else os.fspath(key))
        self._password = None if password is None else secret_source(password, "the certificate's password")
        paths = [certificate] if key is None else [certificate, key]
        self._files = WatchedFiles(paths, self._loaded, "client certificate")

    def __repr__(self) -> str:
        return repr(self._files)

    def current(self, *, within: float | None = None) -> LoadedCertificate:
        """The certificate as it was a second ago at most; the same object while it has not changed.

        ``within`` is the seconds that this caller has. Raises ``TokenRequestError`` where the files never held a usable
        pair, or are not read in time.
        """
        return self._files.recent(within)

    def stamp(self) -> Hashable:
        """Something that differs once a file is known to have changed."""
        return self._files.stamp()

    def _loaded(self, contents: tuple[bytes, ...]) -> LoadedCertificate:
        try:
            thumbprint = thumbprint_of_pem(contents[0])
            if thumbprint is None:
                raise UnusableFileError("there is no certificate in it")
            return LoadedCertificate.load(self._pair, self._password, thumbprint)
        except (ssl.SSLError, ValueError) as error:
            raise UnusableFileError(_reason(error, contents[-1], self._password)) from None
        except TokenRequestError as error:
            raise UnusableFileError(str(error)) from None


def _reason(error: Exception, key: bytes, password: SecretSource | None) -> str:
    """Why a certificate and its key cannot be used; OpenSSL says of most faults that there is one."""
    reason = getattr(error, "reason", None)
    # The others where they are not even of one kind.
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return f"certificate and key do not belong together ({reason})"
    if b"PRIVATE KEY" not in key:
        return "there is no private key in it"
    if b"ENCRYPTED" in key:
        return ENCRYPTED if password is None else UNDECRYPTED
    return f"not usable ({reason or type(error).__name__})"


#: A file that holds certificate and key, the two of them, or a mapping of what ``ClientCertificate`` takes.
CertificateLike = Union[str, os.PathLike[str], tuple[Any, Any], list[Any], Mapping[str, Any], ClientCertificate]


class _Chain:
    """TLS contexts with one certificate and its key, and nothing else in them yet."""

    def __init__(self, pair: tuple[str, str | None], password: SecretSource | None, thumbprint: str) -> None:
        self._pair = pair
        self._password = password
        self._thumbprint = thumbprint
        self._looks = Looks()
        self._spare = [self._loaded() for _ in range(SPARE_CONTEXTS)]

    def context(self) -> ssl.SSLContext:
        """A context for one way to verify servers. Raises ``OSError`` where none is left and the files are no good."""
        context = None
        with contextlib.suppress(IndexError):
            context = self._spare.pop()
        if context is None:
            return self._loaded()
        # For the next CA bundle, which may come while the certificate's files are being replaced, or hang.
        with contextlib.suppress(OSError, ValueError, TokenRequestError, UnusableFileError):
            self._looks.take(None, self._load_spare, within=NEXT_LOOK)
        return context

    def _load_spare(self) -> None:
        if thumbprint_of_pem(read_regular(self._pair[0])) == self._thumbprint:
            self._spare.append(self._loaded())

    def _loaded(self) -> ssl.SSLContext:
        context = create_urllib3_context()
        password = None if self._password is None else self._password.read()
        # An empty password, for otherwise OpenSSL asks on the terminal.
        context.load_cert_chain(*self._pair, password or "")
        return context


class LoadedCertificate(tuple[str, Union[str, None]]):  # noqa: SLOT001 - a tuple cannot have slots of its own
    """A certificate as it was read: (certificate's path, key's path or None), as ``cert=`` of requests takes it.

    Our own adapters take its TLS contexts instead of the files, which may be in the middle of a rotation.
    """

    #: ``x5t#S256`` of the certificate (RFC 8705 section 3.1).
    thumbprint: str
    _contexts: TLSContexts

    @classmethod
    def load(cls, pair: tuple[str, str | None], password: SecretSource | None, thumbprint: str) -> LoadedCertificate:
        """Read the files. Raises ``ssl.SSLError``, ``ValueError`` or ``OSError`` where they are no good."""
        self = cls(pair)
        self.thumbprint = thumbprint
        self._contexts = TLSContexts(_Chain(pair, password, thumbprint).context)
        return self

    @property
    def files(self) -> str | tuple[str, str]:
        """The paths as any adapter takes them."""
        certificate, key = self
        return certificate if key is None else (certificate, key)

    def context(self, verify: bool | str) -> ssl.SSLContext:
        """The TLS context for connections that verify their server so. Raises ``OSError`` as ``requests`` does."""
        return self._contexts.get(verify)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __repr__(self) -> str:
        return f"<client certificate {self.thumbprint} from {self[0]!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client certificate is not pickled; configure the token client on the other side")


class CertificateConnections(HTTPAdapter):
    """An ``HTTPAdapter`` that takes a ``LoadedCertificate`` for ``cert`` too, with connections of its own for each.

    A connection that was opened with one certificate is never used with another, and those of a certificate or a CA
    bundle that was replaced are closed.
    """

    _contexts: dict[tuple[Any, ...], ssl.SSLContext] | None = None

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """As in ``HTTPAdapter``."""
        if not isinstance(cert, LoadedCertificate):
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        parts = urlsplit(request.url or "")
        proxy = select_proxy(str(request.url), proxies)
        manager = self.proxy_manager_for(prepend_scheme_if_needed(proxy, "http")) if proxy else self.poolmanager
        settings: dict[str, Any] = {"cert_reqs": "CERT_NONE" if verify is False else "CERT_REQUIRED"}
        if parts.scheme == "https":
            # A path object names a CA bundle to requests, too.
            verify = os.fspath(verify) if isinstance(verify, os.PathLike) else verify
            settings["ssl_context"] = self._context(cert, verify if isinstance(verify, (bool, str)) else True)
        return manager.connection_from_host(parts.hostname, parts.port, parts.scheme, pool_kwargs=settings)

    def _context(self, cert: LoadedCertificate, verify: bool | str) -> ssl.SSLContext:
        context = cert.context(verify)
        known = self._contexts = {} if self._contexts is None else self._contexts
        replaced = known.get((*cert, verify))
        known[(*cert, verify)] = context
        if replaced is not None and replaced is not context:
            # Pools that are in use close when they are done.
            for each in (self.poolmanager, *self.proxy_manager.values()):
                each.clear()
        return context

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """As in ``HTTPAdapter``; the context of a ``LoadedCertificate`` has what it needs, authorities included."""
        if not isinstance(cert, LoadedCertificate):
            super().cert_verify(conn, url, verify, cert)


def client_certificate(given: CertificateLike, what: str) -> ClientCertificate:
    """The certificate that a caller means. Raises ``ConfigurationError``."""
    if isinstance(given, ClientCertificate):
        return given
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return ClientCertificate(*given)
    if isinstance(given, Mapping) and "certificate" in given and set(given) <= {"certificate", "key", "password"}:
        return ClientCertificate(**given)
    if isinstance(given, (str, os.PathLike)):
        return ClientCertificate(given)
    raise ConfigurationError(
        f"{what}: cert must be the path of a PEM file, the paths of certificate and key, or a table with certificate, "
        "key and password"
    )
