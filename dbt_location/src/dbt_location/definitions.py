"""What this code location offers to Dagster."""

import dagster as dg

from dbt_location.automation import automatic_builds
from dbt_location.dbt_models import get_dbt_partitioned_models, get_dbt_unpartitioned_models
from dbt_location.metrics.borough_flows import borough_flows
from dbt_location.metrics.manhattan_stats import manhattan_stats
from dbt_location.metrics.monthly_report import monthly_report
from dbt_location.metrics.zone_map import zone_map
from dbt_location.project import AnalyticsDbt, analytics_project, manifest
from dbt_location.report_folder import Reports
from dbt_location.sources import source_assets
from dbt_location.warehouse import Warehouse

defs = dg.Definitions(
    assets=[
        *source_assets(manifest()),
        get_dbt_unpartitioned_models(),
        get_dbt_partitioned_models(),
        manhattan_stats,
        zone_map,
        borough_flows,
        monthly_report,
    ],
    resources={
        "dbt": AnalyticsDbt(project_dir=str(analytics_project.project_dir)),
        "warehouse": Warehouse.from_env(),
        "reports": Reports.from_env(),
    },
    sensors=[automatic_builds],
    # A run is a container or a process of its own and its steps are few: a second Python per step would only cost time.
    executor=dg.in_process_executor,
)
