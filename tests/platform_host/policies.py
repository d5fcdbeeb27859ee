"""A run policy and a run of its location, for the tests of this folder."""

import uuid
from typing import Any

from dagster import DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.dagster_run import DagsterRunStatus
from platform_host.run_policy import RunPolicy

JOB = "__ASSET_JOB"


def policy(**changed: Any) -> RunPolicy:
    content: dict[str, Any] = {
        "location": "dbt_location",
        "project": "taxi",
        "images": ["dbt_location:new", "dbt_location:old"],
        "environment": {"TAXI_START_DATE": "2023-01-01"},
        "network": "taxi_dbt_location",
        "volumes": [
            "taxi_dbt_location_credentials:/run/credentials:ro",
            "taxi_dbt_location_compute_logs:/opt/dagster/compute_logs",
        ],
        "memory": 2 * 2**30,
        "cpus": 1.5,
        "pids": 512,
    }
    return RunPolicy(**content | changed)


def run(location: str = "dbt_location", **code: Any) -> DagsterRun:
    """A queued run as the webserver creates it, whose code origin has these changes."""
    claimed = {
        "executable_path": "/opt/venv/bin/python",
        "code_pointer": ModuleCodePointer("dbt_location.definitions", "defs", "/opt/dagster/dbt_location"),
        "container_image": "dbt_location:new",
        "entry_point": DEFAULT_DAGSTER_ENTRY_POINT,
        "container_context": {},
    }
    server = GrpcServerCodeLocationOrigin(host=location, port=4000, location_name=location)
    return DagsterRun(
        job_name=JOB,
        run_id=str(uuid.uuid4()),
        status=DagsterRunStatus.QUEUED,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), JOB),
        job_code_origin=JobPythonOrigin(JOB, RepositoryPythonOrigin(**claimed | code)),
    )
