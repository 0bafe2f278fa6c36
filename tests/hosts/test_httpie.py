"""HTTPie: the plugin ``cc``, which its entry point brings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.neighbours.conftest import PATIENCE, Services, needed

from .conftest import check_short_lived

pytestmark = pytest.mark.hosts


def http(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "httpie", "--ignore-stdin", "--check-status", "--print=Hh", *arguments],
        env={**os.environ, "REQUESTS_CC_TOKEN_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_calls_share_one_token(services: Services, config: Path) -> None:
    """``http -A cc -a erp: URL``: each call finds the token of the one before; a token that was revoked is renewed."""
    needed("httpie")
    for tokens in (1, 1, 2):
        done = http(config, "-A", "cc", "-a", "erp:", services.api.base_url + "test")
        assert done.returncode == 0, done.stderr
        assert "200 OK" in done.stdout
        assert len(services.tokens.requests) == tokens
        if len(services.api.requests) == 2:
            services.tokens.revoke_all()


def test_a_token_that_has_expired(services: Services, config: Path) -> None:
    """The next call asks for another."""
    needed("httpie")

    def call() -> None:
        done = http(config, "-A", "cc", "-a", "erp:", services.api.base_url + "test")
        assert done.returncode == 0, done.stderr

    check_short_lived(call, services)


def test_a_session_that_there_is_not(services: Services, config: Path) -> None:
    """Its name and those that there are come in the error."""
    needed("httpie")
    done = http(config, "-A", "cc", "-a", "other:", services.api.base_url + "test")
    assert done.returncode != 0
    assert "has no session 'other'; it has ['erp']" in done.stderr
