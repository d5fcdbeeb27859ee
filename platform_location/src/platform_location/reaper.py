"""The sensor ``reaper``: containers of runs that have ended go, and what a failed one printed last stays."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance

from platform_location.docker_api import AWAY, GONE, Docker, DockerError
from platform_location.last_words import attach, attached_containers
from platform_location.run_containers import RUN_ID, RunContainer, Verdict, is_unsuccessful, judge
from platform_location.settings import Settings, read_settings

SETTINGS = read_settings()
# A tick that takes a minute is given up. What is not done by then is left to the next one.
BUDGET_SECONDS = 30.0


def reap(
    instance: DagsterInstance,
    docker: Docker,
    project: str,
    settings: Settings,
    now: datetime,
    known: Iterable[str] = (),
    budget: float = BUDGET_SECONDS,
) -> tuple[str, list[str]]:
    """One look: keeps the last words of what did not succeed, and removes what is old enough.

    A container is removed only after its last words are stored, and they are looked up among the run's events before
    they are written: a tick that dies anywhere is made good by the next one.

    Args:
        instance: the instance.
        docker: the engine.
        project: the containers' label ``project``.
        settings: after how many seconds a container is removed.
        now: with a time zone.
        known: ids of containers whose last words are known to be stored; saves looking them up.
        budget: seconds that the look may take; the containers that were created first come first.

    Returns:
        What was found and done, in words; and the ids whose last words are stored now.

    Raises:
        DockerError: Docker does not answer.
    """
    deadline = time.monotonic() + budget
    listed = sorted(docker.containers([f"project={project}", RUN_ID]), key=lambda container: container["Created"])
    run_ids = [container["Labels"][RUN_ID] for container in listed]
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=run_ids))} if run_ids else {}
    stored = set(known) & {container["Id"] for container in listed}
    done: Counter[str] = Counter()
    for number, entry in enumerate(listed):
        if time.monotonic() > deadline:
            done["left to the next tick"] = len(listed) - number
            break
        try:
            container = RunContainer.from_inspect(docker.inspect(entry["Id"]))
            run = runs.get(container.run_id)
            if run is not None and is_unsuccessful(container, run.status) and container.id not in stored:
                if container.id not in attached_containers(instance, run.run_id):
                    attach(instance, run, container, docker)
                    done["new with what it printed last kept"] += 1
                stored.add(container.id)
            verdict = judge(container, run.status if run else None, settings, now)
            if verdict is Verdict.REMOVED:
                docker.remove(container.id)
            done[verdict.value] += 1
        except DockerError as error:
            if error.status in AWAY:
                raise
            # One that Docker does not let go of must not keep the others; and some are removed meanwhile by others.
            done["gone meanwhile" if error.status == GONE else f"refused by Docker ({error})"] += 1
    return _in_words(len(listed), done), sorted(stored)


def _in_words(number: int, done: Mapping[str, int]) -> str:
    if not number:
        return "no run containers"
    said = ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
    return f"{number} run container{'s' if number > 1 else ''}: {said}"


@dg.sensor(
    minimum_interval_seconds=SETTINGS.reap_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING if SETTINGS.housekeeping else dg.DefaultSensorStatus.STOPPED,
    description=(
        "Removes the containers of runs that have ended: of those that succeeded after "
        f"{SETTINGS.reap_succeeded_after_seconds} s, of all others after {SETTINGS.reap_failed_after_seconds} s. What "
        "the container of a run that did not succeed printed last is kept as an event of the run."
    ),
)
def reaper(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Looks at the run containers of this stack."""
    known = context.cursor.split() if context.cursor else []
    project = os.environ["COMPOSE_PROJECT_NAME"]
    said, stored = reap(context.instance, Docker.from_env(), project, SETTINGS, datetime.now(UTC), known)
    return dg.SensorResult(skip_reason=said, cursor=" ".join(stored))
