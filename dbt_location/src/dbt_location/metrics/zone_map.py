"""The asset ``zone_map``: where a month's trips were picked up, zone by zone, on the map."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from dbt_location.automation import build_when_days_are_current
from dbt_location.metrics.chart import markdown
from dbt_location.metrics.choropleth import Zone, zone_chart
from dbt_location.metrics.complete_months import whole_month
from dbt_location.metrics.tables import MetricsTable, not_null, replaced_window, rows_of
from dbt_location.partitions import monthly_partition
from dbt_location.warehouse import Warehouse

TABLE = MetricsTable(
    name="zone_map",
    key=("month", "zone_id"),
    columns=(
        not_null("month", "date", "First day of the month of the pickups."),
        not_null("zone_id", "smallint", "TLC zone of the pickup; 264, the TLC's Unknown, where a trip has none."),
        not_null("zone", "text", "Name of that zone; Unknown for a number that the lookup lacks."),
        not_null("borough", "text", "Borough of that zone."),
        not_null("pickups", "bigint", "Trips picked up there. A zone without pickups has no row."),
        dg.TableColumn("revenue", "numeric", "Total charged for them, US dollars, reversals netted out."),
        not_null("has_shape", "boolean", "Whether the zone has a shape, so that the map shows it."),
    ),
    query="""
        with

        pickups as (

            select
                cast(date_trunc('month', date_of_business) as date) as month,
                pickup_zone_id as zone_id,
                sum(trips) as pickups,
                sum(fare) as revenue

            from analytics.location_metrics
            where date_of_business >= %(start)s and date_of_business < %(end)s
            group by 1, 2

        )

        select
            pickups.month,
            pickups.zone_id,
            coalesce(zones.zone_name, 'Unknown') as zone,
            coalesce(zones.borough, 'Unknown') as borough,
            pickups.pickups,
            pickups.revenue,
            zones.geometry is not null as has_shape
        from pickups
        left join analytics.stg_zones as zones on pickups.zone_id = zones.zone_id
    """,
)
ZONES = "select zone_id, zone_name, borough, is_airport, geometry from analytics.stg_zones order by zone_id"


def read_zones(connection: Connection, rows: Sequence[Any]) -> list[Zone]:
    """Reads all zones, each with its pickups in these rows of the table."""
    pickups = {row.zone_id: row.pickups for row in rows}
    return [
        Zone(zone.zone_name, zone.borough, zone.is_airport, pickups.get(zone.zone_id, 0), zone.geometry)
        for zone in rows_of(connection, ZONES)
    ]


def without_shape(rows: Sequence[Any]) -> tuple[int, int]:
    """Of these rows of the table, the zones that the map cannot show, and their pickups."""
    hidden = [row.pickups for row in rows if not row.has_shape]
    return len(hidden), sum(hidden)


def map_title(month: str, rows: Sequence[Any]) -> str:
    """What the map shows, and what it cannot."""
    zones, pickups = without_shape(rows)
    title = f"Pickups per taxi zone, {month}"
    if zones and zones < len(rows):
        title += f" (without {pickups:,} of {sum(row.pickups for row in rows):,} in zones that have no shape)"
    return title


@dg.asset(
    deps=[dg.AssetKey("location_metrics"), dg.AssetKey("stg_zones")],
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
def zone_map(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Pickups per taxi zone, and the map of them. Grain: one month and pickup zone."""
    start, end = whole_month(context, ["location_metrics"])
    with replaced_window(warehouse, TABLE, start, end) as window:
        zones = read_zones(window.connection, window.rows)
    title = map_title(f"{start:%B %Y}", window.rows)
    return dg.MaterializeResult(
        metadata={
            **window.metadata,
            "zone_map": dg.MetadataValue.md(markdown(title, zone_chart(title, "pickups", zones))),
            "drawn_as": "map" if any(zone.geometry for zone in zones) else "bars, as no zone has a shape",
            "pickups": sum(row.pickups for row in window.rows),
            "zones_without_shape": sum(zone.geometry is None for zone in zones),
            "pickups_without_shape": without_shape(window.rows)[1],
        }
    )
