"""A table of numbers in which the colour says how large."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dbt_location.metrics.chart import INK, canvas, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], numbers: Mapping[tuple[str, str], int]) -> "Figure":
    """Draws a number per row and column.

    Args:
        title: what is shown, and which way to read it.
        rows: names, top down.
        columns: names, left to right.
        numbers: per row and column; a pair that is not there is none.
    """
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    figure = canvas(8.4, 1.1 + 0.45 * max(len(rows), 1))
    axes = figure.add_subplot()
    plain_axes(axes, title)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False)
    grid = [[numbers.get((row, column), 0) or float("nan") for column in columns] for row in rows]
    # Logarithmic: most trips stay within a borough, and the others would all look alike.
    scale = LogNorm(1, max(10, *numbers.values()))
    axes.imshow(
        grid, aspect="auto", norm=scale, cmap=LinearSegmentedColormap.from_list("trips", ("#5b7bd51a", "#5b7bd5ff"))
    )
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            number = numbers.get((row, column), 0)
            strong = number and scale(number) > 0.6
            axes.text(
                x,
                y,
                f"{number:,}" if number else "–",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if strong else INK,
            )
    return figure
