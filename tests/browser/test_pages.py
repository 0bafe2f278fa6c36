"""Every page of the documentation in a real browser: narrow and wide, light and dark.

The browser is the one on the PATH, or what ``.ci/browser-setup`` has fetched. With ``SCREENSHOTS=folder`` a picture of
each page, in each width and scheme, is left there to be looked at.
"""

from __future__ import annotations

import base64
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    str(path.relative_to(DOCS).with_suffix(".html"))
    for path in DOCS.rglob("*.md")
    if not {"_build", "samples"} & set(path.parts)
)
WIDTHS = (480, 1280)
SCHEMES = ("light", "dark")

#: What sticks out of the window to the right, unless it lies in a block of the text that scrolls by itself.
TOO_WIDE = """
const text = document.querySelector("article");
const scrolls = (e) =>
  e !== text && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
const found = [];
for (const e of text.querySelectorAll("*")) {
  if (e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement))
    found.push(e.tagName + " " + e.textContent.trim().slice(0, 60));
}
if (document.scrollingElement.scrollWidth > innerWidth) found.push("the page");
return found;
"""
#: Tables that a reader has to scroll, and how wide they are.
TABLES_THAT_SCROLL = """
return [...document.querySelectorAll("article .table-wrapper")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1)
  .map((e) => e.textContent.trim().slice(0, 60) + ": " + e.scrollWidth + " in " + e.clientWidth);
"""
#: How far from black the page's ground is, 0 to 255.
GROUND = "return Math.max(...getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3));"
#: Pictures that were not drawn.
NO_PICTURE = "return [...document.images].filter((i) => !(i.complete && i.naturalWidth)).map((i) => i.src);"
#: Where the page's parts came from.
ORIGINS = "return performance.getEntriesByType('resource').map((r) => new URL(r.name, location).origin);"


def program(name: str) -> str:
    """Where the program is; the test is skipped, loudly, where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    fetched = Path(os.environ.get("REQUESTS_CC_TOKEN_BROWSER") or cache / "requests_cc_token" / "browser") / name
    found = shutil.which(name) or (str(fetched) if fetched.exists() else None)
    if found is None:
        pytest.skip(f"there is no {name}: install Debian's package of that name, or run .ci/browser-setup")
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pages, built anew and served on loopback."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", f"{folder}/doctrees", str(DOCS), f"{folder}/html"],
        check=True,
    )
    handler = functools.partial(Quiet, directory=f"{folder}/html")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra browser is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    # A container's root has no sandbox, and its /dev/shm is small.
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def show(browser: Any, address: str, width: int, scheme: str) -> None:
    """Open a page in a window of that width, for a reader who likes it light or dark."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    liked = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", liked)
    browser.get(address)


def keep_picture(browser: Any, page: str, width: int, scheme: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        wanted = {"format": "png", "captureBeyondViewport": True}
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", wanted)["data"]
        name = f"{page.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.png"
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(base64.b64decode(picture))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_its_window(site: str, browser: Any, page: str) -> None:
    """In both widths and schemes nothing sticks out, no picture is missing, and the console has no error.

    A wide window shows each table whole.
    """
    for width in WIDTHS:
        for scheme in SCHEMES:
            show(browser, f"{site}/{page}", width, scheme)
            keep_picture(browser, page, width, scheme)
            how = f"{page} at {width} px, {scheme}"
            assert browser.execute_script(TOO_WIDE) == [], f"{how}: wider than the window"
            assert browser.execute_script(NO_PICTURE) == [], f"{how}: not drawn"
            if width == max(WIDTHS):
                assert browser.execute_script(TABLES_THAT_SCROLL) == [], f"{how}: tables that have to be scrolled"
            assert (browser.execute_script(GROUND) > 128) == (scheme == "light"), f"{how}: its ground"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_page_needs_nothing_from_elsewhere(site: str, browser: Any) -> None:
    """All that a page consists of comes from the site itself, so it can be read without a network."""
    show(browser, f"{site}/index.html", 1280, "light")
    assert set(browser.execute_script(ORIGINS)) == {site}


def test_what_sticks_out_is_found(site: str, browser: Any) -> None:
    """An element that is wider than the window is told; one in a block that scrolls is not."""
    show(browser, f"{site}/index.html", 480, "light")
    browser.execute_script(
        "const wide = document.createElement('p'); wide.textContent = 'wide'; wide.style.width = '2000px';"
        "document.querySelector('article').append(wide);"
        "const block = document.createElement('div'); block.style.overflowX = 'auto';"
        "block.append(wide.cloneNode(true)); document.querySelector('article').append(block);"
    )
    assert browser.execute_script(TOO_WIDE)[0] == "P wide"
    assert len([found for found in browser.execute_script(TOO_WIDE) if found != "the page"]) == 1
