"""requests-toolbelt: streamed uploads, base addresses, adapters of other TLS settings, dumps."""

from __future__ import annotations

import ssl

import pytest
import requests

from .conftest import Services, Way, needed
from .worker import by_mount, plain

pytestmark = pytest.mark.neighbours


def test_a_streamed_multipart_upload(way: Way, services: Services) -> None:
    """It arrives whole, and again whole after the token was refused."""
    needed("requests-toolbelt")
    from requests_toolbelt import MultipartEncoder

    with way(services.place) as worker:
        content = "x" * 300_000
        form = MultipartEncoder({"file": ("name.txt", content, "text/plain")})
        answer = worker.call("upload", "POST", data=form)
        assert answer.status_code == 200
        assert answer.json()["length"] == form.len


@pytest.mark.parametrize("make", [plain, by_mount])
def test_a_session_with_a_base_address(services: Services, make: Way) -> None:
    """Relative addresses of its own are joined as before."""
    needed("requests-toolbelt")
    from requests_toolbelt.sessions import BaseUrlSession

    session = BaseUrlSession(services.place.base_url)
    with make(services.place, session) as worker:
        assert worker.call().status_code == 200
        if make is by_mount:
            assert session.get("test").status_code == 200


def test_an_adapter_with_another_tls_version(services: Services) -> None:
    """``SSLAdapter`` as the inner adapter."""
    needed("requests-toolbelt")
    from requests_toolbelt import SSLAdapter

    with by_mount(services.place, inner=SSLAdapter(ssl.PROTOCOL_TLS_CLIENT)) as worker:
        assert worker.call().status_code == 200


def test_a_dump_shows_the_callers_request(services: Services) -> None:
    """``dump_all`` of a response shows no token."""
    needed("requests-toolbelt")
    from requests_toolbelt.utils import dump

    with by_mount(services.place, requests.Session()) as worker:
        shown = dump.dump_all(worker.call())
    assert b"GET /api/test" in shown
    assert b"Authorization" not in shown.replace(b"Authorization:", b"Authorization", 0).split(b"\r\n\r\n")[0]
