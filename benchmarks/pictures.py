"""The drawings of the docs: ``python -m benchmarks.pictures`` writes them to docs/_static.

Their colours are legible on a light page and on a dark one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent.parent / "docs" / "_static"

GREY, BLUE, GREEN, ORANGE, RED = "#7d7d7d", "#3b82c4", "#2f9e63", "#c77d1a", "#d04a4a"
#: For bars and lines of what is compared with; and for letters on a bar.
PALE, INK = "#9aa4b2", "#14181d"
FONT = 'font-family="sans-serif" font-size="14"'
SMALL = 'font-family="sans-serif" font-size="11"'


def text(x: float, y: float, words: str, colour: str = GREY, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}" {FONT}>{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str = GREY, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="1.5" {more}/>'


def arrow(x1: float, x2: float, y: float, colour: str) -> str:
    back = -7 if x2 > x1 else 7
    head = f'<path d="M{x2} {y} l{back} -4 v8 z" fill="{colour}"/>'
    return line(x1, y, x2, y, colour) + head


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    lines = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{title}</title>\n{lines}\n</svg>\n"
    )


def pyplot() -> Any:
    """The module ``matplotlib.pyplot``, set up for plots without a ground, in the same colours.

    Raises ``ImportError`` where there is no matplotlib.
    """
    import matplotlib

    matplotlib.use("svg")
    lines = ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color")
    # Text stays text, and one figure is drawn alike each time.
    drawn = {"svg.fonttype": "none", "svg.hashsalt": "requests_cc_token", "savefig.transparent": True}
    matplotlib.rcParams.update({**dict.fromkeys(lines, GREY), **drawn, "font.size": 9})
    import matplotlib.pyplot as plt

    return plt


def life_of_a_token() -> str:
    """Soft and hard expiry on a line of time, and the renewal in between; narrow enough for a telephone."""
    start, soft, hard, end, y = 20, 320, 400, 460, 60
    parts = [
        f'<rect x="{start}" y="{y}" width="{soft - start}" height="26" fill="{GREEN}" opacity="0.75"/>',
        f'<rect x="{soft}" y="{y}" width="{hard - soft}" height="26" fill="{ORANGE}" opacity="0.75"/>',
        f'<rect x="{hard}" y="{y}" width="{end - hard}" height="26" fill="{RED}" opacity="0.75"/>',
        text((start + soft) / 2, y - 12, "used, nothing is sent", GREEN),
        text(hard, y - 34, "still used; renewed in the background", ORANGE, "end"),
        line(hard - 40, y - 28, hard - 40, y - 2, ORANGE),
        text(end, y - 12, "not used", RED, "end"),
    ]
    labels = (
        (start, 52, "asked for", "start"),
        (soft, 52, "soft expiry, at 80 to 85 %", "end"),
        (hard, 74, "hard expiry", "middle"),
        (end, 52, "its end", "end"),
    )
    for x, below, words, anchor in labels:
        parts += [line(x, y - 4, x, y + below - 14), text(x, y + below, words, GREY, anchor)]
    return svg(480, 146, "The life of a token: soft expiry, hard expiry, end", parts)


def one_request() -> str:
    """Who talks to whom when a session's call needs a new token."""
    where = {"your code": 70, "session": 230, "token cache": 390, "token service": 550, "API": 690}
    steps = (
        ("your code", "session", "get(&quot;test&quot;)", BLUE),
        ("session", "token cache", "a token?", GREY),
        ("token cache", "session", "none", GREY),
        ("session", "token service", "client id, secret", ORANGE),
        ("token service", "session", "token", ORANGE),
        ("session", "token cache", "keep it", GREY),
        ("session", "API", "a copy of the request, with the token", GREEN),
        ("API", "session", "answer", GREEN),
        ("session", "your code", "response", BLUE),
    )
    return sequence("One request whose token has to be fetched", where, steps, 760)


def icon() -> str:
    """The mark in a browser's tab: a token, most of whose life is used without anything being sent."""
    whole = f'<circle cx="16" cy="16" r="12" fill="none" stroke="{GREEN}" stroke-width="7"/>'
    # 17 % of the way round, beginning at the top and going back: the time of renewal.
    rest = '<circle cx="16" cy="16" r="12" fill="none" stroke="{}" stroke-width="7" {} transform="rotate(-90 16 16)"/>'
    due = rest.format(ORANGE, 'pathLength="100" stroke-dasharray="17 83" stroke-dashoffset="17"')
    return svg(32, 32, "requests_cc_token", [whole, due])


def sequence(title: str, where: Mapping[str, float], steps: tuple[tuple[str, str, str, str], ...], width: int) -> str:
    """What is said, one line after the other; what one says to itself stands beside its own line."""
    bottom = 66 + 35 * len(steps)
    parts = []
    for words, x in where.items():
        parts += [text(x, 24, words, BLUE), line(x, 34, x, bottom - 16, GREY, 'stroke-dasharray="2 4"')]
    for number, (sender, receiver, words, colour) in enumerate(steps):
        y = 66 + 35 * number
        x1, x2 = where[sender], where[receiver]
        if sender == receiver:
            dot = f'<circle cx="{x1}" cy="{y - 5}" r="4" fill="{colour}"/>'
            parts += [dot, text(x1 + 10, y, words, colour, "start")]
        else:
            parts += [arrow(x1, x2, y, colour), text((x1 + x2) / 2, y - 6, words, colour)]
    return svg(width, bottom, title, parts)


def one_fetch_of_a_fleet() -> str:
    """Two processes that need a token at the same moment, and the store between them."""
    where = {"process A": 70, "store": 270, "process B": 470, "token service": 670}
    steps = (
        ("process A", "store", "a token?", GREY),
        ("process B", "store", "a token?", GREY),
        ("store", "process A", "none; lease 7", ORANGE),
        ("store", "process B", "none; A has the lease", GREY),
        ("process A", "token service", "client id, secret", ORANGE),
        ("process B", "store", "a token now?", GREY),
        ("token service", "process A", "token", ORANGE),
        ("process A", "store", "keep it, by lease 7", GREEN),
        ("process B", "store", "a token now?", GREY),
        ("store", "process B", "token", GREEN),
        ("store", "store", "from now on lease 6, of a process that froze, writes nothing", RED),
    )
    return sequence("One token request for a fleet", where, steps, 760)


def house() -> str:
    """The rooms of the package by floor, and that imports point downward."""
    from tests.test_rooms import FLOORS

    across, width, height = 5, 132, 22
    names = ("decisions", "stores, endpoint", "tokens", "requests", "sessions", "registrations", "doors")
    parts: list[str] = []
    y = 20
    for number in reversed(range(len(FLOORS))):
        rooms = sorted(FLOORS[number])
        rows = -(-len(rooms) // across)
        parts.append(text(14, y + 15, f"{number}", BLUE, "start"))
        parts.append(text(34, y + 15, names[number], GREY, "start"))
        for place, room in enumerate(rooms):
            x, top = 190 + width * (place % across), y + height * (place // across)
            frame = f'width="{width - 4}" height="{height - 4}" rx="3" fill="none" stroke="{GREEN}"'
            middle = f'text-anchor="middle" fill="{GREY}" {SMALL}'
            parts.append(f'<rect x="{x}" y="{top}" {frame}/>')
            parts.append(f'<text x="{x + width / 2 - 2}" y="{top + 13}" {middle}>{room}</text>')
        y += height * rows + 12
        if number:
            parts.append(line(14, y - 7, 190 + width * across, y - 7, GREY, 'stroke-dasharray="2 4"'))
    x = 175
    parts.append(line(x, 24, x, y - 14, ORANGE))
    parts.append(f'<path d="M{x} {y - 10} l-4 -7 h8 z" fill="{ORANGE}"/>')
    title = "The parts of the package; each imports only from its own floor and below"
    return svg(200 + width * across, y, title, parts)


PICTURES = {
    "house.svg": house,
    "one-fetch-of-a-fleet.svg": one_fetch_of_a_fleet,
    "icon.svg": icon,
    "life-of-a-token.svg": life_of_a_token,
    "one-request.svg": one_request,
}


def main() -> int:
    """Write them."""
    for name, draw in PICTURES.items():
        (STATIC / name).write_text(draw(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
