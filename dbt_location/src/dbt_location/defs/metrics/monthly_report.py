"""The asset ``monthly_report``: a page about a month, with its numbers, its pictures and the month before."""

import dagster as dg

from dbt_location.complete_months import is_whole, month_before, require_whole_month
from dbt_location.defs.metrics.borough_flows_chart import FLOWS
from dbt_location.defs.metrics.manhattan_stats import read_days
from dbt_location.defs.metrics.report_page import Month, render_index, render_month
from dbt_location.defs.metrics.zone_map import PICKUPS, read_zones
from dbt_location.monthly_asset import monthly_asset
from dbt_location.report_folder import Reports, ReportsError
from dbt_location.warehouse import Warehouse, rows_of

TABLES = ("monthly_totals", "zone_pickups", "borough_flows")
# Reports take turns from before they read until their page is written, so that no older page replaces a newer one. As
# the first statement, for what is read must be of a moment after the wait.
LOCK = "lock table metrics.monthly_totals in share row exclusive mode"
TOTALS = "select * from metrics.monthly_totals where month = %(month)s"


@monthly_asset(deps=[*TABLES, "location_metrics", "stg_zones"], kinds={"html"})
def monthly_report(
    context: dg.AssetExecutionContext, warehouse: Warehouse, reports: Reports
) -> dg.MaterializeResult[None]:
    """The page of a month: its numbers beside those of the month before, and its pictures. Grain: one month."""
    start, end = require_whole_month(context, *TABLES)
    before = month_before(start)
    file_name = f"{start:%Y-%m}.html"
    with warehouse.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute(LOCK)
        (numbers,) = rows_of(connection, TOTALS, {"month": start})
        rows_before = rows_of(connection, TOTALS, {"month": before}) if is_whole(context.instance, before) else []
        pickups = rows_of(connection, PICKUPS, {"month": start})
        month = Month(
            start=start,
            end=end,
            before=before,
            numbers=numbers,
            numbers_before=rows_before[0] if rows_before else None,
            by_day=read_days(connection, start, end),
            flows=rows_of(connection, FLOWS, {"month": start}),
            pickups=pickups,
            pickups_before=rows_of(connection, PICKUPS, {"month": before}) if rows_before else [],
            zones=read_zones(connection, pickups),
        )
        try:
            path = reports.publish(file_name, render_month(month), render_index)
        except ReportsError as error:
            raise dg.Failure(str(error)) from error
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(f"{reports.url}/{file_name}"),
            "file": dg.MetadataValue.path(str(path)),
            "bytes": path.stat().st_size,
            "compared_with": f"{before:%Y-%m}" if rows_before else "no month before",
        }
    )
