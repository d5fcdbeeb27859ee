"""The asset ``monthly_report``: a page about a month, with its numbers, its pictures and the month before."""

from datetime import timedelta

import dagster as dg

from dbt_location.automation import build_when_days_are_current
from dbt_location.metrics import borough_flows, manhattan_stats, zone_map
from dbt_location.metrics.complete_months import month_gaps, whole_month
from dbt_location.metrics.report_page import Month, render_index, render_month
from dbt_location.metrics.tables import MetricsTable, not_null, read_window, replaced_window
from dbt_location.partitions import monthly_partition
from dbt_location.report_folder import Reports, ReportsError
from dbt_location.warehouse import Warehouse

TABLE = MetricsTable(
    name="monthly_report",
    key=("month",),
    columns=(
        not_null("month", "date", "First day of the month of the pickups."),
        not_null("trips", "bigint", "Trips picked up in the month."),
        not_null("revenue", "numeric", "Total charged for them, US dollars, reversals netted out."),
        dg.TableColumn("average_duration", "numeric", "Minutes per trip, over the trips that have a duration."),
        dg.TableColumn("pct_over_30_min", "numeric", "Share of the trips that took over 30 minutes, from 0 to 1."),
        dg.TableColumn("manhattan_share", "numeric", "Share of the trips picked up in Manhattan, from 0 to 1."),
        dg.TableColumn("airport_share", "numeric", "Share of the trips picked up at an airport, from 0 to 1."),
        not_null("file_name", "text", "The report, in the folder that the setting REPORTS_DIR names."),
    ),
    # Without a group by: a month without trips has a row too, and a page. numeric, not integers: their division would
    # round every share down to zero.
    query="""
        select
            cast(%(start)s as date) as month,
            coalesce(sum(trips), 0) as trips,
            coalesce(sum(fare), 0) as revenue,
            sum(total_duration) / nullif(sum(timed_trips), 0) as average_duration,
            cast(sum(trips_over_30_min) as numeric) / nullif(sum(trips), 0) as pct_over_30_min,
            cast(coalesce(sum(trips) filter (where pickup_borough = 'Manhattan'), 0) as numeric)
            / nullif(sum(trips), 0) as manhattan_share,
            cast(coalesce(sum(trips) filter (where from_airport), 0) as numeric)
            / nullif(sum(trips), 0) as airport_share,
            to_char(cast(%(start)s as date), 'YYYY-MM') || '.html' as file_name
        from analytics.location_metrics
        where date_of_business >= %(start)s and date_of_business < %(end)s
    """,
)


@dg.asset(
    deps=[dg.AssetKey("location_metrics"), dg.AssetKey("stg_zones")],
    partitions_def=monthly_partition,
    # A page is of one month, so a range of months is a run each.
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    automation_condition=build_when_days_are_current,
    group_name="metrics",
    kinds={"postgres", "html"},
    owners=["team:analytics"],
    tags={"layer": "metrics"},
    metadata=TABLE.metadata,
)
def monthly_report(
    context: dg.AssetExecutionContext, warehouse: Warehouse, reports: Reports
) -> dg.MaterializeResult[None]:
    """A month's headline numbers, and the page that shows them with its pictures. Grain: one month."""
    start, end = whole_month(context, ["location_metrics"])
    before = (start - timedelta(days=1)).replace(day=1)
    # From the mart, not from the row of the report before: so the months can be reported in any order.
    built_before = not month_gaps(context.instance, ["location_metrics"], before, start)
    # All from the marts, none from the other metrics' tables: so these need not be built, and all is of one moment.
    with replaced_window(warehouse, TABLE, start, end) as window:
        connection = window.connection
        (numbers,) = window.rows
        numbers_before = read_window(connection, TABLE, before, start)[0] if built_before else None
        pickups = read_window(connection, zone_map.TABLE, start, end)
        month = Month(
            start=start,
            end=end,
            before=before,
            numbers=numbers,
            numbers_before=numbers_before,
            by_day=read_window(connection, manhattan_stats.TABLE, start, end),
            flows=read_window(connection, borough_flows.TABLE, start, end),
            pickups=pickups,
            pickups_before=read_window(connection, zone_map.TABLE, before, start) if built_before else [],
            zones=zone_map.read_zones(connection, pickups),
        )
        # Before the commit, so that pages follow one another in the same order as rows. A run that dies between the two
        # leaves a right page beside the row before it.
        try:
            path = reports.publish(numbers.file_name, render_month(month), render_index)
        except ReportsError as error:
            raise dg.Failure(str(error)) from error
    return dg.MaterializeResult(
        metadata={
            **window.metadata,
            "report": dg.MetadataValue.url(f"{reports.url}/{numbers.file_name}"),
            "file": dg.MetadataValue.path(str(path)),
            "bytes": path.stat().st_size,
            "compared_with": f"{before:%Y-%m}" if built_before else "no month before",
        }
    )
