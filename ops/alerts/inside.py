"""The stack as the service `alerts` sees it: the facts of `make status`, asked without Docker's socket."""

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import requests
from platform_host.check_policies import policies

from ops.alerts.watch import OVERLAP, FailedRun
from ops.command import OpsError, first_line
from ops.graphql import Webserver
from ops.status import docker, postgres
from ops.status.backups import read_backups
from ops.status.certificate import certificate_end
from ops.status.collect import Stack
from ops.status.facts import Alerts, Backups, Events, Storage, Unknown
from ops.status.judge import duration
from ops.status.partitions import format_ranges
from ops.status.webserver import FAILED_RUNS

# What `df` says of the disk with Postgres's volume, as the service backups writes it.
DISK = Path("/var/lib/backup_state/df")
BACKUPS = Path("/var/lib/backup_state/state.json")
_OLD_SECONDS = 300
_MOST_FAILED, _MOST_ASSETS, _LONGEST_REASON = 1_000, 50, 1_000

_FAILED = """
select e.id, e.run_id, runs.pipeline_name, walls.location_of(runs.run_body),
  (select coalesce(json_object_agg(key, value), '{}') from run_tags where run_tags.run_id = e.run_id),
  (select json_agg(distinct asset_key) from event_logs as planned
    where planned.run_id = e.run_id and planned.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'),
  extract(epoch from now() at time zone 'utc' - e.timestamp)::float
from event_logs as e join runs using (run_id)
where e.dagster_event_type = 'PIPELINE_FAILURE' and e.id > %s and not exists (
  select from event_logs as earlier
  where earlier.run_id = e.run_id and earlier.dagster_event_type = 'PIPELINE_FAILURE' and earlier.id < e.id)
order by e.id limit %s
"""
_REASON = """
select id, coalesce(
  walls.parse(event) #>> '{dagster_event,event_specific_data,user_failure_data,description}',
  walls.parse(event) #>> '{dagster_event,event_specific_data,error,cause,message}',
  case dagster_event_type when 'STEP_FAILURE'
    then walls.parse(event) #>> '{dagster_event,event_specific_data,error,message}'
  end,
  nullif(concat_ws(E'\\n', walls.parse(event) #>> '{dagster_event,message}',
    walls.parse(event) #>> '{dagster_event,event_specific_data,error,message}'), ''))
from event_logs where run_id = %s and dagster_event_type in ('STEP_FAILURE', 'PIPELINE_FAILURE')
order by dagster_event_type = 'STEP_FAILURE' desc, id limit 1
"""
# Dagster decides on a retry right after it has stored the failure. If its process dies between the two, this is how
# long a run waits for the decision.
DECISION_SECONDS = 60
_RETRIED = "dagster/will_retry"


def from_inside(alerts: Callable[[], Alerts]) -> Stack:
    """The stack of the project COMPOSE_PROJECT_NAME; ENGINE_URL is the proxy of Docker's socket."""
    project = os.environ["COMPOSE_PROJECT_NAME"]
    url = os.environ.get("DAGSTER_URL")
    try:
        found = _containers(project)
    except (requests.RequestException, ValueError) as error:
        away = Unknown(f"Docker does not answer ({type(error).__name__})")
        return Stack(project, away, url, _webserver, policies, from_postgres, _backups, alerts, certificate_end)
    services = docker.services(_expected(found), found)
    return Stack(project, services, url, _webserver, policies, from_postgres, _backups, alerts, certificate_end)


def connect(seconds: int = 15) -> "closing[psycopg2.extensions.connection]":
    """A session in the instance's database, by libpq's own settings; raises OpsError."""
    try:
        connection = psycopg2.connect(
            dbname="dagster", connect_timeout=5, options=f"-c statement_timeout={seconds}s", application_name="alerts"
        )
    except psycopg2.Error as error:
        raise OpsError(f"Postgres does not answer: {first_line(str(error))}") from None
    connection.autocommit = True
    return closing(connection)


def failed_runs(after: int | None) -> tuple[list[FailedRun], int]:
    """The runs whose first failure has a larger id, and the id to ask with the next time.

    Without an id the past is left alone. A run whose retry is not decided yet is left to the next time, with those
    after it. Raises OpsError.
    """
    try:
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("select coalesce(max(id), 0) from event_logs")
            ((newest,),) = cursor.fetchall()
            if after is None or after > newest:  # the instance is another one, as after a restore
                return [], newest
            cursor.execute(_FAILED, [after - OVERLAP, _MOST_FAILED])
            found = []
            for event, run_id, job, location, tags, assets, age in cursor.fetchall():
                if _RETRIED not in tags and age < DECISION_SECONDS:
                    break
                found.append(_failed_run(event, run_id, job, location, tags, assets, _reason(cursor, run_id)))
    except psycopg2.Error as error:
        raise OpsError(f"Postgres does not answer: {first_line(str(error))}") from None
    return found, max([after, *(run.event for run in found)])


def _failed_run(
    event: int, run_id: str, job: str, location: str | None, tags: dict[str, str], assets: list[str] | None, reason: str
) -> FailedRun:
    keys = tuple(sorted("/".join(json.loads(key)) for key in assets or ())[:_MOST_ASSETS])
    one = tags.get("dagster/partition", "")
    first, last = (tags.get(f"dagster/asset_partition_range_{end}", one) for end in ("start", "end"))
    what = f"{', '.join(keys) or job} {format_ranges([(first, last)])}".strip()
    retry = int(tags.get("dagster/retry_number", "0"))
    return FailedRun(event, run_id, what, location or "", keys, reason, tags.get(_RETRIED) == "true", retry)


def _reason(cursor: "psycopg2.extensions.cursor", run_id: str) -> str:
    """The error of the step that failed first, else that of the run.

    A location may have stored one that cannot be read. It holds up no other.
    """
    try:
        cursor.execute(_REASON, [run_id])
        ((_, reason),) = cursor.fetchall()
    except psycopg2.DataError as error:
        return f"The event that says why cannot be read: {first_line(str(error))}"
    reason = (reason or "").strip() or "No reason was given."
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def _webserver() -> Webserver:
    return Webserver(os.environ["WEBSERVER_URL"], key=Path(os.environ["ALERTS_KEY_FILE"]).read_text().strip())


def from_postgres() -> tuple[Storage, Events | Unknown]:
    try:
        _, _, used, free, *_ = DISK.read_text().splitlines()[1].split()
    except (OSError, ValueError, IndexError):
        raise OpsError("how full the disk is is not known: the service backups has not written it") from None
    try:
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute(postgres.SERVER)
            ((server,),) = cursor.fetchall()
            storage = postgres.read_storage(int(used) * 1024, int(free) * 1024, server)
            try:
                cursor.execute(postgres.EVENTS.replace(":failed_runs", str(FAILED_RUNS)))
                ((events,),) = cursor.fetchall()
            except psycopg2.Error as error:
                return storage, Unknown(f"Postgres does not answer: {first_line(str(error))}")
    except psycopg2.Error as error:
        raise OpsError(f"Postgres does not answer: {first_line(str(error))}") from None
    return storage, postgres.read_events(events)


def _backups() -> Backups:
    """What the service backups has written; raises OpsError where that is old."""
    try:
        age = time.time() - BACKUPS.stat().st_mtime
        if age < _OLD_SECONDS:
            return read_backups(BACKUPS.read_text())
    except (OSError, ValueError) as error:
        raise OpsError(f"the service backups has written no state ({type(error).__name__})") from None
    raise OpsError(f"the service backups has written no state for {duration(age)}")


def _containers(project: str) -> list[dict[str, Any]]:
    """What `docker inspect` says of the containers of the project's services."""
    url = os.environ["ENGINE_URL"]
    labels = [f"{docker.LABEL}.project={project}", f"{docker.LABEL}.oneoff=False"]
    listed = requests.get(
        f"{url}/containers/json", {"all": "1", "filters": json.dumps({"label": labels})}, timeout=docker.SECONDS
    )
    listed.raise_for_status()
    found = []
    for container in listed.json():
        answer = requests.get(f"{url}/containers{container['Names'][0]}/json", timeout=docker.SECONDS)
        if answer.status_code != 404:  # it was removed meanwhile
            answer.raise_for_status()
            found.append(dict(answer.json()))
    return found


def _expected(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services that others of the compose file depend on, from the labels that Compose gives to containers."""
    expected: dict[str, dict[str, Any]] = {}
    for container in found:
        for dependency in container["Config"]["Labels"].get(f"{docker.LABEL}.depends_on", "").split(","):
            name, _, condition = dependency.partition(":")
            if name:
                ends = condition.startswith("service_completed")
                expected[name] = {"restart": "no" if ends else "unless-stopped"}
    return expected
