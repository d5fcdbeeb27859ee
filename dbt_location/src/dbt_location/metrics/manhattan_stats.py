"""The asset ``manhattan_stats``: the trips picked up in Manhattan, day by day."""

from datetime import date
from decimal import Decimal

import dagster as dg
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from dbt_location.metrics.chart import line_chart
from dbt_location.partitions import BACKFILL_POLICY, daily_partition
from dbt_location.warehouse import Warehouse

COLUMNS = (
    dg.TableColumn("date_of_business", "date", "New York calendar day of the pickup."),
    dg.TableColumn("trips", "bigint", "Trips picked up in Manhattan."),
    dg.TableColumn("revenue", "numeric", "Total charged for them, US dollars, reversals netted out."),
    dg.TableColumn("average_duration", "numeric", "Minutes per trip, over the trips that have a duration."),
)

CREATE = """
create table if not exists metrics.manhattan_stats (
    date_of_business date primary key,
    trips bigint not null,
    revenue numeric not null,
    average_duration numeric
)
"""
# Builds take turns from before they read until they commit; readers do not wait for it.
LOCK = "lock table metrics.manhattan_stats in share row exclusive mode"
DELETE = "delete from metrics.manhattan_stats where date_of_business >= %(start)s and date_of_business < %(end)s"
INSERT = """
insert into metrics.manhattan_stats (date_of_business, trips, revenue, average_duration)
select
    date_of_business,
    sum(trips) as trips,
    sum(fare) as revenue,
    sum(total_duration) / nullif(sum(timed_trips), 0) as average_duration
from analytics.location_metrics
where
    pickup_borough = 'Manhattan'
    and date_of_business >= %(start)s and date_of_business < %(end)s
group by date_of_business
returning date_of_business, trips, revenue, average_duration
"""

Row = tuple[date, int, Decimal, Decimal | None]


def replace_window(connection: Connection, start: date, end: date) -> tuple[list[Row], int]:
    """Replaces the days ``[start, end)``; the caller's transaction commits it.

    Any order, repetition or overlap of builds leaves the same table, since a build replaces its whole window by what
    the mart says about it.

    Returns:
        The window's rows in order, and the number of rows in the whole table.
    """
    window = {"start": start, "end": end}
    with connection.cursor() as cursor:
        # Two first builds at once would both find the table missing; here one of them looks after the other made it.
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('metrics.manhattan_stats', 0))")
        cursor.execute(CREATE)
        cursor.execute(LOCK)
        cursor.execute(DELETE, window)
        cursor.execute(INSERT, window)
        rows = sorted(cursor.fetchall())
        cursor.execute("select count(*) from metrics.manhattan_stats")
        ((row_count,),) = cursor.fetchall()
        return rows, row_count


@dg.asset(
    deps=[dg.AssetKey("location_metrics")],
    partitions_def=daily_partition,
    backfill_policy=BACKFILL_POLICY,
    group_name="metrics",
    kinds={"postgres"},
    owners=["team:analytics"],
    metadata={
        "dagster/column_schema": dg.TableSchema(columns=list(COLUMNS)),
        "dagster/table_name": "warehouse.metrics.manhattan_stats",
    },
)
def manhattan_stats(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Trips, revenue and average duration of the trips picked up in Manhattan. Grain: one day."""
    window = context.partition_time_window
    with warehouse.transaction() as connection:
        rows, row_count = replace_window(connection, window.start.date(), window.end.date())
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/row_count": dg.MetadataValue.int(row_count),
        "rows_in_window": dg.MetadataValue.int(len(rows)),
    }
    if rows:
        chart = line_chart(
            "Trips picked up in Manhattan", "trips per day", [row[0] for row in rows], [row[1] for row in rows]
        )
        metadata["trips_per_day"] = dg.MetadataValue.md(chart)
    return dg.MaterializeResult(metadata=metadata)
