"""The clients that the interop tests register with each server, and their secrets."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from .pki import Authority, Certificate, SigningKey, jwks, signing_keys

#: Every ASCII character that form encoding, Basic or a shell may treat in its own way (RFC 6749 appendix B).
SPECIAL = "p:a%s+w/o=r&d ~*()\"'\\<>?#[]@!$,;^`{|}"
#: The algorithm of each test of private_key_jwt, and the key that it takes.
ASSERTION_ALGORITHMS = {
    "RS256": "rsa",
    "RS384": "rsa",
    "RS512": "rsa",
    "PS256": "rsa",
    "PS384": "rsa",
    "PS512": "rsa",
    "ES256": "p256",
    "ES384": "p384",
    "ES512": "p521",
    "EdDSA": "ed25519",
}
#: The resource indicator that both servers know, for JWT access tokens; and the one of opaque tokens.
RESOURCE, OPAQUE_RESOURCE = "https://jwt.example/", "https://opaque.example/"
#: The workload that another authority vouches for, as Kubernetes and as SPIFFE name it.
SERVICE_ACCOUNT, SPIFFE_ID = "system:serviceaccount:default:worker", "spiffe://interop.example/worker"
#: Who signs the assertions of the JWT bearer grant, and for which account.
ASSERTION_ISSUER, WORKER_ACCOUNT = "https://workers.interop.example", "nightly-report"
#: Seconds: too short for a margin that is meant for hours, and enough for three calls on a busy machine.
SHORT_LIFETIME = 10


@dataclass(frozen=True)
class Identity:
    """What the clients prove themselves with: made once a run, known to both servers."""

    authority: Authority
    server: Certificate
    keys: dict[str, SigningKey]
    by_subject: Certificate
    by_dns: Certificate
    by_uri: Certificate
    self_signed: Certificate
    #: From the same authority, registered for nobody.
    stranger: Certificate
    #: Long enough for HS512 (RFC 7518 section 3.2), with every special character.
    secret: str = field(repr=False, default=SPECIAL + secrets.token_urlsafe(48))

    @classmethod
    def make(cls, authority: Authority) -> Identity:
        return cls(
            authority=authority,
            server=authority.issue("server", server=True),
            keys=signing_keys(),
            by_subject=authority.issue("tls-subject"),
            by_dns=authority.issue("tls-dns", dns="worker.interop.example"),
            by_uri=authority.issue("tls-uri", uri="spiffe://interop.example/worker"),
            self_signed=authority.issue("tls-self-signed", self_signed=True),
            stranger=authority.issue("stranger"),
        )


def oidc_provider_clients(identity: Identity) -> list[dict[str, Any]]:
    """Client metadata in the names of RFC 7591, as oidc-provider reads them."""
    common = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}

    def client(client_id: str, method: str, **metadata: Any) -> dict[str, Any]:
        return {
            "client_id": client_id,
            "token_endpoint_auth_method": method,
            "scope": "read write",
            **common,
            **metadata,
        }

    secret = {"client_secret": identity.secret}
    bound = {"tls_client_certificate_bound_access_tokens": True}
    public = {name: key.jwk() for name, key in identity.keys.items()}
    return [
        client("basic", "client_secret_basic", authorization_details_types=["payment"], **secret),
        client("basic " + SPECIAL, "client_secret_basic", **secret),
        client("post", "client_secret_post", **secret),
        client("post " + SPECIAL, "client_secret_post", **secret),
        client("secret-jwt", "client_secret_jwt", **secret),
        client("resource", "client_secret_basic", **secret),
        client("short", "client_secret_basic", token_lifetime=SHORT_LIFETIME, **secret),
        client("the-api", "client_secret_basic", **secret),
        client("private-key", "private_key_jwt", jwks=jwks(*public.values())),
        client("fapi2-private-key", "private_key_jwt", jwks=jwks(*public.values())),
        client("tls-subject", "tls_client_auth", tls_client_auth_subject_dn=identity.by_subject.subject, **bound),
        client("tls-dns", "tls_client_auth", tls_client_auth_san_dns="worker.interop.example", **bound),
        client("tls-uri", "tls_client_auth", tls_client_auth_san_uri="spiffe://interop.example/worker", **bound),
        client("tls-self-signed", "self_signed_tls_client_auth", jwks=jwks(identity.self_signed.jwk()), **bound),
        client("private-key-tls-bound", "private_key_jwt", jwks=jwks(*public.values()), **bound),
        client("dpop", "client_secret_basic", dpop_bound_access_tokens=True, **secret),
        client("private-key-dpop", "private_key_jwt", jwks=jwks(*public.values()), dpop_bound_access_tokens=True),
    ]


def oidc_provider_configuration(identity: Identity) -> dict[str, Any]:
    """What server.mjs reads."""
    signing = {name: key.jwk(private=True) for name, key in signing_keys().items() if name in {"rsa", "p256"}}
    return {
        "tls": {
            "key": identity.server.key_file.read_text(),
            "certificate": identity.server.cert_file.read_text(),
            "client_ca": identity.authority.file.read_text(),
        },
        "clients": oidc_provider_clients(identity),
        "jwks": jwks(*signing.values()),
    }


def keycloak_clients(identity: Identity) -> list[dict[str, Any]]:
    """Clients in the words of Keycloak's realm import."""

    def client(client_id: str, authenticator: str, secret: str | None = None, **attributes: str) -> dict[str, Any]:
        return {
            "clientId": client_id,
            "protocol": "openid-connect",
            "enabled": True,
            "publicClient": False,
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "directAccessGrantsEnabled": False,
            "clientAuthenticatorType": authenticator,
            **({"secret": secret} if secret else {}),
            "attributes": {name.replace("__", "."): value for name, value in attributes.items()},
            "defaultClientScopes": ["basic", "audience"],
            "optionalClientScopes": ["read", "write"],
        }

    secret = identity.secret
    key_set = json.dumps(jwks(*(key.jwk() for key in identity.keys.values())))
    keys = {"use__jwks__string": "true", "jwks__string": key_set}
    x509 = {"x509__subjectdn": identity.by_subject.subject, "x509__allow__regex__pattern__comparison": "false"}
    return [
        client("basic", "client-secret", secret),
        client("basic " + SPECIAL, "client-secret", secret),
        client("post", "client-secret", secret),
        client("post " + SPECIAL, "client-secret", secret),
        client("secret-jwt", "client-secret-jwt", secret),
        client("short", "client-secret", secret, access__token__lifespan=str(SHORT_LIFETIME)),
        # Keycloak 26.7 fails with 500 on a resource indicator unless the answer also holds a refresh token.
        client("resource", "client-secret", secret, client_credentials__use_refresh_token="true"),
        # resource_url is by what Keycloak's experimental resource indicators find the audience.
        client("the-api", "client-secret", secret, resource_url=RESOURCE),
        client("private-key", "client-jwt", **keys),
        client("tls-subject", "client-x509", **x509, tls__client__certificate__bound__access__tokens="true"),
        client("private-key-tls-bound", "client-jwt", **keys, tls__client__certificate__bound__access__tokens="true"),
        client("dpop", "client-secret", secret, dpop__bound__access__tokens="true"),
        client(
            "service-account",
            "federated-jwt",
            jwt__credential__issuer="cluster",
            jwt__credential__sub=SERVICE_ACCOUNT,
        ),
        client("spiffe", "federated-jwt", jwt__credential__issuer="spire", jwt__credential__sub=SPIFFE_ID),
        client("private-key-dpop", "client-jwt", **keys, dpop__bound__access__tokens="true"),
        # What this one's tokens are for may exchange them.
        {**client("exchanged", "client-secret", secret), "defaultClientScopes": ["basic", "for-exchange"]},
        client("exchange", "client-secret", secret, standard__token__exchange__enabled="true"),
        client(
            "bearer",
            "client-secret",
            secret,
            oauth2__jwt__authorization__grant__enabled="true",
            oauth2__jwt__authorization__grant__idp="workers",
        ),
    ]


def keycloak_realm(identity: Identity, workloads: str) -> dict[str, Any]:
    """A realm for ``--import-realm``; ``workloads`` is the address of the authority that vouches for workloads."""

    def scope(name: str, *mappers: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "protocol": "openid-connect",
            "attributes": {"include.in.token.scope": "true"},
            "protocolMappers": list(mappers),
        }

    subject = {
        "name": "sub",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-sub-mapper",
        "config": {"access.token.claim": "true", "introspection.token.claim": "true"},
    }

    def audience(client_id: str) -> dict[str, Any]:
        return {
            "name": client_id,
            "protocol": "openid-connect",
            "protocolMapper": "oidc-audience-mapper",
            "config": {
                "included.client.audience": client_id,
                "access.token.claim": "true",
                "introspection.token.claim": "true",
            },
        }

    return {
        "realm": "interop",
        "enabled": True,
        "sslRequired": "all",
        "accessTokenLifespan": 600,
        "clientScopes": [
            scope("basic", subject),
            scope("audience", audience("the-api")),
            scope("for-exchange", audience("exchange")),
            scope("read"),
            scope("write"),
        ],
        "clients": keycloak_clients(identity),
        "identityProviders": [
            {
                "alias": "cluster",
                "providerId": "kubernetes",
                "enabled": True,
                "config": {"issuer": workloads.rstrip("/")},
            },
            {
                "alias": "spire",
                "providerId": "spiffe",
                "enabled": True,
                "config": {"trustDomain": "spiffe://interop.example", "bundleEndpoint": workloads + "bundle"},
            },
            {
                "alias": "workers",
                "providerId": "jwt-authorization-grant",
                "enabled": True,
                "config": {
                    "issuer": ASSERTION_ISSUER,
                    "useJwksUrl": "true",
                    "jwksUrl": workloads + "keys",
                    "jwtAuthorizationGrantEnabled": "true",
                    "jwtAuthorizationGrantAllowedClockSkew": "15",
                },
            },
        ],
        # The account of a worker, which its assertions name.
        "users": [
            {
                "username": WORKER_ACCOUNT,
                "enabled": True,
                "federatedIdentities": [
                    {"identityProvider": "workers", "userId": WORKER_ACCOUNT, "userName": WORKER_ACCOUNT}
                ],
            }
        ],
    }
