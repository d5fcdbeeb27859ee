"""The asset ``manhattan_stats``: trips picked up in Manhattan compared with the whole city, day by day.

It is the example of a table that is made in Python; all other tables are dbt's.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
from psycopg2.errors import DuplicateObject, DuplicateTable, UniqueViolation
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from dbt_location.automation_conditions import build_when_month_is_loaded
from dbt_location.partitions import BACKFILL_POLICY, daily_partition
from dbt_location.pictures.chart import Panel, lines_by_day, markdown
from dbt_location.warehouse import Warehouse, block_writers, rows_of

REQUIRED = dg.TableColumnConstraints(nullable=False)
# The city's columns and the share may be null: those of days that version 1 built before these columns existed.
COLUMNS = (
    dg.TableColumn("date_of_business", "date", "New York calendar day of the pickup.", REQUIRED),
    dg.TableColumn("trips", "bigint", "Trips picked up in Manhattan.", REQUIRED),
    dg.TableColumn("revenue", "numeric", "Total charged for them, US dollars, reversals netted out.", REQUIRED),
    dg.TableColumn("average_duration", "numeric", "Minutes per trip, over the trips that have a duration."),
    dg.TableColumn("pct_over_30_min", "numeric", "Share of them that took more than 30 minutes, from 0 to 1."),
    dg.TableColumn("city_trips", "bigint", "Trips picked up anywhere."),
    dg.TableColumn("city_revenue", "numeric", "Total charged for trips picked up anywhere, US dollars."),
    dg.TableColumn("city_average_duration", "numeric", "Minutes per trip picked up anywhere."),
    dg.TableColumn("city_pct_over_30_min", "numeric", "Share of trips picked up anywhere that took over 30 minutes."),
)

CREATE = """
create table if not exists metrics.manhattan_stats (
    date_of_business date primary key, trips bigint not null, revenue numeric not null, average_duration numeric,
    pct_over_30_min numeric, city_trips bigint, city_revenue numeric, city_average_duration numeric,
    city_pct_over_30_min numeric
)
"""
# The first statement, so that everything is read as of a moment after the wait. Readers of the table do not wait.
LOCK = "lock table metrics.manhattan_stats in share row exclusive mode"
DELETE = "delete from metrics.manhattan_stats where date_of_business >= %(start)s and date_of_business < %(end)s"
# numeric, not integers: their division would round every share down to zero.
SELECT = """
select
    date_of_business,
    cast(sum(trips) filter (where in_manhattan) as bigint) as trips,
    sum(fare) filter (where in_manhattan) as revenue,
    sum(total_duration) filter (where in_manhattan)
    / nullif(sum(timed_trips) filter (where in_manhattan), 0) as average_duration,
    cast(sum(trips_over_30_min) filter (where in_manhattan) as numeric)
    / sum(trips) filter (where in_manhattan) as pct_over_30_min,
    cast(sum(trips) as bigint) as city_trips,
    sum(fare) as city_revenue,
    sum(total_duration) / nullif(sum(timed_trips), 0) as city_average_duration,
    cast(sum(trips_over_30_min) as numeric) / sum(trips) as city_pct_over_30_min
from analytics.location_metrics
cross join lateral (select pickup_borough = 'Manhattan' as in_manhattan) as place
where date_of_business >= %(start)s and date_of_business < %(end)s
group by date_of_business
having bool_or(in_manhattan)
order by date_of_business
"""
INSERT = f"insert into metrics.manhattan_stats ({', '.join(column.name for column in COLUMNS)}) {SELECT} returning *"


def read_days(connection: Connection, start: date, end: date) -> list[Any]:
    """Works out the rows of the days ``[start, end)`` from the mart, in order; the table is not touched."""
    return rows_of(connection, SELECT, {"start": start, "end": end})


def create_table(warehouse: Warehouse) -> None:
    """Creates the table if it is missing; another first build may create it at the same time."""
    # Each of these errors means that the other one has committed: the table is there.
    created_meanwhile = contextlib.suppress(UniqueViolation, DuplicateObject, DuplicateTable)
    with created_meanwhile, warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(CREATE)


def replace_days(warehouse: Warehouse, start: date, end: date) -> tuple[list[Any], int]:
    """Replaces the rows of the days ``[start, end)``; returns them, in order, and how many rows the whole table has.

    Any order, repetition or overlap of builds leaves the same table: a build replaces its whole window with the mart's
    rows, and builds take turns from before they read until they commit. A build that dies changes nothing.
    """
    create_table(warehouse)
    with warehouse.transaction() as connection:
        window = {"start": start, "end": end}
        with connection.cursor() as cursor:
            cursor.execute(LOCK)
            cursor.execute(DELETE, window)
        rows = sorted(rows_of(connection, INSERT, window))
        ((row_count,),) = rows_of(connection, "select count(*) from metrics.manhattan_stats")
        return rows, row_count


def panels(rows: Sequence[Any]) -> list[Panel]:
    """A chart per measure of rows of the table: Manhattan and the whole city."""

    def lines(column: str) -> dict[str, list[Any]]:
        return {
            "Manhattan": [getattr(row, column) for row in rows],
            "whole city": [getattr(row, f"city_{column}") for row in rows],
        }

    return [
        Panel("Trips per day", lines("trips")),
        Panel("Revenue per day, US dollars", lines("revenue")),
        Panel("Average duration, minutes", lines("average_duration")),
        Panel("Share of trips over 30 minutes", lines("pct_over_30_min"), "{x:.0%}"),
    ]


@dg.asset(
    deps=["location_metrics"],
    partitions_def=daily_partition,
    backfill_policy=BACKFILL_POLICY,
    automation_condition=build_when_month_is_loaded,
    group_name="metrics",
    kinds={"postgres"},
    owners=["team:analytics"],
    tags={"layer": "metrics"},
    metadata={
        "dagster/column_schema": dg.TableSchema(columns=list(COLUMNS)),
        "dagster/table_name": "warehouse.metrics.manhattan_stats",
    },
)
def manhattan_stats(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult[None]]:
    """Trips, revenue, average duration and long trips of Manhattan's pickups and of the whole city. Grain: one day."""
    start, end = (bound.date() for bound in context.partition_time_window)
    # The table itself is committed before its event, in a transaction of its own.
    with warehouse.transaction() as connection:
        block_writers(connection, "analytics.location_metrics")
        rows, row_count = replace_days(warehouse, start, end)
        metadata: dict[str, Any] = {"dagster/row_count": row_count, "rows_in_window": len(rows)}
        if rows:
            title = "Trips picked up in Manhattan, and in the whole city"
            chart = lines_by_day([row.date_of_business for row in rows], panels(rows), legend=True)
            metadata["manhattan_and_city"] = dg.MetadataValue.md(markdown(title, chart))
        yield dg.MaterializeResult(metadata=metadata)
