"""The asset ``zone_map``: where a month's trips were picked up, zone by zone, on the map."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from dbt_location.monthly_asset import monthly_asset
from dbt_location.pictures.chart import markdown
from dbt_location.pictures.choropleth import Zone, zone_chart
from dbt_location.required_upstream import require_whole_month
from dbt_location.warehouse import Warehouse, block_writers, rows_of

PICKUPS = "select * from metrics.zone_pickups where month = %(month)s order by zone_id"
ZONES = "select zone_id, zone_name, borough, is_airport, geometry from analytics.stg_zones order by zone_id"


def read_zones(connection: Connection, rows: Sequence[Any]) -> list[Zone]:
    """Reads all zones, each with its pickups in these rows of ``zone_pickups``."""
    pickups = {row.zone_id: row.pickups for row in rows}
    return [
        Zone(zone.zone_name, zone.borough, zone.is_airport, pickups.get(zone.zone_id, 0), zone.geometry)
        for zone in rows_of(connection, ZONES)
    ]


def pickups_without_shape(rows: Sequence[Any]) -> int:
    return sum(row.pickups for row in rows if not row.has_shape)


def map_title(month: str, rows: Sequence[Any]) -> str:
    """What the map shows of these rows of ``zone_pickups``, and what it cannot."""
    title = f"Pickups per taxi zone, {month}"
    hidden = pickups_without_shape(rows)
    if hidden and any(row.has_shape for row in rows):
        title += f" (without {hidden:,} of {sum(row.pickups for row in rows):,} in zones that have no shape)"
    return title


@monthly_asset(deps=["zone_pickups", "stg_zones"], kinds={"matplotlib"})
def zone_map(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult[None]]:
    """The map of a month's pickups per taxi zone. Grain: one month."""
    start, _ = require_whole_month(context)
    with warehouse.transaction() as connection:
        block_writers(connection, "metrics.zone_pickups")
        rows = rows_of(connection, PICKUPS, {"month": start})
        zones = read_zones(connection, rows)
        title = map_title(f"{start:%B %Y}", rows)
        yield dg.MaterializeResult(
            metadata={
                "zone_map": dg.MetadataValue.md(markdown(title, zone_chart(title, "pickups", zones))),
                "drawn_as": "map" if any(zone.geometry for zone in zones) else "bars, as no zone has a shape",
                "pickups": sum(row.pickups for row in rows),
                "zones_without_shape": sum(zone.geometry is None for zone in zones),
                "pickups_without_shape": pickups_without_shape(rows),
            }
        )
