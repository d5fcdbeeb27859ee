"""Small charts for an asset's page."""

import base64
import io
from collections.abc import Sequence
from datetime import date

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure


def line_chart(title: str, unit: str, days: Sequence[date], values: Sequence[float]) -> str:
    """Draws a value per day and returns it as Markdown with the picture (PNG) inside.

    Args:
        title: what the chart shows.
        unit: label of the vertical axis.
        days: the days, in order.
        values: one value per day.
    """
    figure = Figure(figsize=(6, 2.2), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(date2num(days), values, color="#3d56b2", linewidth=1.4, marker="o", markersize=2.5)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_ylabel(unit, fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    locator = AutoDateLocator(minticks=2, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"
