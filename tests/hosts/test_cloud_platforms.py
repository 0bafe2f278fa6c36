"""Identities and secrets of cloud platforms: the recipes of two pages, with the platforms' own clients.

What the clients ask is a double on loopback that speaks the platform's protocol: tests/cloud_platforms.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.neighbours.conftest import needed
from tests.test_docs import DOCS
from tests.test_docs_client_authentication import CloudWorld, check_page, world

__all__ = ["world"]

pytestmark = pytest.mark.hosts

PAGES = DOCS / "client-authentication"


def test_the_identity_of_an_aws_role(world: CloudWorld, tmp_path: Path) -> None:
    """What STS says of the role authenticates the client, whose signature the token service verifies."""
    needed("boto3")
    check_page(PAGES / "assertions.md", world, tmp_path)
    assert len(world.aws.requests) == 1
    header, claims = world.service.assertions[-1]
    assert (header["alg"], claims["sub"]) == ("ES384", "arn:aws:iam::123456789012:role/worker")


def test_secrets_of_aws_and_google(world: CloudWorld, tmp_path: Path) -> None:
    """Both secret managers are asked, once for the one token request, and the token service takes the secret."""
    needed("boto3")
    needed("google-auth")
    check_page(PAGES / "client-secret-basic.md", world, tmp_path)
    assert len(world.aws.requests) == 1
    assert [request.target.rpartition("/")[2] for request in world.google.requests] == ["token", "latest:access"]
