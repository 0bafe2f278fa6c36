"""truststore and pyOpenSSL, which put other TLS contexts in the place of Python's."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import Services, check_every_way, needed
from .worker import SECRET

pytestmark = pytest.mark.neighbours


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Who vouches for the services on TLS."""
    return tmp_path / "ca.pem"


@pytest.fixture
def services(authority: Path) -> Iterator[Services]:
    """Token service and API on TLS."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with TokenService(ssl_context=context) as tokens, ProtectedApi(tokens, ssl_context=context) as api:
        tokens.add_client("worker", SECRET, scopes="api")
        yield Services(tokens, api)


def test_truststore(services: Services, authority: Path) -> None:
    """Both channels trust what the system trusts, and nothing besides."""
    needed("truststore")
    check_every_way(
        services, "import truststore; truststore.inject_into_ssl()", SSL_CERT_FILE=str(authority), SSL_CERT_DIR=""
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_pyopenssl(services: Services, authority: Path, when: str) -> None:
    """Both channels verify by it, whether it was injected before our import or after."""
    needed("pyOpenSSL")
    quiet = "import warnings; warnings.simplefilter('ignore')"
    inject = f"{quiet}; import urllib3.contrib.pyopenssl as p; p.inject_into_urllib3()"
    check_every_way(
        services,
        inject if when == "before" else f"import requests_cc_token.management\n{inject}",
        REQUESTS_CA_BUNDLE=str(authority),
    )
