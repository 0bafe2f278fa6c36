"""Sphinx: furo and MyST. Built by `tox -e docs`, where a warning is an error."""

import configparser
import os
import sys
from pathlib import Path

root = Path(__file__).parent.parent
sys.path.insert(0, str(root))

setup_cfg = configparser.RawConfigParser()
setup_cfg.read(root / "setup.cfg", encoding="utf-8")

project = "requests_cc_token"
author = "the requests_cc_token maintainers"
project_copyright = author
release = version = setup_cfg["metadata"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
# Types of others are links where the site is published. An inventory that cannot be fetched is a warning, and a warning
# is an error, so a build that has to pass without a network does not ask.
if os.environ.get("DOCS_INTERSPHINX") or os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "requests": ("https://requests.readthedocs.io/en/stable", None),
        "urllib3": ("https://urllib3.readthedocs.io/en/stable", None),
    }
myst_enable_extensions = ["colon_fence", "deflist"]
# Links to headings of other pages, as README.md has them too.
myst_heading_anchors = 3
exclude_patterns = ["_build", "samples"]

# The order in the sources is the order in which things are best read.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# One parameter a line where they do not fit into one.
maximum_signature_line_length = 100

# An option is --live, and no dash before a word.
smartquotes = False

html_theme = "furo"
html_title = f"requests_cc_token {release}"
html_show_sphinx = False
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]


def without_notes(app, what, name, thing, options, lines):
    """Leave out of docstrings why a class is as long as it is: that is for those who change it."""
    text = [part for part in "\n".join(lines).split("\n\n") if "more than 300 lines" not in part.lower()]
    lines[:] = "\n\n".join(text).split("\n")


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", without_notes)
