"""What the demo did, as data, and as the text that is printed from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extras import RealDictCursor

MONTHS = """
select
    to_char(month, 'YYYY-MM') as month,
    (select count(*) from raw_taxis.trips
     where pickup_datetime >= month and pickup_datetime < month + interval '1 month') as rows,
    (select count(*) from raw_taxis.stray_trips where file_month = month) as strays
from unnest(%s::date[]) as month
order by month
"""
TOTALS = """
select
    count(*) as days,
    coalesce(sum(trip_count), 0)::bigint as trip_count,
    round(coalesce(sum(total_amount), 0), 2)::float as total_amount
from analytics.daily_metrics
where date_of_business between %s and %s
"""
NEXT = """

Where to look next
  make dev          Dagster's UI on this state, at http://127.0.0.1:3000
  make query SQL="select * from metrics.manhattan_stats limit 5"
  make assets       every asset, its location, partitions and upstream
  .demo/summary.json, .demo/logs/"""


def measure(connection: Connection, months: Sequence[str], days: Sequence[str]) -> dict[str, Any]:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(MONTHS, (list(months),))
        by_month = cursor.fetchall()
        cursor.execute(TOTALS, (days[0], days[-1]))
        (totals,) = cursor.fetchall()
    return {"months": by_month, **totals}


def render(summary: Mapping[str, Any]) -> str:
    source = f"Source: {summary['source']}"
    if summary["sample"]:
        source = "SAMPLE DATA, made up; make demo TLC_BASE_URL=https://… loads real trips."
    months = [f"{month['month']:<10}{month['rows']:>12,}{month['strays']:>9,}" for month in summary["months"]]
    totals = f"{summary['trip_count']:,} trips, {summary['total_amount']:,.2f} US dollars"
    lines = [
        *(source, "", f"{'month':<10}{'trips':>12}{'strays':>9}", *months, ""),
        f"{summary['days']} days in analytics.daily_metrics: {totals}",
        f"Reports of {len(summary['reports'])} months: {Path(summary['reports'][0]).with_name('index.html').as_uri()}",
    ]
    return "\n".join(lines) + NEXT
