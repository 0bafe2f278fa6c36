"""Sender-constrained tokens (RFC 9449)."""

from __future__ import annotations


class DPoPKey:
    """A key that tokens are bound to."""

    #: The JWK thumbprint of the public key (RFC 7638).
    thumbprint: str
