"""The queue with the settings of dagster.yaml, taken from by the daemon's own code."""

from pathlib import Path

import dagster as dg
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from ops.command import ROOT
from tests.platform_host.policies import run

SETTINGS = yaml.safe_load((ROOT / "dagster.yaml").read_text())


@dg.job
def nothing() -> None: ...


def test_runs_of_one_location_leave_a_place_for_the_run_of_another(tmp_path: Path) -> None:
    kept = {name: SETTINGS[name] for name in ("run_coordinator", "concurrency")}
    launcher = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(kept | {"run_launcher": launcher}))
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace,
    ):
        for location in (*["dbt_location"] * 4, "ingestion_location"):
            of_location = run(location)
            # Each claims to be one of a location of its own.
            created = instance.create_run_for_job(
                nothing,
                remote_job_origin=of_location.remote_job_origin,
                job_code_origin=of_location.job_code_origin,
                tags={"dagster/code_location": str(instance.get_runs_count())},
            )
            instance.submit_run(created.run_id, workspace.create_request_context())
        with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
            # A launched run stays in progress.
            for _ in range(2):
                list(daemon.run_iteration(workspace))
        started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING]))
        assert sorted(one.tags["dagster/code_location"] for one in started) == ["dbt_location"] * 3 + [
            "ingestion_location"
        ]
