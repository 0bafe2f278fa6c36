"""Measure, and write the table and the plots: ``python -m benchmarks [p1 p3 ...]``.

Without names all is measured, in a quarter of an hour on two cores, and the table in docs/performance.md and
docs/_static/performance-*.svg are written anew; with names only those are measured, and the table is printed.
``savings`` shows what each short way earns, by opening one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import report

PROJECT = Path(__file__).parent.parent

#: Environment variables of the measured process: these, and fillers up to ten. Plain requests reads all of them, so
#: a larger environment would only flatter us.
KEPT = ("PATH", "HOME", "LANG")
VARIABLES = 10
#: Where the table stands in the page.
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def main() -> int:
    """Measure, print or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="p1, p3, ... p11 or savings; all but savings by default")
    parser.add_argument("--json", type=Path, help="keep the figures in this file too")
    parser.add_argument("--from-json", type=Path, help="measure nothing, write what this file holds")
    options = parser.parse_args()
    measured = measure(options.names) if options.from_json is None else json.loads(options.from_json.read_text())
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    text = report.markdown(measured)
    if options.names:
        print(text)
        return 0
    page = PROJECT / "docs" / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
    report.plots(measured, PROJECT / "docs" / "_static")
    print(f"{page.relative_to(PROJECT)} written")
    return 0


def measure(names: list[str]) -> Any:
    """Run the worker in a small environment."""
    environment = {name: os.environ.get(name, "x") for name in KEPT}
    environment |= {f"FILLER_{number}": "x" * 20 for number in range(VARIABLES - len(environment))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.worker", folder, *names]
        ran = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout)


if __name__ == "__main__":
    sys.exit(main())
