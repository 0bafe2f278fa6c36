"""Installs with the lowest versions that setup.cfg admits. Usage: python .ci/floors.py FILE [ARGUMENT...].

FILE is where the constraints are written. The arguments are those of ``pip install``; without any, nothing is
installed. Only what users install counts: the package's own requirements and the extras before `test`.
"""

import configparser
import re
import subprocess
import sys
from pathlib import Path

#: The extras of the workshop. Their floors only keep the resolver from digging.
WORKSHOP = {"test", "lint", "types", "docs", "browser"}

REQUIREMENT = re.compile(r"(?P<name>[\w-]+)(\[[\w,]+\])?\s*>=\s*(?P<floor>[\w.]+)\s*(?P<marker>;.*)?")


def floors(setup_cfg: Path) -> list[str]:
    """One `name==version` for each requirement, with its marker."""
    config = configparser.RawConfigParser()
    config.read(setup_cfg, encoding="utf-8")
    extras = config["options.extras_require"]
    wanted = [config["options"]["install_requires"], *(extras[name] for name in extras if name not in WORKSHOP)]
    lines = set()
    for line in "\n".join(wanted).splitlines():
        requirement = line.split("#")[0].strip()
        if not requirement or requirement.startswith("requests_cc_token["):
            continue
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise SystemExit(f"setup.cfg: {requirement!r} is no plain floor (name>=version)")
        lines.add(f"{match['name']}=={match['floor']}{match['marker'] or ''}")
    return sorted(lines)


def main(file: str, *arguments: str) -> int:
    """Install; the exit code of pip."""
    Path(file).write_text("\n".join(floors(Path(__file__).parent.parent / "setup.cfg")) + "\n", encoding="utf-8")
    if not arguments:
        return 0
    command = [sys.executable, "-m", "pip", "install", "--constraint", file, *arguments]
    return subprocess.call(command)  # noqa: S603 - what tox asks for


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
