"""Private keys that sign: from PEM, a JWK or a file, by joserfc (the extra ``jose``)."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import ssl
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Union

from requests_cc_token.exceptions import ConfigurationError, TokenRequestError
from requests_cc_token.keyword_arguments import checked_text
from requests_cc_token.secret_source import SecretLike, SecretSource, fingerprint, secret_source
from requests_cc_token.watched_files import UnusableFileError, WatchedFiles, is_path

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from joserfc.jws import JWSRegistry

#: The asymmetric algorithms (RFC 7518 section 3.1, RFC 8037, RFC 9864), and the key that each wants.
SIGNING_ALGORITHMS: Mapping[str, str] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    "ES256": "EC P-256",
    "ES384": "EC P-384",
    "ES512": "EC P-521",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
}
#: The algorithms of a shared secret.
MAC_ALGORITHMS = ("HS256", "HS384", "HS512")

#: What a key signs by where nobody says: what servers support most widely.
_USUAL_ALGORITHM = {"RSA": "RS256", "EC P-256": "ES256", "EC P-384": "ES384", "EC P-521": "ES512", "Ed25519": "EdDSA"}

_CERTIFICATE_BEGINS, _CERTIFICATE_ENDS = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"

#: What is wrong with an encrypted key, for signing and for TLS.
ENCRYPTED = "it is encrypted, so give its password="
UNDECRYPTED = "it is encrypted, and the password does not fit, or the file is damaged"

_EXTRA = "needs joserfc: pip install requests_cc_token[jose]"


class SigningKey:
    """One private key with the algorithm it signs by. Shows nothing of itself and is not pickled."""

    __slots__ = ("_key", "algorithm", "certificate", "fingerprint", "key_id", "public_jwk", "thumbprint")

    def __init__(
        self,
        key: Any,
        algorithm: str,
        key_id: str | None,
        public_jwk: Mapping[str, Any],
        certificate: str | None = None,
    ) -> None:
        self._key = key
        #: The JWS algorithm, ``"ES256"`` for example.
        self.algorithm = algorithm
        #: The ``kid``, or None.
        self.key_id = key_id
        #: The public key's required members only (RFC 7517).
        self.public_jwk = public_jwk
        #: ``x5t#S256`` of the certificate that was in the same PEM, or None.
        self.certificate = certificate
        #: The JWK thumbprint of the public key (RFC 7638).
        self.thumbprint: str = key.thumbprint()
        #: A salted hash, comparable within this process.
        self.fingerprint = fingerprint(f"{self.thumbprint} {algorithm} {key_id} {certificate}")

    def __repr__(self) -> str:
        return f"<{self.algorithm} key {self.thumbprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled; configure the token client on the other side")

    def used_for(self, algorithm: str | None, key_id: str | None, what: str) -> SigningKey:
        """The same key with another algorithm or key id. Raises ``ConfigurationError`` where they do not fit."""
        algorithm = algorithm or self.algorithm
        if algorithm == self.algorithm and key_id in (None, self.key_id):
            return self
        kind = SIGNING_ALGORITHMS[self.algorithm]
        if SIGNING_ALGORITHMS[algorithm] != kind:
            raise ConfigurationError(f"{what}: {_misfit(kind, algorithm)}")
        return SigningKey(self._key, algorithm, key_id or self.key_id, self.public_jwk, self.certificate)

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """A JWT in compact form (RFC 7519). Raises ``TokenRequestError``."""
        return signed(self._key, {"alg": self.algorithm, **header}, claims)


#: What a key may be given as: PEM text or bytes, a JWK as a mapping or JSON, ``{"file": path}``, ``{"env": name}``.
KeyLike = Union[str, bytes, Mapping[str, Any], SigningKey]


def signed(key: Any, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A JWT in compact form (RFC 7519). Raises ``TokenRequestError``."""
    from joserfc import jws

    payload = json.dumps(claims, separators=(",", ":"))
    try:
        return jws.serialize_compact(dict(header), payload, key, registry=_registry())
    except Exception as error:
        reason = type(error).__name__
        raise TokenRequestError(f"a JWT could not be signed by {header['alg']} ({reason})", transient=False) from None


@functools.cache
def _registry() -> JWSRegistry:
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        """The algorithms of this module. joserfc's own warns of EdDSA, the name by which servers know it."""

        def get_alg(self, name: str) -> Any:
            # The older releases know Ed25519 by its older name only; the signature is the same.
            return self.algorithms.get(name) or self.algorithms["EdDSA"]

    return Registry()


class SigningKeySource:
    """Where a signing key comes from; keys in files are read again once they have changed."""

    def __init__(
        self,
        given: KeyLike,
        *,
        algorithm: str | None,
        key_id: str | None,
        password: SecretLike | None,
        what: str,
    ) -> None:
        require_jose(what)
        check_algorithm(algorithm, what)
        if key_id is not None:
            checked_text(key_id, f"{what}: key_id")
        self._what = what
        self._wanted = (algorithm, key_id)
        self._password = None if password is None else secret_source(password, f"{what}: password")
        self._key: SigningKey | None = None
        self._files: WatchedFiles[SigningKey] | None = None
        self._source: SecretSource | None = None
        self._read: tuple[Hashable, SigningKey] | None = None
        if isinstance(given, SigningKey):
            if password is not None:
                raise ConfigurationError(f"{what}: password is for encrypted PEM, and this key is read already")
            self._key = given.used_for(algorithm, key_id, what)
        elif isinstance(given, Mapping) and set(given) == {"file"}:
            path = _path(given["file"], what)
            self._files = WatchedFiles([path], lambda contents: self._load(contents[0]), "key file")
        elif isinstance(given, Mapping) and set(given) == {"env"}:
            self._source = secret_source(given, f"{what}: key")
        else:
            self._key = self._loaded_now(given)

    def __repr__(self) -> str:
        return repr(self._key or self._files or self._source)

    @property
    def algorithm(self) -> str:
        """The JWS algorithm: the one that was asked for, else what fits the key.

        Raises ``TokenRequestError`` where that depends on a file that is no good.
        """
        return self.told_algorithm or self.get().algorithm

    @property
    def told_algorithm(self) -> str | None:
        """The algorithm as far as it is known without reading a file."""
        return self._wanted[0] if self._key is None else self._key.algorithm

    @property
    def identity(self) -> str:
        """What tells this source from those that may give another key, within this process."""
        if self._key is not None:
            return self._key.thumbprint
        if self._files is not None:
            return f"file {self._files.paths[0]}"
        assert self._source is not None
        return self._source.identity

    @property
    def is_fixed(self) -> bool:
        """Whether the key never changes."""
        return self._key is not None

    def get(self) -> SigningKey:
        """The key as it is now. Raises ``TokenRequestError`` where there is none, or it is not read in time."""
        return self._from_source() if self._files is None else self._files.get()

    def recent(self, within: float | None = None) -> SigningKey:
        """The key as it was a second ago at most; ``within`` is the seconds that this caller has.

        Raises ``TokenRequestError`` where there is none, or it is not read in time.
        """
        return self._from_source() if self._files is None else self._files.recent(within)

    def _from_source(self) -> SigningKey:
        if self._key is not None:
            return self._key
        assert self._source is not None
        stamp = self._source.stamp()
        if self._read is not None and self._read[0] == stamp:
            return self._read[1]
        try:
            key = self._load(self._source.read().encode())
        except UnusableFileError as error:
            raise TokenRequestError(f"{self._what}: the key from {self._source.description}: {error}") from None
        self._read = stamp, key
        return key

    def stamp(self) -> Hashable:
        """Something that differs once the key is known to have changed."""
        if self._files is not None:
            return self._files.stamp()
        return self._source.stamp() if self._source is not None else None

    def _loaded_now(self, given: Any) -> SigningKey:
        hint = ""
        try:
            if isinstance(given, Mapping):
                given = json.dumps(dict(given))
            if isinstance(given, str):
                hint = "" if "\n" in given or "{" in given else '; that of a file is given as {"file": path}'
                given = given.encode()
            if not isinstance(given, bytes):
                raise UnusableFileError("it must be PEM, a JWK, or {'file': path}")
            return self._load(given)
        except UnusableFileError as error:
            raise ConfigurationError(f"{self._what}: the key cannot be used: {error}{hint}") from None
        except (TypeError, ValueError, RecursionError):
            raise ConfigurationError(f"{self._what}: the key cannot be used: it is no JWK") from None

    def _load(self, content: bytes) -> SigningKey:
        """The key. Raises ``UnusableFileError``."""
        try:
            password = None if self._password is None else self._password.read().encode()
            return _loaded(content, password, *self._wanted)
        except TokenRequestError as error:
            raise UnusableFileError(str(error)) from None
        except UnusableFileError:
            raise
        except Exception as error:
            reason = type(error).__name__
            raise UnusableFileError(f"it is no private key that can be read ({reason})") from None


def _loaded(content: bytes, password: bytes | None, algorithm: str | None, key_id: str | None) -> SigningKey:
    """The key of PEM or JSON. What the libraries raise here may quote it, so it is not passed on."""
    is_jwk = content.lstrip().startswith(b"{")
    if is_jwk:
        jwk = json.loads(content)
        if "d" not in jwk:
            raise UnusableFileError("it is a public key" if jwk.get("kty") != "oct" else "it is no asymmetric key")
        kind = _kind_of_jwk(jwk)
        key_id = key_id or (jwk["kid"] if isinstance(jwk.get("kid"), str) else None)
        # Members such as "use" and "key_ops" are the server's business, not a reason to refuse our own key.
        members = {name: value for name, value in jwk.items() if name in _JWK_MEMBERS}
    else:
        kind, members = _native(content, password)
    if algorithm is None:
        algorithm = _USUAL_ALGORITHM[kind]
    if SIGNING_ALGORITHMS[algorithm] != kind:
        raise UnusableFileError(_misfit(kind, algorithm))
    key = _key_class(kind).import_key(members)
    if kind == "Ed25519" and not _belongs_together(key):
        raise UnusableFileError("its public part is that of another key")
    public = {n: v for n, v in key.as_dict(private=False).items() if n in ("kty", "crv", "x", "y", "n", "e")}
    certificate = None if is_jwk else certificate_of(key.public_key, content)
    return SigningKey(
        key, algorithm, key_id, public, None if certificate is None else thumbprint_of(certificate)
    )


def certificate_of(public_key: Any, content: bytes) -> Certificate | None:
    """The key's certificate in PEM (RFC 7515 section 4.1.8), which those of authorities may surround.

    None where there are no certificates. Where there are others only, the wrong two were put together, or a file is in
    the middle of a rotation: ``UnusableFileError``.
    """
    if _CERTIFICATE_BEGINS not in content:
        return None
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if content.count(_CERTIFICATE_BEGINS) > content.count(_CERTIFICATE_ENDS):
        raise UnusableFileError("the certificate in it is cut off")
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise UnusableFileError("the certificate in it cannot be read") from None
    encoding = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    wanted = public_key.public_bytes(*encoding)
    for certificate in certificates:
        if certificate.public_key().public_bytes(*encoding) == wanted:
            return certificate
    raise UnusableFileError("the certificate in it is that of another key; put the one of this key beside it")


def thumbprint_of(certificate: Certificate) -> str:
    """``x5t#S256`` of a certificate."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return sha256_url(certificate.public_bytes(Encoding.DER))


def _misfit(kind: str, algorithm: str) -> str:
    fitting = ", ".join(name for name, wanted in SIGNING_ALGORITHMS.items() if wanted == kind)
    return f"it is of kind {kind}, so algorithm={algorithm!r} does not fit it, but {fitting} does"


def _belongs_together(key: Any) -> bool:
    """Whether the public part is the private one's. Of Ed25519 only: with the others the libraries see to it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    derived = key.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return bool(base64.urlsafe_b64encode(derived).rstrip(b"=").decode("ascii") == key.as_dict(private=False)["x"])


_JWK_MEMBERS = frozenset({"kty", "crv", "x", "y", "d", "n", "e", "p", "q", "dp", "dq", "qi", "oth"})


def _kind_of_jwk(jwk: Mapping[str, Any]) -> str:
    kty, curve = jwk.get("kty"), jwk.get("crv")
    kind = {"RSA": "RSA", "EC": f"EC {curve}", "OKP": str(curve)}.get(str(kty), str(kty))
    if kind not in _USUAL_ALGORITHM:
        raise UnusableFileError(f"it is of kind {kind[:40]!r}; known are {', '.join(_USUAL_ALGORITHM)}")
    return kind


def _key_class(kind: str) -> Any:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    return {"RSA": RSAKey, "Ed25519": OKPKey}.get(kind, ECKey)


def _native(content: bytes, password: bytes | None) -> tuple[str, Any]:
    """The kind of a PEM key, and the key as joserfc takes it: PEM without a password."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if b"PRIVATE KEY" not in content:
        raise UnusableFileError(_instead_of_a_key(content))
    encrypted = b"ENCRYPTED" in content
    if encrypted and password is None:
        raise UnusableFileError(ENCRYPTED)
    try:
        native: Any = serialization.load_pem_private_key(content, password if encrypted else None)
    except ValueError:
        if encrypted:
            raise UnusableFileError(UNDECRYPTED) from None
        raise
    curves = {"secp256r1": "EC P-256", "secp384r1": "EC P-384", "secp521r1": "EC P-521"}
    if isinstance(native, rsa.RSAPrivateKey):
        kind = "RSA"
    elif isinstance(native, ed25519.Ed25519PrivateKey):
        kind = "Ed25519"
    elif isinstance(native, ec.EllipticCurvePrivateKey) and native.curve.name in curves:
        kind = curves[native.curve.name]
    else:
        raise UnusableFileError(f"it is of no known kind; known are {', '.join(_USUAL_ALGORITHM)}")
    plain = native.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return kind, plain


def _instead_of_a_key(content: bytes) -> str:
    if b"-----BEGIN" in content:
        return "it is a public key or certificate; the private key has to be in it"
    if content.startswith(b"\x30"):  # a SEQUENCE of ASN.1, as of every .pfx, .p12 and .der
        return "it is PKCS #12 or DER, and no PEM; of a .pfx file openssl pkcs12 -nodes -in FILE makes one"
    return 'it is no PEM, which begins with "-----BEGIN"'


def generated(algorithm: str, what: str) -> SigningKey:
    """A new key for the algorithm. Raises ``ConfigurationError``."""
    require_jose(what)
    check_algorithm(algorithm, what)
    kind = SIGNING_ALGORITHMS[algorithm]
    # RFC 7518 section 3.3: an RSA key has 2048 bits at least.
    size = {"RSA": 2048, "Ed25519": "Ed25519"}.get(kind, kind.removeprefix("EC "))
    key = _key_class(kind).generate_key(size)
    public = {n: v for n, v in key.as_dict(private=False).items() if n in ("kty", "crv", "x", "y", "n", "e")}
    return SigningKey(key, algorithm, None, public)


def require_jose(what: str) -> None:
    """Raise ``ConfigurationError`` where joserfc is not installed."""
    try:
        import joserfc.jws  # noqa: F401
    except ImportError:
        raise ConfigurationError(f"{what} {_EXTRA}") from None


def check_algorithm(algorithm: object, what: str, known: Any = SIGNING_ALGORITHMS) -> None:
    """Raise ``ConfigurationError`` for an unknown algorithm; ``none`` is no algorithm here (RFC 7523 section 3)."""
    if algorithm is not None and not (isinstance(algorithm, str) and algorithm in known):
        raise ConfigurationError(f"{what}: algorithm must be one of {', '.join(known)}")


def thumbprint_of_pem(content: bytes) -> str | None:
    """The SHA-256 thumbprint of the first certificate in PEM (RFC 8705 section 3.1), or None. Raises ``ValueError``."""
    # Not by a pattern, which looks for an end from each beginning on: minutes, in a file of beginnings only.
    begin = content.find(_CERTIFICATE_BEGINS)
    end = content.find(_CERTIFICATE_ENDS, begin)
    if begin < 0 or end < 0:
        return None
    pem = content[begin : end + len(_CERTIFICATE_ENDS)].decode("ascii")
    return sha256_url(ssl.PEM_cert_to_DER_cert(pem))


def sha256_url(data: bytes) -> str:
    """The SHA-256 hash in base64url without padding, as JOSE writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")


def _path(given: object, what: str) -> Path:
    if not is_path(given):
        raise ConfigurationError(f'{what}: {{"file": path}} needs a path')
    return Path(given)  # type: ignore[arg-type]
