"""The pages of the monthly reports, as HTML that needs nothing from outside."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dbt_location.defs.metrics.borough_flows_chart import boroughs_of
from dbt_location.defs.metrics.manhattan_stats import panels
from dbt_location.defs.metrics.zone_map import map_title
from dbt_location.pictures.chart import AMBER, BLUE, REPORT_DPI, Panel, data_url, lines_by_day, lines_by_month, png
from dbt_location.pictures.choropleth import Zone, zone_chart

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

TOP_ZONES = 10
MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Month:
    """What a report shows: the month ``[start, end)``, and some of the month before, from its first day ``before``.

    ``numbers`` are rows of ``monthly_totals``, None where the month before is not built; ``by_day`` are rows of
    ``manhattan_stats``, ``flows`` of ``borough_flows``, ``pickups`` of ``zone_pickups``.
    """

    start: date
    end: date
    before: date
    numbers: Any
    numbers_before: Any | None
    by_day: Sequence[Any]
    flows: Sequence[Any]
    pickups: Sequence[Any]
    pickups_before: Sequence[Any]
    zones: Sequence[Zone]


class Measure(NamedTuple):
    """A number of the month: what it is called, how it is got and written, and how it is compared."""

    label: str
    # From a row of `monthly_totals` and the days of its month.
    of: Callable[[Any, int], Any]
    number: str
    # How the difference to the month before is written; empty is in percent of what it was before.
    change: str = ""
    # The same number per something, shown with it.
    part: "Measure | None" = None


PER_DAY = Measure("per day", lambda month, days: month.trips / days, "{:,.0f}")
PER_TRIP = Measure("per trip", lambda month, days: month.revenue / month.trips if month.trips else None, "${:,.2f}")
MEASURES = (
    Measure("Trips", lambda month, days: month.trips, "{:,.0f}", part=PER_DAY),
    Measure("Revenue", lambda month, days: month.revenue, "${:,.0f}", part=PER_TRIP),
    Measure("Average duration", lambda month, days: month.average_duration, "{:.1f} min", "{:+.1f} min"),
    Measure("Trips over 30 minutes", lambda month, days: month.pct_over_30_min, "{:.1%}", "points"),
    Measure("Picked up in Manhattan", lambda month, days: month.manhattan_share, "{:.1%}", "points"),
    Measure("Picked up at an airport", lambda month, days: month.airport_share, "{:.1%}", "points"),
)


def render_month(month: Month) -> str:
    """The page of a month, with its pictures inside; the same rows always give the same page."""
    days = [row.date_of_business for row in month.by_day]
    name, before = f"{month.start:%B %Y}", f"{month.before:%B %Y}"
    title = map_title(name, month.pickups)
    order = boroughs_of(month.flows)
    return _template("month.html.j2").render(
        name=name,
        name_before=before if month.numbers_before else None,
        days=(month.end - month.start).days,
        days_before=(month.start - month.before).days,
        measures=[_measured(measure, month) for measure in MEASURES],
        colours=(BLUE, AMBER),
        charts=[
            {"title": panel.title, "picture": _picture(lines_by_day(days, [panel]))}
            for panel in panels(month.by_day)
            if days
        ],
        by_day=[_day(row) for row in month.by_day],
        map_title=title,
        map_wide=_picture(zone_chart(title, "pickups", month.zones, titled=False)),
        map_narrow=_picture(zone_chart(title, "pickups", month.zones, narrow=True, titled=False)),
        zones=_busiest(month),
        boroughs=order,
        flows=_flow_rows(month, order),
    )


def render_index(file_names: Sequence[str], totals: Mapping[date, Any]) -> str:
    """The page that lists the reports.

    ``file_names`` are those of the pages, ``YYYY-MM.html``, newest first, at least one; ``totals`` are rows of
    ``monthly_totals`` by month.
    """
    names = {date.fromisoformat(f"{name[:7]}-01"): name for name in file_names}
    numbers = {month: totals.get(month) for month in names}
    months, month = [], min(names)
    while month <= max(names):
        months.append(month)
        month = (month + timedelta(days=31)).replace(day=1)
    pictures = []
    for title, column in (("Trips per month", "trips"), ("Revenue per month, US dollars", "revenue")):
        panel = Panel(title, {column: [getattr(numbers.get(month), column, None) for month in months]})
        pictures.append({"title": title, "picture": _picture(lines_by_month(months, [panel]))})
    rows: list[dict[str, Any]] = []
    for month in reversed(months):
        if month in names:
            before = numbers.get((month - timedelta(days=1)).replace(day=1))
            rows.append(_index_row(month, names[month], numbers[month], before))
        elif rows and rows[-1]["last"]:
            # One row for all months of a gap.
            rows[-1]["name"] = f"{month:%B %Y} to {rows[-1]['last']}"
        else:
            rows.append({"year": month.year, "name": f"{month:%B %Y}", "last": f"{month:%B %Y}"})
    years = [(year, list(group)) for year, group in groupby(rows, key=lambda row: row["year"])]
    span = f"{months[0]:%B %Y} to {months[-1]:%B %Y}" if months[1:] else f"{months[0]:%B %Y}"
    return _template("index.html.j2").render(years=years, charts=pictures, span=span)


def _index_row(month: date, file_name: str, now: Any | None, before: Any | None) -> dict[str, Any]:
    """A row of the index: a month's numbers, and how they differ from those of the month before."""
    row: dict[str, Any] = {"year": month.year, "name": f"{month:%B %Y}", "last": None, "file_name": file_name}
    for column, form in (("trips", "{:,.0f}"), ("revenue", "${:,.0f}")):
        number = getattr(now, column, None)
        change = "" if before is None else _difference(number, getattr(before, column), "")
        row[column] = {"number": _text(number, form), "change": change}
    return row


def _template(name: str) -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)


def _picture(figure: "Figure") -> str:
    return data_url(png(figure, REPORT_DPI))


def _text(number: Any, form: str) -> str:
    """A number as text, with a real minus sign; a dash for None."""
    return MISSING if number is None else form.format(float(number)).replace("-", "\N{MINUS SIGN}")


def _difference(now: Any, before: Any, form: str) -> str:
    """A number less another as text; a dash where one is missing or there is nothing to be a percentage of."""
    if now is None or before is None or (not form and not before):
        return MISSING
    difference = float(now) - float(before)
    if form == "points":
        text = _text(100 * difference, "{:+.1f} points")
    else:
        text = _text(difference, form) if form else _text(difference / float(before), "{:+.1%}")
    # A difference below half of the last digit is shown as unchanged.
    return text if any(digit in text for digit in "123456789") else "unchanged"


def _measured(measure: Measure, month: Month) -> dict[str, Any]:
    """A measure as text: now, before, and the change, which is empty where no month before is built."""
    now = measure.of(month.numbers, (month.end - month.start).days)
    compared = {"before": MISSING, "change": ""}
    if month.numbers_before is not None:
        before = measure.of(month.numbers_before, (month.start - month.before).days)
        compared = {"before": _text(before, measure.number), "change": _difference(now, before, measure.change)}
    return {
        "label": measure.label,
        "now": _text(now, measure.number),
        **compared,
        "part": _measured(measure.part, month) if measure.part else None,
    }


def _day(row: Any) -> dict[str, Any]:
    forms = {"trips": "{:,.0f}", "revenue": "${:,.0f}", "average_duration": "{:.1f}", "pct_over_30_min": "{:.1%}"}
    numbers = []
    for column, form in forms.items():
        numbers += [_text(getattr(row, column), form), _text(getattr(row, f"city_{column}"), form)]
    return {"day": f"{row.date_of_business:%a %d}", "numbers": numbers}


def _busiest(month: Month) -> list[dict[str, Any]]:
    """The zones with the most pickups; a bar as long as the zone's share of the busiest one's."""
    top = sorted(month.pickups, key=lambda row: (-row.pickups, row.zone_id))[:TOP_ZONES]
    before = {row.zone_id: row.pickups for row in month.pickups_before}
    return [
        {
            "name": row.zone,
            "borough": row.borough,
            "pickups": f"{row.pickups:,}",
            "share": _text(row.pickups / month.numbers.trips, "{:.1%}"),
            "bar": f"{row.pickups / top[0].pickups:.1%}",
            "change": _difference(row.pickups, before.get(row.zone_id, 0), ""),
        }
        for row in top
    ]


def _flow_rows(month: Month, boroughs: Sequence[str]) -> list[dict[str, Any]]:
    """A row per borough of the pickup, a cell per borough of the dropoff; the heat is the logarithm, from 0 to 1."""
    trips = {(row.pickup_borough, row.dropoff_borough): row.trips for row in month.flows}
    most = max(trips.values(), default=1)

    def cell(number: int) -> dict[str, Any]:
        heat = math.log1p(number) / math.log1p(most)
        return {"trips": f"{number:,}" if number else "", "heat": f"{heat:.2f}", "strong": heat > 0.7}

    return [
        {"borough": pickup, "cells": [cell(trips.get((pickup, dropoff), 0)) for dropoff in boroughs]}
        for pickup in boroughs
    ]
