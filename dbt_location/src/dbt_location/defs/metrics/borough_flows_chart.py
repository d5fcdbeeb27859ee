"""The asset ``borough_flows_chart``: from which borough to which a month's trips went."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from dbt_location.monthly_asset import monthly_asset
from dbt_location.pictures.chart import markdown
from dbt_location.pictures.heat_map import heat_map
from dbt_location.required_upstream import require_whole_month
from dbt_location.warehouse import Warehouse, block_writers, rows_of

# The order in a picture; other boroughs come behind.
BOROUGHS = ("Manhattan", "Brooklyn", "Queens", "Bronx", "Staten Island", "EWR", "Unknown", "N/A")
FLOWS = "select * from metrics.borough_flows where month = %(month)s order by pickup_borough, dropoff_borough"


def boroughs_of(rows: Sequence[Any]) -> list[str]:
    """The boroughs that rows of ``borough_flows`` name, in the order to show them in."""
    there = {borough for row in rows for borough in (row.pickup_borough, row.dropoff_borough)}
    return [*(borough for borough in BOROUGHS if borough in there), *sorted(there - set(BOROUGHS))]


@monthly_asset(deps=["borough_flows"], kinds={"matplotlib"})
def borough_flows_chart(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[None]]:
    """The heat map of a month's trips from borough to borough. Grain: one month."""
    start, _ = require_whole_month(context)
    with warehouse.transaction() as connection:
        block_writers(connection, "metrics.borough_flows")
        rows = rows_of(connection, FLOWS, {"month": start})
        metadata: dict[str, Any] = {"trips": sum(row.trips for row in rows)}
        if rows:
            title = f"Trips from borough (down) to borough (across), {start:%B %Y}"
            order = boroughs_of(rows)
            trips = {(row.pickup_borough, row.dropoff_borough): row.trips for row in rows}
            metadata["borough_flows"] = dg.MetadataValue.md(markdown(title, heat_map(title, order, order, trips)))
        yield dg.MaterializeResult(metadata=metadata)
