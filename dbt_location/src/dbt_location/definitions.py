"""What this code location offers to Dagster."""

import dagster as dg

from dbt_location.automation import automatic_builds
from dbt_location.dbt_models import get_dbt_partitioned_models, get_dbt_unpartitioned_models
from dbt_location.metrics.manhattan_stats import manhattan_stats
from dbt_location.project import AnalyticsDbt, analytics_project, manifest
from dbt_location.sources import source_assets
from dbt_location.warehouse import Warehouse

defs = dg.Definitions(
    assets=[
        *source_assets(manifest()),
        get_dbt_unpartitioned_models(),
        get_dbt_partitioned_models(),
        manhattan_stats,
    ],
    sensors=[automatic_builds],
    resources={"dbt": AnalyticsDbt(project_dir=str(analytics_project.project_dir)), "warehouse": Warehouse.from_env()},
    # A run is a container or a process of its own and its steps are few: a second Python per step would only cost time.
    executor=dg.in_process_executor,
)
