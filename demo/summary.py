"""What the demo did, as data, and as the text that is printed from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case
from psycopg2.extras import RealDictCursor

MONTHS = """
select
    to_char(month, 'YYYY-MM') as month,
    (
        select count(*) from raw_taxis.trips
        where pickup_datetime >= month and pickup_datetime < month + interval '1 month'
    ) as rows,
    (select count(*) from raw_taxis.stray_trips where file_month = month) as strays
from unnest(%(months)s::date[]) as month
order by month
"""
TOTALS = """
select
    count(*) as days,
    coalesce(sum(trip_count), 0)::bigint as trip_count,
    round(coalesce(sum(total_amount), 0), 2)::float as total_amount
from analytics.daily_metrics
where date_of_business between %(first)s and %(last)s
"""
DAYS = """
select
    to_char(date_of_business, 'YYYY-MM-DD') as date_of_business,
    daily.trip_count,
    round(daily.total_amount, 2)::float as total_amount,
    round(daily.average_duration, 2)::float as average_duration,
    round(daily.pct_over_30_min, 4)::float as pct_over_30_min,
    manhattan.trips as manhattan_trips
from analytics.daily_metrics as daily
left join metrics.manhattan_stats as manhattan using (date_of_business)
where date_of_business between %(first)s and %(last)s
order by date_of_business
limit 5
"""


def measure(connection: Connection, months: Sequence[str], days: Sequence[str]) -> dict[str, Any]:
    """Reads from the warehouse what is there for these partitions of taxi_trips and of the daily models."""
    window = {"first": days[0], "last": days[-1]}
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(MONTHS, {"months": list(months)})
        by_month = cursor.fetchall()
        cursor.execute(TOTALS, window)
        (totals,) = cursor.fetchall()
        cursor.execute(DAYS, window)
        return {"months": by_month, **totals, "first_days": cursor.fetchall()}


def render(summary: Mapping[str, Any]) -> str:
    """Returns the summary as text for a terminal."""
    lines = [
        "SAMPLE DATA, made up; make demo TLC_BASE_URL=https://… loads real trips."
        if summary["sample"]
        else f"Source: {summary['source']}",
        "",
        f"{'month':<10}{'trips':>12}{'strays':>9}",
        *(f"{month['month']:<10}{month['rows']:>12,}{month['strays']:>9,}" for month in summary["months"]),
        "",
        f"{summary['days']} days in analytics.daily_metrics: {summary['trip_count']:,} trips, "
        f"{summary['total_amount']:,.2f} US dollars. The first of them:",
        "",
        f"{'day':<12}{'trips':>9}{'amount':>14}{'avg min':>9}{'>30 min':>9}{'Manhattan':>11}",
        *(
            f"{day['date_of_business']:<12}{day['trip_count']:>9,}{day['total_amount']:>14,.2f}"
            f"{day['average_duration'] or 0:>9.2f}{day['pct_over_30_min']:>9.1%}{day['manhattan_trips'] or 0:>11,}"
            for day in summary["first_days"]
        ),
        "",
        f"Reports of {len(summary['reports'])} months: " + Path(summary["reports"][0]).with_name("index.html").as_uri(),
        "",
        "Seconds: " + ", ".join(f"{phase} {value}" for phase, value in summary["seconds"].items()),
    ]
    return "\n".join(lines)
