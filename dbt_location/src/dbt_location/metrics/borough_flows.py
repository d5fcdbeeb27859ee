"""The asset ``borough_flows``: from which borough to which a month's trips went."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from dbt_location.automation import build_when_days_are_current
from dbt_location.metrics.chart import markdown
from dbt_location.metrics.complete_months import whole_month
from dbt_location.metrics.heat_map import heat_map
from dbt_location.metrics.tables import MetricsTable, not_null, replaced_window
from dbt_location.partitions import monthly_partition
from dbt_location.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The order on a picture; whatever else there is comes behind.
BOROUGHS = ("Manhattan", "Brooklyn", "Queens", "Bronx", "Staten Island", "EWR", "Unknown", "N/A")

TABLE = MetricsTable(
    name="borough_flows",
    key=("month", "pickup_borough", "dropoff_borough"),
    columns=(
        not_null("month", "date", "First day of the month of the pickups."),
        not_null("pickup_borough", "text", "Borough of the pickup's zone."),
        not_null("dropoff_borough", "text", "Borough of the dropoff's zone."),
        not_null("trips", "bigint", "Trips from the one to the other. A pair without trips has no row."),
    ),
    query="""
        select
            cast(date_trunc('month', date_of_business) as date) as month,
            pickup_borough,
            destination_borough as dropoff_borough,
            sum(trips) as trips
        from analytics.location_metrics
        where date_of_business >= %(start)s and date_of_business < %(end)s
        group by 1, 2, 3
    """,
)


def boroughs_of(rows: Sequence[Any]) -> list[str]:
    """The boroughs that rows of the table name, in the order to show them in."""
    there = {borough for row in rows for borough in (row.pickup_borough, row.dropoff_borough)}
    return [*(borough for borough in BOROUGHS if borough in there), *sorted(there - set(BOROUGHS))]


def flows_chart(title: str, rows: Sequence[Any]) -> "Figure":
    """Draws rows of the table: pickups down, dropoffs across."""
    order = boroughs_of(rows)
    return heat_map(title, order, order, {(row.pickup_borough, row.dropoff_borough): row.trips for row in rows})


@dg.asset(
    deps=[dg.AssetKey("location_metrics")],
    partitions_def=monthly_partition,
    # A picture is of one month, so a range of months is a run each.
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    automation_condition=build_when_days_are_current,
    group_name="metrics",
    kinds={"postgres"},
    owners=["team:analytics"],
    tags={"layer": "metrics"},
    metadata=TABLE.metadata,
)
def borough_flows(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Trips from borough to borough. Grain: one month, pickup borough and dropoff borough."""
    start, end = whole_month(context, ["location_metrics"])
    with replaced_window(warehouse, TABLE, start, end) as window:
        metadata = window.metadata
    if window.rows:
        title = f"Trips from borough (down) to borough (across), {start:%B %Y}"
        metadata["borough_flows"] = dg.MetadataValue.md(markdown(title, flows_chart(title, window.rows)))
    return dg.MaterializeResult(metadata=metadata)
