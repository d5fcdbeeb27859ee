"""The container of a run as Docker's API creates it: everything in it comes from the policy of the run's location."""

import re
from collections.abc import Sequence
from typing import Any

from platform_host.run_policy import RunPolicy

RUN_ID = "dagster/run_id"
RUN_ID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def container_name(project: str, run_id: str) -> str:
    """The name of a run's container; raises ValueError for an id that is not a run's.

    Every call about a container is made by this name. An id that a row or a tag brings could be that of any container.
    """
    if not RUN_ID_FORM.fullmatch(run_id):
        raise ValueError(f"{run_id!r} is not the id of a run, so no container has its name.")
    return f"{project}-run-{run_id}"


def out_of_memory(limit: int) -> str:
    """Says why a run was killed that needed more memory than its limit, in bytes, and what to do."""
    return (
        f"killed: out of memory (limit {limit / 2**20:g} MB, setting RUN_MEMORY_LIMIT). If its work needs as much, "
        "raise the setting in .env, run make up, and launch it again."
    )


def container_config(
    policy: RunPolicy, run_id: str, job_name: str, image: str, command: Sequence[str]
) -> dict[str, Any]:
    """The body of the request that creates a run's container.

    docker-proxy makes the same of the policy (services/proxies/run_containers.lua), and refuses what differs.
    """
    environment = {**policy.environment, "DAGSTER_RUN_JOB_NAME": job_name}
    return {
        "Image": image,
        "Cmd": list(command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {
            "project": policy.project,
            "location": policy.location,
            RUN_ID: run_id,
            "dagster/job_name": job_name,
        },
        "HostConfig": {
            "Binds": policy.volumes,
            "NetworkMode": policy.network,
            "Memory": policy.memory,
            "NanoCpus": int(policy.cpus * 1e9),
            "PidsLimit": policy.pids,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": True,
            # In memory, and a part of the run's memory: a run that fills it gets an error before it is killed.
            "Tmpfs": {"/tmp": f"size={policy.memory // 2}"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
            "Init": True,
        },
    }
