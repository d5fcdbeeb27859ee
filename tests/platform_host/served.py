"""The platform's webserver on a port, with two code locations and a Postgres, all real."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import uvicorn
import yaml
from dagster._core.workspace.load_target import WorkspaceFileTarget
from platform_host.webserver import ProcessContext, Webserver

from tests.embedded import temporary_databases

KEY = "the key of the door"
OWN, OTHER = "dbt_location", "ingestion_location"
CODE = """
import dagster as dg

letters = dg.DynamicPartitionsDefinition(name="{name}_letters")
days = dg.StaticPartitionsDefinition(["first", "second"])

@dg.asset(name="{name}_asset", partitions_def=days)
def asset(): ...

@dg.asset(name="{name}_whole", check_specs=[dg.AssetCheckSpec("complete", asset="{name}_whole")])
def whole(): ...

@dg.asset(name="{name}_dynamic", partitions_def=letters)
def dynamic(): ...

@dg.op
def nothing(): ...

@dg.job(partitions_def=days, tags={{"user": "the boss"}})
def job():
    nothing()

@dg.sensor(job=job)
def sensor():
    return dg.SkipReason("nothing new")

@dg.schedule(job=job, cron_schedule="0 0 * * *")
def schedule():
    return dg.RunRequest(partition_key="first")

@dg.job(partitions_def=dg.DynamicPartitionsDefinition(name="{name}_of_a_job"))
def dynamic_job():
    nothing()

# The other team's dynamic partitions are those of a job.
@dg.asset(name="{name}_like_a_job", partitions_def=dg.DynamicPartitionsDefinition(name="{other}_of_a_job"))
def like_a_job(): ...

# Both teams' dynamic partitions have this name.
@dg.asset(name="{name}_shared", partitions_def=dg.DynamicPartitionsDefinition(name="shared"))
def shared(): ...

defs = dg.Definitions(
    [asset, whole, dynamic, like_a_job, shared, dg.AssetSpec("{other}_asset"), dg.AssetSpec("declared_by_both")],
    jobs=[job, dynamic_job],
    sensors=[sensor],
    schedules=[schedule],
)
"""


@dataclass(frozen=True)
class Served:
    """A webserver on a port, its instance, its access.yaml, and the folder of its Postgres's socket."""

    url: str
    instance: dg.DagsterInstance
    access: Path
    server: str
    process: ProcessContext

    def post(self, body: Any, user: str | None = None, path: str = "/graphql", **headers: str) -> requests.Response:
        """Asks as the front door does after somebody has logged in."""
        given = {"X-Door-Key": KEY, "X-Forwarded-For": "192.0.2.7"} | ({"X-Forwarded-User": user} if user else {})
        return requests.post(f"{self.url}{path}", json=body, headers=given | headers, timeout=60)

    def ask(self, query: str, user: str | None = None, **variables: Any) -> dict[str, Any]:
        return dict(self.post({"query": query, "variables": variables}, user).json())

    def allow(self, **access: Any) -> None:
        """Writes access.yaml, as an editor of texts does: it counts at the next request."""
        new = self.access.with_suffix(".new")
        new.write_text(yaml.safe_dump(access))
        new.replace(self.access)


@contextlib.contextmanager
def serve() -> Iterator[Served]:
    """Starts Postgres, code servers and webserver, without access.yaml."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(temporary_databases())
        load = []
        for name, other in ((OWN, OTHER), (OTHER, OWN)):
            short, others = name.removesuffix("_location"), other.removesuffix("_location")
            (folder / f"{name}.py").write_text(CODE.format(name=short, other=others))
            load.append({"python_file": {"relative_path": f"{name}.py", "location_name": name}})
        (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": load}))
        settings = {
            "storage": {"postgres": {"postgres_url": f"postgresql+psycopg2://dagster@/dagster?host={server}"}},
            "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"},
            "instance_class": {"module": "platform_host.instance", "class": "HostInstance"},
            "telemetry": {"enabled": False},
        }
        (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
        (folder / "key").write_text(f"{KEY}\n")
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
        target = WorkspaceFileTarget([str(folder / "workspace.yaml")])
        process = stack.enter_context(ProcessContext(instance, workspace_load_target=target))
        access = folder / "access.yaml"
        access.write_text("users: {}")
        url = stack.enter_context(listening(process, access, folder / "key"))
        yield Served(url, instance, access, server, process)


@contextlib.contextmanager
def listening(process: ProcessContext, access: Path, key: Path) -> Iterator[str]:
    """A webserver with these settings on a free port, as its URL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCESS_FILE", str(access))
        patch.setenv("DOOR_KEY_FILE", str(key))
        patch.setenv("ALERTS_KEY_FILE", str(key.with_name("alerts_key")))
        key.with_name("alerts_key").write_text("the key of the alerts")
        app = Webserver(process).create_asgi_app()
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
