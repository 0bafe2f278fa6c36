"""The pages about grants run as printed, against a token service that checks assertions and subject tokens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from .granting_service import EXCHANGE, JWT_BEARER, TYPE, GrantingService
from .strict_service import Authority, StrictApi
from .test_docs import DOCS
from .test_docs_client_authentication import API, LOGIN, SECRET, World, _ByHost, _server_context, run_page

PAGES = sorted((DOCS / "grants").glob("*.md"))
GRANTS = {"jwt-bearer": JWT_BEARER, "token-exchange": EXCHANGE}
SIGNERS = ("worker", "worker@project.iam.gserviceaccount.com", "https://workers.example.com")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The hosts of the pages, and the files that their readers have: a secret, a key, a token of the platform."""
    authority = Authority(tmp_path)
    key = ECKey.generate_key("P-256")
    (tmp_path / "worker.key").write_bytes(key.as_pem(private=True))
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "projected-token").write_text("T41NT-projected")
    context = _server_context(authority)
    with GrantingService(tls=context) as service, StrictApi(service, tls=context) as api:
        service.origin, api.origin = f"https://{LOGIN}", f"https://{API}"
        service.secret = SECRET
        service.keys.update(dict.fromkeys(SIGNERS, key.as_dict(private=False)))
        service.audiences = {f"https://{LOGIN}", f"https://{LOGIN}/token", "https://login.salesforce.com"}
        service.takes[TYPE + "jwt"] = {"T41NT-projected"}
        service.documents["/.well-known/oauth-authorization-server"] = {
            "issuer": f"https://{LOGIN}",
            "token_endpoint": f"https://{LOGIN}/token",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        proxy = _ByHost({LOGIN: service.port, API: api.port})
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
        more = {
            "HOME": str(tmp_path),
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
            "REQUESTS_CA_BUNDLE": authority.file,
            "PYTHONPATH": str(DOCS.parent),
        }
        yield World(service, api, {**kept, **more})
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs_as_printed(path: Path, world: World, tmp_path: Path) -> None:
    """The blocks of a page, in order, get tokens by the page's grant and use them."""
    run_page(path, world, tmp_path)
    forms = [request.form for request in world.service.requests if request.method == "POST"]
    by_grant = [form for form in forms if form["grant_type"] == [GRANTS[path.stem]]]
    assert len(by_grant) >= 4
    assert len(world.service.issued) == len(forms)


def test_every_grant_has_a_page() -> None:
    """Each page is linked from the overview."""
    assert {path.stem for path in PAGES} == set(GRANTS)
    overview = (DOCS / "grants.md").read_text(encoding="utf-8")
    assert all(f"(grants/{path.name})" in overview for path in PAGES)
