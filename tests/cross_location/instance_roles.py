"""An instance on the embedded Postgres, with runs as the host processes create them and the locations execute them."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg2
import yaml
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from psycopg2.extensions import connection as Connection  # noqa: N812, psycopg2's own class name is lower case

from tests.embedded import temporary_databases

PARTITIONS = dg.StaticPartitionsDefinition(["first", "second"])


def definitions(name: str) -> dg.Definitions:
    """One asset, which does what a run may do, with a check, and one asset that fails."""

    # The check is planned without a partition, and evaluated with the one of the run.
    @dg.asset(name=name, partitions_def=PARTITIONS, check_specs=[dg.AssetCheckSpec("complete", asset=name)])
    def built(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        # Dagster writes both as JSON that Postgres's jsonb does not accept, and so it does with NaN and Infinity.
        context.log.info("NUL \x00, half of a surrogate pair \udc80, whole one 😀")
        for number in ("1", "2"):
            context.instance.add_run_tags(context.run.run_id, {"rows": number})
        context.log_event(dg.AssetObservation(name, partition="first", metadata={"seen": True}))
        complete = dg.AssetCheckResult(passed=True, check_name="complete")
        yield dg.MaterializeResult(metadata={"mean": float("nan"), "most": -float("inf")}, check_results=[complete])

    @dg.asset(name=f"{name}_fails")
    def fails() -> None:
        raise ValueError("no rows")

    return dg.Definitions(assets=[built, fails], executor=dg.in_process_executor)


@dataclass(frozen=True)
class Instance:
    """The server, and the instance as the host processes see it."""

    server: str
    host: dg.DagsterInstance

    def connect(self, role: str, database: str = "dagster") -> contextlib.closing[Connection]:
        connection = psycopg2.connect(f"host={self.server} user={role} dbname={database}")
        connection.autocommit = True
        return contextlib.closing(connection)

    def launch(self, location: str, asset: str, partition: str | None = "first", **tags: str) -> dg.DagsterRun:
        """Creates a run of a location and plans its events, as webserver and daemon do, up to its container's start."""
        server = GrpcServerCodeLocationOrigin(host=location, port=4000, location_name=location)
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "__ASSET_JOB")
        given = {"dagster/partition": partition} if partition else {}
        run = self.host.create_run_for_job(
            _job(asset), tags=given | tags, asset_selection={dg.AssetKey(asset)}, remote_job_origin=origin
        )
        self.host.report_dagster_event(DagsterEvent("PIPELINE_STARTING", run.job_name), run.run_id)
        return run

    def execute(self, location: str, asset: str, run: dg.DagsterRun) -> None:
        """Does what the run's container does, as the role of its location."""
        started = self.host.get_run_by_id(run.run_id)
        assert started is not None
        with instance_as(self.server, location) as instance:
            execute_run(InMemoryJob(_job(asset)), started, instance)


def _job(asset: str) -> dg.JobDefinition:
    job = definitions(asset.removesuffix("_fails")).resolve_implicit_global_asset_job_def()
    return job.get_subset(asset_selection={dg.AssetKey(asset)})


@contextlib.contextmanager
def instance_as(server: str, role: str) -> Iterator[dg.DagsterInstance]:
    storage = {"postgres": {"postgres_url": f"postgresql+psycopg2://{role}@/dagster?host={server}"}}
    settings = {"storage": storage, "run_retries": {"enabled": True}, "telemetry": {"enabled": False}}
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text(yaml.safe_dump(settings))
        with dg.DagsterInstance.from_config(home) as instance:
            yield instance


@contextlib.contextmanager
def temporary_instance() -> Iterator[Instance]:
    with temporary_databases() as server, instance_as(server, "dagster") as host:
        yield Instance(server, host)
