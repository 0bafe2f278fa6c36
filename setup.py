"""All but one thing is in setup.cfg: how README reads where its files are not beside it."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parent
#: A link to a file beside README, or with a mark of exclamation a picture; or code, in which nothing is one.
FILE_OR_CODE = re.compile(
    r"(?P<mark>!?)\[(?P<words>[^\]]*)\]\((?!https?:|#)(?P<path>[^)\s]+)\)|(?s:```.*?```)|`[^`\n]*`"
)


def long_description(readme, files="", pictures=""):
    """README with links to where its files can be read; where that is nowhere, without what would lead nowhere."""

    def absolute(found):
        mark, words, path = found.group("mark", "words", "path")
        if path is None:
            return found.group()
        where = pictures if mark else files
        if where:
            return f"{mark}[{words}]({where}{path})"
        return "" if mark else words

    return FILE_OR_CODE.sub(absolute, readme)


def addresses():
    """What setup.cfg says of where the files of this version are, under ``[readme]``."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    version = config["metadata"]["version"]
    return {key: address.replace("{version}", version) for key, address in config["readme"].items()}


if __name__ == "__main__":
    # Here, for who wants the functions only: a Python of 3.12 or newer has no setuptools of its own.
    from setuptools import setup

    setup(long_description=long_description((ROOT / "README.md").read_text(encoding="utf-8"), **addresses()))
