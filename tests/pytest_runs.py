"""Runs of pytest over suites that tests write, as users would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Seconds after which a run counts as hanging.
PATIENCE = 120.0


def run_pytest(
    folder: Path,
    *arguments: str | Path,
    interpreter: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run pytest in the folder; ``interpreter`` are options of Python's own. Coverage, where it measures, measures it.

    The package is that of this checkout.
    """
    return subprocess.run(
        [sys.executable, *interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
