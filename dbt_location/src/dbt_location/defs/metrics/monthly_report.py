"""The asset ``monthly_report``: a page about a month, with its numbers, its pictures and the month before."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from dbt_location.defs.metrics.borough_flows_chart import FLOWS
from dbt_location.defs.metrics.manhattan_stats import read_days
from dbt_location.defs.metrics.report_page import Month, render_index, render_month
from dbt_location.defs.metrics.zone_map import PICKUPS, read_zones
from dbt_location.monthly_asset import monthly_asset
from dbt_location.report_folder import Reports, ReportsError
from dbt_location.required_upstream import require_whole_month
from dbt_location.warehouse import Warehouse, rows_of

# The first statement, so that everything is read as of a moment after the wait. Reports take turns from before they
# read until their page is written, so that no older page replaces a newer one. Writers of the tables wait, too: a table
# that this report did not see is committed after the report's event is stored, so the table's event comes after the
# report's and makes the report outdated. The view is locked first, in the same order as dbt, which replaces it in a
# build outside of Dagster.
LOCK = """
lock table analytics.stg_zones in access share mode;
lock table metrics.monthly_totals, metrics.zone_pickups, metrics.borough_flows, analytics.location_metrics
in share row exclusive mode
"""
TOTALS = "select * from metrics.monthly_totals order by month"


@monthly_asset(
    deps=["monthly_totals", "zone_pickups", "borough_flows", "location_metrics", "stg_zones"],
    month_before=["monthly_totals", "zone_pickups"],
    kinds={"html"},
)
def monthly_report(
    context: dg.AssetExecutionContext, warehouse: Warehouse, reports: Reports
) -> Iterator[dg.MaterializeResult[None]]:
    """The page of a month: its numbers compared with the previous month, and its pictures. Grain: one month."""
    start, end = require_whole_month(context)
    before = (start - timedelta(days=1)).replace(day=1)
    file_name = f"{start:%Y-%m}.html"
    with warehouse.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute(LOCK)
        totals = {row.month: row for row in rows_of(connection, TOTALS)}
        pickups = rows_of(connection, PICKUPS, {"month": start})
        month = Month(
            start=start,
            end=end,
            before=before,
            numbers=totals[start],
            numbers_before=totals.get(before),
            by_day=read_days(connection, start, end),
            flows=rows_of(connection, FLOWS, {"month": start}),
            pickups=pickups,
            pickups_before=rows_of(connection, PICKUPS, {"month": before}),
            zones=read_zones(connection, pickups),
        )
        try:
            path = reports.publish(file_name, render_month(month), lambda pages: render_index(pages, totals))
        except ReportsError as error:
            raise dg.Failure(str(error)) from error
        # Dagster stores the event before it returns here, while the tables are locked.
        yield dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.url(f"{reports.url}/{file_name}"),
                "file": dg.MetadataValue.path(str(path)),
                "bytes": path.stat().st_size,
                "compared_with": f"{before:%Y-%m}" if before in totals else "no month before",
            }
        )
