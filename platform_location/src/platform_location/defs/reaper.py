"""The sensor ``reaper``: removes the containers of ended runs, and stores what the failed ones printed last."""

import os
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance

from platform_location.container_logs import store_output, stored_containers
from platform_location.docker_api import AWAY, GONE, Docker, DockerError
from platform_location.run_containers import RUN_ID, RunContainer, Verdict, is_unsuccessful, judge
from platform_location.settings import Settings, read_settings

SETTINGS = read_settings()
# Dagster gives up a tick after a minute. What is not done by then is left to the next one.
BUDGET_SECONDS = 30.0
REMOVE_YOURSELF = "docs/upgrading.md says how to remove it"


def reap(
    instance: DagsterInstance,
    docker: Docker,
    project: str,
    settings: Settings,
    now: datetime,
    known: Iterable[str] = (),
    budget: float = BUDGET_SECONDS,
) -> tuple[str, list[str]]:
    """Stores the output of containers whose run did not succeed, and removes the containers that are old enough.

    A container is removed only after its output is stored, and the run's events are searched for the output before it
    is stored: after a tick that dies anywhere, the next one completes its work.

    ``project`` is the containers' label, ``now`` has a time zone, ``known`` are the ids of containers whose output is
    known to be stored, which saves the search. ``budget`` is in seconds; the oldest containers come first. Returns what
    was found and done, in words, and the ids of the containers whose output is stored now.
    """
    deadline = time.monotonic() + budget
    listed = sorted(docker.containers([f"project={project}", RUN_ID]), key=lambda container: container["Created"])
    if not listed:
        return "no run containers", []
    run_ids = [container["Labels"][RUN_ID] for container in listed]
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=run_ids))}
    stored = set(known) & {container["Id"] for container in listed}
    done: Counter[str] = Counter()
    for number, entry in enumerate(listed):
        if time.monotonic() > deadline:
            done["left to the next tick"] = len(listed) - number
            break
        name = f"{project}-run-{entry['Labels'][RUN_ID]}"
        if f"/{name}" not in entry["Names"]:
            done[f"left, as a launcher without run policies created it ({REMOVE_YOURSELF})"] += 1
            continue
        try:
            container = RunContainer.from_inspect(docker.inspect(name))
            run = runs.get(container.run_id)
            if run is not None and is_unsuccessful(container, run.status) and container.id not in stored:
                if container.id not in stored_containers(instance, run.run_id):
                    store_output(instance, run, container, docker)
                    done["whose output was stored"] += 1
                stored.add(container.id)
            verdict = judge(container, run.status if run else None, settings, now)
            if verdict is Verdict.REMOVED:
                docker.remove(container.name)
            done[verdict.value] += 1
        except DockerError as error:
            if error.status in AWAY:
                raise
            # One container that Docker refuses to remove must not hold up the others; some are removed by others.
            done["already gone" if error.status == GONE else f"refused by Docker ({error})"] += 1
    summary = ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
    return f"{len(listed)} run container{'s' if len(listed) > 1 else ''}: {summary}", sorted(stored)


@dg.sensor(
    minimum_interval_seconds=SETTINGS.reap_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING if SETTINGS.housekeeping == "on" else dg.DefaultSensorStatus.STOPPED,
    description=(
        "Removes the containers of ended runs: of those that succeeded after "
        f"{SETTINGS.reap_succeeded_after_seconds} s, of all others after {SETTINGS.reap_failed_after_seconds} s. "
        "Stores the end of the output of a run that did not succeed as an event of the run."
    ),
)
def reaper(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    docker = Docker(os.environ.get("DOCKER_HOST", ""))
    known = context.cursor.split() if context.cursor else []
    project = os.environ["COMPOSE_PROJECT_NAME"]
    summary, stored = reap(context.instance, docker, project, SETTINGS, datetime.now(UTC), known)
    return dg.SensorResult(skip_reason=summary, cursor=" ".join(stored))
