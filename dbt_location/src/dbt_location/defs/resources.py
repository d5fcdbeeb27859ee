"""The resources that the assets name, and how a run executes its steps."""

import os

import dagster as dg

from dbt_location.project import AnalyticsDbt, analytics_project
from dbt_location.report_folder import Reports
from dbt_location.settings import read_settings
from dbt_location.warehouse import Warehouse

settings = read_settings()
connection = {name: getattr(settings, f"warehouse_{name}") for name in ("host", "port", "database", "user", "password")}
# Read by libpq for every session of this process and of dbt's. None of them waits for a lock any longer.
os.environ["PGOPTIONS"] = f"-c lock_timeout={settings.taxi_lock_wait_seconds}s"
resources = dg.Definitions(
    resources={
        "dbt": AnalyticsDbt(project_dir=str(analytics_project.project_dir)),
        "warehouse": Warehouse(**connection),
        "reports": Reports(folder=str(settings.reports_dir), url=settings.reports_url),
    },
    # A run is a container or a process of its own and its steps are few: a second Python per step would only cost time.
    executor=dg.in_process_executor,
)
