"""The page about the foreign servers speaks of the versions that are installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_names_the_pinned_versions() -> None:
    """docs/interop.md was measured with the versions that .ci/interop-setup installs."""
    manifest = json.loads((ROOT / "tests/interop/oidc_provider/package.json").read_text())
    pinned = re.search(r"KEYCLOAK_VERSION:-([\d.]+)\}", (ROOT / ".ci/interop-setup").read_text())
    assert pinned is not None
    page = (ROOT / "docs/interop.md").read_text()
    named = dict(re.findall(r"^\| \[(oidc-provider|Keycloak)\]\S+ \| ([\d.]+) \|", page, re.MULTILINE))
    assert named == {"oidc-provider": manifest["dependencies"]["oidc-provider"], "Keycloak": pinned[1]}
