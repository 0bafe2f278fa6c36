"""Run fuzz targets under `atheris`. Usage: python -m tests.fuzz [NAME] [libFuzzer option...]

Without a name each target runs, one after the other, for the seconds that ``FUZZ_SECONDS`` says (600). A finding ends
the run with a non-zero status; its input is kept as ``crash-*`` in the folder that ``FUZZ_FOLDER`` names (a new
temporary one).
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

#: Seconds: an input that takes longer is a finding (libFuzzer's -timeout). The longest is some ten KiB.
SLOWEST = 5
#: Bytes of an input at most; what is only found in longer ones is tested on its own.
LONGEST = 8_192
#: Those of an answer, which may be as long as a page.
LONGEST_ANSWER = 65_536


def run(name: str, options: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["requests_cc_token", "email", "json", "tomllib"]):
        targets = importlib.import_module("tests.fuzz.targets")
    folder = Path(os.environ.get("FUZZ_FOLDER") or tempfile.mkdtemp(prefix="fuzz-")) / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in targets.DICTIONARIES[name] if '"' not in word), encoding="ascii")
    seconds = os.environ.get("FUZZ_SECONDS", "600")
    longest = LONGEST_ANSWER if name == "token-answer" else LONGEST
    arguments = [
        *("-print_final_stats=1", "-verbosity=0", f"-max_total_time={seconds}", f"-timeout={SLOWEST}"),
        *(f"-max_len={longest}", "-rss_limit_mb=1024", f"-dict={words}", f"-artifact_prefix={folder}{os.sep}"),
    ]
    atheris.Setup([sys.argv[0], *arguments, *options, str(corpus)], targets.TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Fuzz the named target, or each in a process of its own."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        run(sys.argv[1], sys.argv[2:])
        return 0
    from .targets import TARGETS

    worst = 0
    for name in TARGETS:
        print(f"===== {name}", flush=True)  # noqa: T201
        worst = max(worst, subprocess.run([sys.executable, "-m", "tests.fuzz", name, *sys.argv[1:]]).returncode)  # noqa: PLW1510
    return worst


if __name__ == "__main__":
    sys.exit(main())
