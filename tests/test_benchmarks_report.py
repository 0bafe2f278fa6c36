"""What the table of the benchmarks says of a figure."""

from __future__ import annotations

import pytest

from benchmarks.report import verdict


@pytest.mark.parametrize(
    ("row", "figure", "best", "said"),
    [
        ("P1", 0.45, None, "stretch reached"),
        ("P1", 0.52, None, "reached"),
        ("P1", 0.56, None, "**not reached**"),
        ("P11", 1.04, 1.0, "reached"),
        ("P11", 1.08, 1.02, "no difference seen"),
        ("P11", 1.32, 1.17, "**not reached**"),
        ("P6", 0.97, 1.01, "no difference seen"),
        ("P6", 0.86, 0.89, "**not reached**"),
    ],
)
def test_a_figure_that_misses_its_bar_is_said_to(row: str, figure: float, best: float | None, said: str) -> None:
    """Unless its interval reaches the bar, whichever side of the bar is the good one."""
    assert verdict(row, figure, best) == said
