"""What Postgres says: disk, sizes, connections, and Dagster's event log.

The event log is read from its tables, those of the Dagster release in the locks. The webserver's API returns whole
materializations only: 15,000 of them for ten years of days. The newest materialization of a partition is the one with
the largest id, as in ``get_latest_storage_id_by_partition``, which the monthly metrics use. As there, events before the
wipe of an asset do not count: a wipe deletes no events. ``walls.parse`` (services/migrate/instance_walls.sql) reads the
text of a failure, because a NUL in one failure would otherwise fail the statement for all locations.
"""

import json
from collections.abc import Mapping
from typing import Any

from ops.command import OpsError, first_line, run
from ops.lineage import Materialization
from ops.status.facts import Events, Role, Storage, Unknown
from ops.status.webserver import FAILED_RUNS

DATA = "/var/lib/postgresql/data"
MARK = "-- the event log"

SERVER = """
select json_build_object(
  'databases', (select json_object_agg(datname, pg_database_size(datname)) from pg_database where not datistemplate),
  'max_connections', current_setting('max_connections')::int,
  'connections', (select count(*) from pg_stat_activity where backend_type = 'client backend'),
  'roles', (
    select json_agg(json_build_array(rolname, rolconnlimit, (
      select count(*) from pg_stat_activity where usesysid = pg_roles.oid and backend_type = 'client backend'
    )) order by rolname)
    from pg_roles where rolcanlogin));
"""

EVENTS = """
select json_build_object(
  'newest', (
    select coalesce(json_agg(json_build_array(asset_key, partition, id, time)), '[]')
    from (
      select asset_key, partition, max(id) as id, extract(epoch from max(timestamp)) as time
      from event_logs
      left join (
        select asset_key, to_timestamp((asset_details::json ->> 'last_wipe_timestamp')::float) as wiped
        from asset_keys
      ) as assets using (asset_key)
      where dagster_event_type = 'ASSET_MATERIALIZATION' and asset_key is not null
        and timestamp > coalesce(wiped at time zone 'utc', '-infinity')
      group by asset_key, partition
    ) as newest),
  'reasons', (
    select coalesce(json_agg(json_build_array(run_id, description, cause, message)), '[]')
    from (
      select distinct on (run_id)
        run_id,
        walls.parse(event) #>> '{dagster_event,event_specific_data,user_failure_data,description}' as description,
        walls.parse(event) #>> '{dagster_event,event_specific_data,error,cause,message}' as cause,
        coalesce(
          walls.parse(event) #>> '{dagster_event,event_specific_data,error,message}',
          walls.parse(event) #>> '{dagster_event,message}') as message
      from event_logs
      join (select run_id from runs where status = 'FAILURE' order by id desc limit :failed_runs) as failed
        using (run_id)
      where dagster_event_type in ('STEP_FAILURE', 'PIPELINE_FAILURE')
      order by run_id, dagster_event_type = 'STEP_FAILURE' desc, id
    ) as failures));
"""


def ask(container: str) -> tuple[Storage, Events | Unknown]:
    """Asks in one session, through the socket in Postgres's own container; a new server has no event log yet."""
    psql = f"psql -U postgres -d postgres -qtA -v ON_ERROR_STOP=1 -v failed_runs={FAILED_RUNS}"
    limits = ("--env", "PGCONNECT_TIMEOUT=5", "--env", "PGOPTIONS=-c statement_timeout=15s")
    script = f"df -Pk {DATA} && {psql} 2>&1 || true"
    # The statements before \\connect are answered even if the database dagster does not exist.
    statements = f"{SERVER}\n\\echo {MARK}\n\\connect dagster\n{EVENTS}"
    answer = run("docker", "exec", "-i", *limits, container, "sh", "-c", script, stdin=statements, timeout=20)
    head, _, events = answer.partition(MARK)
    _, disk, *server = head.splitlines()
    _, _, used, free, *_ = disk.split()
    found = read_storage(int(used) * 1024, int(free) * 1024, _parse("\n".join(server)))
    try:
        return found, read_events(_parse(events))
    except OpsError as error:
        return found, Unknown(str(error))


def read_storage(disk_used: int, disk_free: int, answer: Mapping[str, Any]) -> Storage:
    """The answer of SERVER, with the bytes of the disk."""
    found = dict(answer)
    roles = tuple(Role(name, used, limit if limit >= 0 else None) for name, limit, used in found.pop("roles"))
    return Storage(disk_used, disk_free, roles=roles, **found)


def read_events(found: Mapping[str, Any]) -> Events:
    """The answer of EVENTS."""
    newest = {
        ("/".join(json.loads(asset)), partition): Materialization(id, time)
        for asset, partition, id, time in found["newest"]
    }
    reasons = {run_id: first_line(next(filter(None, texts), "")) for run_id, *texts in found["reasons"]}
    return Events(newest, reasons)


def _parse(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:
        raise OpsError(f"Postgres does not answer: {' '.join(text.split()) or 'no output'}") from None
