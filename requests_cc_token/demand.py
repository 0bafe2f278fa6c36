"""What is asked for now: a token client, one request's overrides, and the key and certificate of this moment."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from .clients import ClientCredentialsClient
from .exceptions import ConfigurationError, TokenRequestError, TokenRequestTimeout
from .grants.grant import OtherTokens
from .parameters import ONE_AUDIENCE, Audience, TokenRequestParameters
from .secret_source import fingerprint, importable_name, slow_hash
from .tokens import Binding

if TYPE_CHECKING:
    from .authentication.certificate import LoadedCertificate
    from .authentication.dpop import DPoPKey


class Demand(NamedTuple):
    """What a caller wants a token for; equal demands are answered by one token.

    A token is bound to key and certificate, so they stay what they are from the token request to the last API call.
    """

    client: ClientCredentialsClient
    #: What this request wants instead of what the client is registered for, or None.
    parameters: TokenRequestParameters | None
    #: The DPoP key of this moment, which never changes (RFC 9449).
    dpop: DPoPKey | None
    #: The client certificate of this moment (RFC 8705).
    certificate: LoadedCertificate | None

    @classmethod
    def of(
        cls,
        client: ClientCredentialsClient,
        parameters: TokenRequestParameters | None = None,
        *,
        within: float | None = None,
    ) -> Demand:
        """What the client wants now. Equal to the one before while ``client.is_fixed``, or its files do not change.

        ``within`` is the seconds that this caller has. Raises ``TokenRequestError`` where the file of its key or
        certificate is no good, or is not read in time, and ``ConfigurationError`` for several audiences where the
        client's grant takes one.
        """
        several = parameters is not None and isinstance(parameters.audience, tuple)
        if several and (client.grant is None or not client.grant.takes_several_audiences):
            raise ConfigurationError(
                f"token client {client.name!r}: the audience of TokenRequestParameters must be one text; {ONE_AUDIENCE}"
            )
        try:
            begun = time.monotonic()
            dpop = None if client.dpop is None else client.dpop.current(within=within)
            left = None if within is None else max(0.0, begun + within - time.monotonic())
            certificate = None if client.cert is None else client.cert.current(within=left)
        except TokenRequestError as error:
            kind = TokenRequestTimeout if isinstance(error, TokenRequestTimeout) else TokenRequestError
            raise kind(f"token client {client.name!r}: {error.args[0]}", client=client.name) from None
        return cls(client, parameters, dpop, certificate)

    @property
    def name(self) -> str:
        """The client's name."""
        return self.client.name

    @property
    def scope(self) -> tuple[str, ...]:
        """The scope tokens asked for."""
        given = self.parameters
        return self.client.scope if given is None or given.scope is None else given.scope

    @property
    def scope_text(self) -> str | None:
        """The scope asked for as token requests carry it: space-separated; None for none."""
        return " ".join(self.scope) or None

    @property
    def resource(self) -> tuple[str, ...]:
        """The resource indicators asked for (RFC 8707)."""
        given = self.parameters
        return self.client.resource if given is None or given.resource is None else given.resource

    @property
    def audience(self) -> Audience:
        """The audience asked for; several for a token exchange (RFC 8693 section 2.1)."""
        given = self.parameters
        return self.client.audience if given is None or given.audience is None else given.audience

    @property
    def authorization_details(self) -> str | None:
        """Rich authorization details as canonical JSON (RFC 9396)."""
        given = self.parameters
        if given is None or given.authorization_details is None:
            return self.client.authorization_details
        return given.authorization_details

    @property
    def form_parameters(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Further form fields by name, sorted."""
        if self.parameters is None or not self.parameters.parameters:
            return self.client.parameters
        return tuple(sorted({**dict(self.client.parameters), **dict(self.parameters.parameters)}.items()))

    @property
    def force_renewal(self) -> bool:
        """Whether a new token is wanted even where a usable one is there."""
        return self.parameters is not None and self.parameters.force_renewal

    @property
    def binding(self) -> Binding | None:
        """What tokens of this demand are bound to, or may be."""
        if self.dpop is None and self.certificate is None:
            return None
        return Binding(self.dpop, self.certificate)

    @property
    def cache_key(self) -> str:
        """A strong hash over an injective serialisation of everything that shapes the token request.

        Scope and resources count as sets; the name does not count. What the client proves itself by does, as this
        process knows it: where its secret comes from, its key. Made anew each time, in some 20 µs: keep it.
        """
        client = self.client
        headers = fingerprint(json.dumps(client.headers)).hex() if client.headers else None
        has_functions = client.customize_request is not None or client.read_answer is not None
        granted = None if client.grant is None else client.grant.identity(client)
        return self._hash(client.auth.identity(client), granted, headers, client.mark if has_functions else None)

    def stored_key(self, others: OtherTokens | None = None) -> str:
        """The key by which a store of several processes keeps the tokens: by what the client can prove at this moment.

        Processes with the same proof have the same key, and whoever reads the store can tell a guess at the secret only
        by a slow hash. Reads the secret, and what a grant brings, which may be a token of the ``others``: to be called
        in the thread that fetches. Raises ``TokenRequestError`` where there is nothing to prove anything with.
        """
        client = self.client
        salt = json.dumps([client.token_endpoint, client.issuer, client.client_id])

        def hashed(secret: str) -> str:
            return slow_hash(secret, salt).hex()

        try:
            proof = client.auth.proof(client, hashed)
            granted = None if client.grant is None else client.grant.proof(client, others)
        except TokenRequestError as error:
            raise TokenRequestError(
                f"token client {client.name!r}: {error.args[0]}",
                client=client.name,
                transient=error.transient,
                retry_after=error.retry_after,
            ) from None
        functions = [
            None if function is None else importable_name(function) or client.mark
            for function in (client.customize_request, client.read_answer)
        ]
        return self._hash(proof, granted, hashed(json.dumps(client.headers)) if client.headers else None, functions)

    def _hash(self, *proven: object) -> str:
        client = self.client
        shape = [
            client.token_endpoint,
            client.issuer,
            client.client_id,
            proven,
            sorted(self.scope),
            sorted(self.resource),
            self.audience,
            self.form_parameters,
            self.authorization_details,
            None if self.dpop is None else self.dpop.thumbprint,
            None if self.certificate is None else self.certificate.thumbprint,
            client.default_lifetime,
            client.strict_scope,
            client.grant_type,
            client.token_type,
        ]
        # JSON keeps texts, lists and null apart, so no two shapes have one serialisation.
        return hashlib.sha256(json.dumps(shape).encode("ascii")).hexdigest()

    def stamp(self) -> Hashable:
        """Something that differs once a secret, key, token or certificate is known to have changed. Never raises."""
        client = self.client
        sources = (client.client_secret, client.auth, client.grant, client.dpop)
        try:
            return tuple(None if source is None else source.stamp() for source in sources)
        except Exception:
            # Somebody's own source or method; asked while a fetch ends, which has to end.
            return None
