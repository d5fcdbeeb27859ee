"""The asset ``manhattan_stats``: the trips picked up in Manhattan beside those of the whole city, day by day."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from dbt_location.automation import build_when_month_is_loaded
from dbt_location.metrics.chart import Panel, lines_by_day, markdown
from dbt_location.metrics.tables import MetricsTable, not_null, replaced_window
from dbt_location.partitions import BACKFILL_POLICY, daily_partition
from dbt_location.warehouse import Warehouse

# The city's columns and the share may be null: those of days that were built before these columns existed.
TABLE = MetricsTable(
    name="manhattan_stats",
    key=("date_of_business",),
    columns=(
        not_null("date_of_business", "date", "New York calendar day of the pickup."),
        not_null("trips", "bigint", "Trips picked up in Manhattan."),
        not_null("revenue", "numeric", "Total charged for them, US dollars, reversals netted out."),
        dg.TableColumn("average_duration", "numeric", "Minutes per trip, over the trips that have a duration."),
        dg.TableColumn("pct_over_30_min", "numeric", "Share of them that took more than 30 minutes, from 0 to 1."),
        dg.TableColumn("city_trips", "bigint", "Trips picked up anywhere."),
        dg.TableColumn("city_revenue", "numeric", "Total charged for trips picked up anywhere, US dollars."),
        dg.TableColumn("city_average_duration", "numeric", "Minutes per trip picked up anywhere."),
        dg.TableColumn(
            "city_pct_over_30_min", "numeric", "Share of trips picked up anywhere that took over 30 minutes."
        ),
    ),
    # numeric, not integers: their division would round every share down to zero.
    query="""
        select
            date_of_business,
            sum(trips) filter (where in_manhattan) as trips,
            sum(fare) filter (where in_manhattan) as revenue,
            sum(total_duration) filter (where in_manhattan)
            / nullif(sum(timed_trips) filter (where in_manhattan), 0) as average_duration,
            cast(sum(trips_over_30_min) filter (where in_manhattan) as numeric)
            / sum(trips) filter (where in_manhattan) as pct_over_30_min,
            sum(trips) as city_trips,
            sum(fare) as city_revenue,
            sum(total_duration) / nullif(sum(timed_trips), 0) as city_average_duration,
            cast(sum(trips_over_30_min) as numeric) / sum(trips) as city_pct_over_30_min
        from analytics.location_metrics
        cross join lateral (select pickup_borough = 'Manhattan' as in_manhattan) as place
        where date_of_business >= %(start)s and date_of_business < %(end)s
        group by date_of_business
        having bool_or(in_manhattan)
    """,
)


def panels(rows: Sequence[Any]) -> list[Panel]:
    """A chart per measure of rows of the table: Manhattan beside the whole city."""

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
    deps=[dg.AssetKey("location_metrics")],
    partitions_def=daily_partition,
    backfill_policy=BACKFILL_POLICY,
    automation_condition=build_when_month_is_loaded,
    group_name="metrics",
    kinds={"postgres"},
    owners=["team:analytics"],
    tags={"layer": "metrics"},
    metadata=TABLE.metadata,
)
def manhattan_stats(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Trips, revenue, average duration and long trips of Manhattan's pickups beside the city's. Grain: one day."""
    days = context.partition_time_window
    with replaced_window(warehouse, TABLE, days.start.date(), days.end.date()) as window:
        metadata = window.metadata
    if window.rows:
        title = "Trips picked up in Manhattan, and in the whole city"
        chart = lines_by_day([row.date_of_business for row in window.rows], panels(window.rows), legend=True)
        metadata["manhattan_and_city"] = dg.MetadataValue.md(markdown(title, chart))
    return dg.MaterializeResult(metadata=metadata)
