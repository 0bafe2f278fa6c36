"""The table and the plots of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .pictures import BLUE, GREY, INK, PALE, pyplot
from .worker import BASE, ENVIRONMENTS, MANY, OURS, THREADS

#: Load average over five minutes from which a run is said to share its machine; the benchmark itself makes about two.
BUSY = 4.0

MOUNTED = "requests_cc_token, management.mount"
ALONE = "requests_cc_token, adapter alone"

#: Bar and stretch of each row: what is reached if the figure is not above it, or not below it where ``at least``.
BARS: Mapping[str, tuple[float, float | None, str]] = {
    "P1": (0.52, 0.46, "at most"),
    "P2": (1.00, None, "at most"),
    "P3": (0.10, 0.07, "at most"),
    "P4": (2.5, 2.9, "at least"),
    "P5": (1.05, None, "at most"),
    "P6": (1.0, None, "at least"),
    "P6 whole": (2.0, None, "at least"),
    "P7": (0.3, None, "at most"),
    "P7 threads": (1.5, None, "at most"),
    "P8": (1.10, 1.05, "at most"),
    "P9 client": (2048, None, "at most"),
    "P9 token": (2048, None, "at most"),
    "P9 look-up": (1.1, None, "at most"),
    "P10": (1.05, None, "at most"),
    "P11": (1.05, None, "at most"),
}


class Row(NamedTuple):
    """One line of the table."""

    id: str
    what: str
    figure: float
    unit: str
    #: The better end of the figure's interval, where chance may decide.
    best: float | None = None


def verdict(row: str, figure: float, best: float | None = None) -> str:
    """Which of its marks a figure reaches; ``best`` is the better end of its interval, where it has one."""
    bar, stretch, direction = BARS[row]

    def reached(mark: float, figure: float = figure) -> bool:
        return figure <= mark if direction == "at most" else figure >= mark

    if stretch is not None and reached(stretch):
        return "stretch reached"
    if reached(bar):
        return "reached"
    return "no difference seen" if best is not None and reached(bar, best) else "**not reached**"


def _mark(row: str) -> str:
    bar, stretch, direction = BARS[row]
    sign = "≤" if direction == "at most" else "≥"
    return f"{sign} {bar:g}" + (f" ({sign} {stretch:g})" if stretch is not None else "")


def _lesser(times: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    return min(times["same timeout"], times["as it comes"], key=lambda found: found["ratio"])


def summary(results: Mapping[str, Any]) -> list[Row]:
    """All that was measured."""
    found: list[tuple[Any, ...]] = []
    readers: dict[str, Callable[[Any], None]] = {
        "p1": lambda r: found.extend(
            [
                ("P1", "one authenticated GET, warm connection: CPU against a plain session", r[OURS]["ratio"], ""),
                ("P2", "the adapter on a plain session, by `management.mount`", r[MOUNTED]["ratio"], ""),
                ("P2", "the same by `session.mount`", r[ALONE]["ratio"], ""),
            ]
        ),
        "p3": lambda r: found.append(
            ("P3", "GET on a new TLS connection: CPU against a plain session", r["requests_cc_token"]["ratio"], "")
        ),
        "p4": lambda r: found.append(
            ("P4", f"{THREADS} threads, TLS, 10 ms API: throughput", 1 / r["requests_cc_token"]["ratio"], " times")
        ),
        "p5": lambda r: found.append(
            (
                "P5",
                f"CPU with {ENVIRONMENTS[-1]} environment variables against {ENVIRONMENTS[0]}",
                r[f"requests_cc_token, {ENVIRONMENTS[-1]}"]["ratio"],
                "",
            )
        ),
        "p6": lambda r: found.extend(
            ("P6 whole" if way == "down" else "P6", f"64 MiB {way}: throughput, lesser of two comparisons", lesser["ratio"], " times", lesser["high"])  # noqa: E501 - a row of the table is one line
            for way, lesser in ((way, _lesser(times)) for way, times in r.items())
        ),
        "p7": lambda r: found.extend(
            [
                ("P7", "a token from the cache", r["one thread"][OURS]["us"], " µs"),
                (
                    "P7 threads",
                    f"the same in {THREADS} threads, per call against one thread",
                    r["threads"]["us"] / r["one thread"][OURS]["us"],
                    " times",
                ),
            ]
        ),
        "p8": lambda r: found.append(
            ("P8", "`import` with `requests` against `requests` alone", r["times"]["requests_cc_token"]["ratio"], "")
        ),
        "p9": lambda r: found.extend(
            [
                ("P9 client", f"memory of a client, {MANY} registered", r["bytes per client"], " B"),
                ("P9 token", f"memory of a token, {MANY} cached", r["bytes per token"], " B"),
                ("P9 look-up", f"look-up among {MANY} against 10", r["look-up"][f"{MANY}"]["ratio"], ""),
            ]
        ),
        "p10": lambda r: found.append(
            ("P10", "features not used (DPoP, for another client)", r["DPoP for another client"]["ratio"], "")
        ),
        "p11": lambda r: found.extend(
            (
                "P11",
                f"fresh process to first answer, {kind}, against an adapter by hand",
                times["ours"]["ratio"],
                "",
                times["ours"]["low"],
            )
            for kind, times in r.items()
        ),
    }
    for name, result in results.items():
        if result is not None and name.split("_")[0] in readers:
            readers[name.split("_")[0]](result)
    return [Row(*row) for row in found]


def markdown(measured: Mapping[str, Any]) -> str:
    """All that was measured, as Markdown."""
    results = measured["results"]
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items() if version)
    busy = f" The machine was busy with other work (load {measured['load']:.0f})." if measured["load"] > BUSY else ""
    lines = [
        "",
        f"Python {measured['python']}, {measured['cores']} cores, {measured['variables']} environment variables;",
        f"{versions}.{busy}",
        "",
        "| id | work | measured | bar (stretch) | |",
        "|---|---|---|---|---|",
    ]
    for row in summary(results):
        shown = f"{row.figure:.0f}" if row.unit == " B" else f"{row.figure:.2f}"
        reached = verdict(row.id, row.figure, row.best)
        lines.append(f"| {row.id.split()[0]} | {row.what} | {shown}{row.unit} | {_mark(row.id)} | {reached} |")
    for name, title in (
        ("p1_p2_one_get", "CPU of one GET, warm connection"),
        ("p3_new_tls_connection", "CPU of a GET on a new TLS connection"),
        ("p4_threads", f"Time per request, {THREADS} threads, TLS, API of 10 ms"),
        ("p5_environment", "CPU of one GET by the number of environment variables"),
        ("savings", "What each short way earns: CPU of one GET opened one after the other"),
    ):
        if results.get(name):
            lines += ["", f"### {title}", "", *_table(results[name])]
    if results.get("p6_large_bodies"):
        title = "### Throughput of 64 MiB, times that of a plain session"
        lines += ["", title, "", *_throughput(results["p6_large_bodies"])]
    if results.get("p7_token_from_the_cache"):
        lines += [
            "",
            "### CPU of a token that is there",
            "",
            *_table(results["p7_token_from_the_cache"]["one thread"], 2),
        ]
    if results.get("p8_import"):
        lines += ["", "### CPU of an import in a new process", "", *_table(results["p8_import"]["times"])]
    for name, reason in measured["missing"].items():
        lines += ["", f"Left out: {name} ({reason})."]
    return "\n".join(lines) + "\n"


def _table(times: Mapping[str, Mapping[str, float]], digits: int = 0) -> list[str]:
    lines = ["| | µs | ratio | quartiles |", "|---|---:|---:|---|"]
    for name, found in sorted(times.items(), key=lambda item: item[1]["us"]):
        lines.append(
            f"| {name} | {found['us']:.{digits}f} | {found['ratio']:.2f} | {found['low']:.2f} to {found['high']:.2f} |"
        )
    return lines


def _throughput(ways: Mapping[str, Any]) -> list[str]:
    lines = [
        "| | with the same timeout | as it comes, waiting for ever | two plain sessions: what is chance |",
        "|---|---|---|---|",
    ]
    for way, times in ways.items():
        shown = [
            f"{times[base]['ratio']:.2f} ({times[base]['low']:.2f} to {times[base]['high']:.2f})"
            for base in ("same timeout", "as it comes", "double")
        ]
        lines.append(f"| {way} | {' | '.join(shown)} |")
    return lines


def plots(measured: Mapping[str, Any], folder: Path) -> None:
    """Two small drawings: the peers, and the environment."""
    try:
        plt = pyplot()
    except ImportError:
        print("matplotlib is not installed: no plots")
        return
    results = measured["results"]
    times = sorted(results["p1_p2_one_get"].items(), key=lambda item: -item[1]["ratio"])
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    names = [name for name, _ in times]
    colours = [BLUE if name.startswith("requests_cc_token") else PALE for name in names]
    bars = axes.barh(names, [found["ratio"] for _, found in times], color=colours)
    # Within the bars, since the line is beside them.
    axes.bar_label(bars, fmt="%.2f", padding=-26, color=INK)
    axes.axvline(1, color=GREY, linewidth=0.8)
    figure.suptitle(f"CPU of one GET on a warm connection, {BASE} = 1", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "performance-peers.svg", metadata={"Date": None})

    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    for name, colour in (("requests", PALE), ("requests_cc_token", BLUE)):
        found = [results["p5_environment"][f"{name}, {count}"]["us"] for count in ENVIRONMENTS]
        axes.plot(ENVIRONMENTS, found, marker="o", color=colour, label=name)
    axes.set(xscale="log", xlabel="environment variables", ylabel="µs of CPU per GET", ylim=(0, None))
    axes.set_xticks(ENVIRONMENTS, [str(count) for count in ENVIRONMENTS])
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "performance-environment.svg", metadata={"Date": None})
