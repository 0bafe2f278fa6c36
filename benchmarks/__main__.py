"""Measure, and write the table and the plots: ``python -m benchmarks [p1 p3 ...]``.

Without names all is measured, in under ten minutes on two cores, and docs/performance-table.md and
docs/performance-*.svg are written anew; with names only those are measured, and the table goes to standard output.
``savings`` shows what each short way earns, by closing one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import report

PROJECT = Path(__file__).parent.parent

#: Environment variables of the measured process: these, and fillers up to ten. Plain requests reads all of them, so
#: a larger environment would only flatter us.
KEPT = ("PATH", "HOME", "LANG")
VARIABLES = 10


def main() -> int:
    """Measure in a process with a small environment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="p1, p3, ... p10 or savings; all but savings by default")
    parser.add_argument("--json", type=Path, help="keep the figures in this file too")
    options = parser.parse_args()
    environment = {name: os.environ.get(name, "x") for name in KEPT}
    environment |= {f"FILLER_{number}": "x" * 20 for number in range(VARIABLES - len(environment))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.worker", folder, *options.names]
        ran = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(ran.stdout)
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    text = report.markdown(measured)
    if options.names:
        print(text)
        return 0
    (PROJECT / "docs" / "performance-table.md").write_text(text, encoding="utf-8")
    report.plots(measured, PROJECT / "docs")
    print("docs/performance-table.md written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
