"""Keys and certificates for the interop tests, made anew for each run and never committed."""

from __future__ import annotations

import datetime
import ipaddress
import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc.jwk import ECKey, OKPKey, RSAKey

#: Certificates live for a day: longer than any run, and useless if a run's folder is left behind.
LIFETIME = datetime.timedelta(days=1)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def pem_of(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class SigningKey:
    """One client's key for ``private_key_jwt``."""

    key_id: str
    key: PrivateKey = field(repr=False)

    @property
    def pem(self) -> str:
        return pem_of(self.key).decode()

    def jwk(self, *, private: bool = False, **extra: Any) -> dict[str, Any]:
        """The JWK (RFC 7517), public unless asked otherwise."""
        kind = (
            RSAKey
            if isinstance(self.key, rsa.RSAPrivateKey)
            else ECKey
            if isinstance(self.key, ec.EllipticCurvePrivateKey)
            else OKPKey
        )
        jwk = kind.import_key(pem_of(self.key))
        return {**jwk.as_dict(private=private), "kid": self.key_id, "use": "sig", **extra}


@dataclass(frozen=True)
class Certificate:
    """A certificate with its private key, also as two PEM files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    cert_file: Path
    key_file: Path

    @property
    def pair(self) -> tuple[str, str]:
        return str(self.cert_file), str(self.key_file)

    @property
    def subject(self) -> str:
        """Its subject as RFC 4514 writes it: last attribute first."""
        return self.certificate.subject.rfc4514_string()

    @property
    def thumbprint(self) -> str:
        """``x5t#S256`` (RFC 8705 section 3.1)."""
        return urlsafe_b64encode(self.certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()

    def jwk(self) -> dict[str, Any]:
        """The JWK with ``x5c`` by which a client registers a self-signed certificate (RFC 8705 section 2.2.2)."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        public = SigningKey("self-signed", self.key).jwk()
        return {**public, "x5c": [b64encode(der).decode()]}


class Authority:
    """A certificate authority and what it issued, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interop CA")])
        builder = (
            self._builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        self.certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    def issue(
        self,
        name: str,
        *,
        dns: str | None = None,
        uri: str | None = None,
        server: bool = False,
        self_signed: bool = False,
        folder: Path | None = None,
    ) -> Certificate:
        """A certificate for a server of loopback or for a client, with the common name ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "interop"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        issuer, signer = (subject, key) if self_signed else (self.certificate.subject, self._key)
        builder = (
            self._builder(subject, issuer, key.public_key())
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        names: list[x509.GeneralName] = []
        if server:
            names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        if dns:
            names.append(x509.DNSName(dns))
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        folder = folder or self.folder
        cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(pem_of(key))
        return Certificate(certificate, key, cert_file, key_file)


def signing_keys() -> dict[str, SigningKey]:
    """One key for each family of signature algorithms (RFC 7518 section 3.1, RFC 8037)."""
    return {
        "rsa": SigningKey("rsa", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "p256": SigningKey("p256", ec.generate_private_key(ec.SECP256R1())),
        "p384": SigningKey("p384", ec.generate_private_key(ec.SECP384R1())),
        "p521": SigningKey("p521", ec.generate_private_key(ec.SECP521R1())),
        "ed25519": SigningKey("ed25519", ed25519.Ed25519PrivateKey.generate()),
    }


def jwks(*keys: dict[str, Any]) -> dict[str, Any]:
    """A JWK set."""
    return json.loads(json.dumps({"keys": list(keys)}))  # type: ignore[no-any-return]
