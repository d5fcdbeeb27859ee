"""What a location's role may do in the instance's database, tried as that role; on the embedded Postgres."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields

import dagster as dg
import psycopg2
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from psycopg2.errors import InsufficientPrivilege

from services.migrate.apply import SESSION_SETTINGS, apply, login_roles
from services.migrate.walls import apply_walls
from tests.cross_location.instance_roles import Instance, instance_as, temporary_instance

# The attacker is dbt_location. It has built the asset `own`, ingestion_location the asset `other`.
ROLE = "dbt_location"
EVENT = "insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition) select "
MATERIALIZATION = " from event_logs where run_id = '{own}' and dagster_event_type = 'ASSET_MATERIALIZATION'"
FAILURE = " from event_logs where run_id = '{failed}' and dagster_event_type = 'PIPELINE_FAILURE'"
CHECK = " from event_logs where run_id = '{own}' and dagster_event_type = 'ASSET_CHECK_EVALUATION'"
SAME = "dagster_event_type, timestamp, step_key, asset_key, partition"

REFUSED = {
    # Runs are created, queued and deleted by the host processes.
    "create a run": "insert into runs (run_id, status, run_body) select 'new', 'QUEUED', run_body from runs limit 1",
    "delete runs": "delete from runs",
    "delete its own run": "delete from runs where run_id = '{own}'",
    "queue its own run": "update runs set status = 'QUEUED' where run_id = '{own}'",
    "start its own run again": "update runs set status = 'STARTED' where run_id = '{own}'",
    "turn its failed run into a success": "update runs set status = 'SUCCESS' where run_id = '{failed}'",
    "change the job of its run": "update runs set pipeline_name = 'other' where run_id = '{own}'",
    "change the snapshot of its run": "update runs set snapshot_id = null where run_id = '{own}'",
    "move its run to another backfill": "update runs set backfill_id = 'x' where run_id = '{own}'",
    "change the id of its run": "update runs set run_id = 'x' where run_id = '{own}'",
    "change the partition of its run": "update runs set partition = 'second' where run_id = '{own}'",
    "start its run in the future, so that it may take as long as it likes": (
        "update runs set start_time = start_time + 100000 where run_id = '{own}'"
    ),
    "start its run in the future, before it has started": (
        "update runs set start_time = extract(epoch from now()) + 100000 where run_id = '{starting}'"
    ),
    "start its run again by taking its start away": "update runs set start_time = null where run_id = '{own}'",
    "change the configuration of its run": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{run_config}}', '{{\"a\": 1}}') where run_id = '{own}'"
    ),
    "change the origin of its run": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{external_pipeline_origin}}', '{{\"a\": 1}}')"
        " where run_id = '{own}'"
    ),
    "change the origin of its run by a text that jsonb does not accept": (
        'update runs set run_body = replace(run_body, \'"repository_name": \', \'"note": NaN, "repository_name": \')'
        " where run_id = '{own}'"
    ),
    "name another image in its run": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,docker/image}}', '\"other\"')"
        " where run_id = '{own}'"
    ),
    # Dagster lists all runs at once, so one that it cannot read would end the queue and the UI's pages for everybody.
    "give a tag of its run a value that is no text": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,x}}', '{{\"__class__\": \"X\"}}')"
        " where run_id = '{own}'"
    ),
    "give its run a tag that Dagster takes for the name of a class": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,__class__}}', '\"X\"') where run_id = '{own}'"
    ),
    "write a status that does not exist in its run": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{status,__enum__}}', '\"PipelineRunStatus.X\"')"
        " where run_id = '{own}'"
    ),
    "write a text as the status of its run": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{status}}', to_jsonb(run_body::jsonb ->> 'status'))"
        " where run_id = '{own}'"
    ),
    "make its run's configuration a class by a null": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{run_config,__class__}}', 'null')"
        " where run_id = '{own}'"
    ),
    "write a number of its run in another form": (
        "update runs set run_body = replace(run_body, '4000', '4000.0') where run_id = '{own}'"
    ),
    # The daemon decides on the retries of all locations' runs at once.
    "fail for a reason that does not exist": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,dagster/failure_reason}}', '\"x\"')"
        " where run_id = '{own}'"
    ),
    "tag its run with a reason that does not exist": (
        "insert into run_tags (run_id, key, value) values ('{own}', 'dagster/failure_reason', 'x')"
    ),
    "give its run 1 MB of tags, which every list of runs reads": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,x}}', to_jsonb(repeat('x', 1048576)))"
        " where run_id = '{own}'"
    ),
    "tag its run with nothing": "insert into run_tags (run_id, key, value) values ('{own}', 'mine', null)",
    "start its run before all time": "update runs set start_time = '-infinity' where run_id = '{starting}'",
    "store an event of the year 10000": (
        f"{EVENT} run_id, event, dagster_event_type, '10000-01-01', step_key, asset_key, partition {MATERIALIZATION}"
    ),
    "build its asset in the year 10000": (
        "update asset_keys set last_materialization_timestamp = '10000-01-01' where asset_key = '[\"own\"]'"
    ),
    "check its asset in the year 10000": (
        "update asset_check_executions set evaluation_event_timestamp = '10000-01-01' where run_id = '{own}'"
    ),
    "remove a tag of the system from its run": (
        "update runs set run_body = run_body::jsonb #- '{{tags,dagster/partition}}' where run_id = '{own}'"
    ),
    # Tags of the system say whose run it is, what it costs and how it is ordered.
    "add a tag of Docker's": "insert into run_tags (run_id, key, value) values ('{own}', 'docker/container_id', 'x')",
    "add a priority": "insert into run_tags (run_id, key, value) values ('{own}', 'dagster/priority', '99')",
    "take a place of another location": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,dagster/code_location}}', '\"other\"')"
        " where run_id = '{own}'"
    ),
    "tag another's run": "insert into run_tags (run_id, key, value) values ('{other}', 'note', 'x')",
    "claim another's run": (
        "insert into run_tags (run_id, key, value) values ('{other}', '.dagster/repository', 'x@dbt_location')"
    ),
    "say who launched its run": "insert into run_tags (run_id, key, value) values ('{own}', 'user', 'the boss')",
    "say who launched its run in its body": (
        "update runs set run_body = jsonb_set(run_body::jsonb, '{{tags,user}}', '\"the boss\"') where run_id = '{own}'"
    ),
    "delete tags": "delete from run_tags where run_id = '{own}'",
    "move a tag to another's run": "update run_tags set run_id = '{other}' where run_id = '{own}'",
    # Events.
    "delete events": "delete from event_logs where run_id = '{own}'",
    "change an event": "update event_logs set event = '' where run_id = '{own}'",
    "choose an event's id": "insert into event_logs (id, run_id, event) values (1000000, '{own}', '{{}}')",
    "store an event of another's run": (
        f"{EVENT} '{{other}}', replace(event, '{{own}}', '{{other}}'), {SAME} {MATERIALIZATION}"
    ),
    "store an event of a run that is another's, and has its own tag": (
        f"{EVENT} '{{labelled}}', replace(event, '{{own}}', '{{labelled}}'), {SAME} {MATERIALIZATION}"
    ),
    "store an event without a run": f"{EVENT} '', replace(event, '{{own}}', ''), {SAME} {MATERIALIZATION}",
    "store an event whose text names another time": (
        f"{EVENT} run_id, jsonb_set(event::jsonb, '{{{{timestamp}}}}', '1e18'), {SAME} {FAILURE}"
    ),
    "store an event whose time is a text": (
        f"{EVENT} run_id, jsonb_set(event::jsonb, '{{{{timestamp}}}}', to_jsonb(event::jsonb ->> 'timestamp')), {SAME}"
        f" {FAILURE}"
    ),
    "store an event without a time": f"{EVENT} run_id, event::jsonb - 'timestamp', {SAME} {FAILURE}",
    "store an event of 1 MB, of which the daemon reads many at once": (
        f"{EVENT} run_id, jsonb_set(event::jsonb, '{{{{user_message}}}}', to_jsonb(repeat('x', 1048576))), {SAME}"
        f" {FAILURE}"
    ),
    "store an event that is nested so often that Python does not read it": (
        f"{EVENT} run_id, jsonb_set(event::jsonb, '{{{{level}}}}', (repeat('[', 999) || repeat(']', 999))::jsonb),"
        f" {SAME} {FAILURE}"
    ),
    "store an event of no run": f"{EVENT} null, event, {SAME} {MATERIALIZATION}",
    "store an event whose text names another run": (
        f"{EVENT} run_id, replace(event, '{{own}}', '{{other}}'), {SAME} {MATERIALIZATION}"
    ),
    "report another's asset as built": (
        f"{EVENT} run_id, replace(event, '\"own\"', '\"other\"'), dagster_event_type, timestamp, step_key,"
        f" '[\"other\"]', partition {MATERIALIZATION}"
    ),
    "report another's asset as built in the text alone": (
        f"{EVENT} run_id, replace(event, '\"own\"', '\"other\"'), {SAME} {MATERIALIZATION}"
    ),
    "report another's asset as built in the columns alone": (
        f"{EVENT} run_id, event, dagster_event_type, timestamp, step_key, '[\"other\"]', partition {MATERIALIZATION}"
    ),
    "report another's asset under a type that names no asset": (
        f"{EVENT} run_id, replace(event, '\"own\"', '\"other\"'), null, timestamp, step_key, '[\"other\"]', partition"
        f" {MATERIALIZATION}"
    ),
    "report another partition in the columns alone": (
        f"{EVENT} run_id, event, dagster_event_type, timestamp, step_key, asset_key, 'second' {MATERIALIZATION}"
    ),
    "observe another's asset": (
        f"{EVENT} run_id, replace(event, '\"own\"', '\"other\"'), dagster_event_type, timestamp, step_key,"
        " '[\"other\"]', partition from event_logs where run_id = '{own}' and dagster_event_type = 'ASSET_OBSERVATION'"
    ),
    "plan an asset": (
        f"{EVENT} run_id, replace(event, 'ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED'),"
        f" 'ASSET_MATERIALIZATION_PLANNED', timestamp, step_key, null, null {MATERIALIZATION}"
    ),
    "wipe an asset": (
        f"{EVENT} run_id, replace(event, 'ASSET_MATERIALIZATION', 'ASSET_WIPED'), 'ASSET_WIPED', timestamp, step_key,"
        f" null, null {MATERIALIZATION}"
    ),
    "queue by an event": (
        f"{EVENT} run_id, replace(event, 'ASSET_MATERIALIZATION', 'PIPELINE_ENQUEUED'), 'PIPELINE_ENQUEUED', timestamp,"
        f" step_key, null, null {MATERIALIZATION}"
    ),
    "report a check that was not planned": (f"{EVENT} run_id, replace(event, '\"own\"', '\"other\"'), {SAME} {CHECK}"),
    # Assets and checks.
    "wipe its asset": "update asset_keys set wipe_timestamp = now() where asset_key = '[\"own\"]'",
    "change its asset's details": "update asset_keys set asset_details = '' where asset_key = '[\"own\"]'",
    "delete assets": "delete from asset_keys",
    "create an asset": "insert into asset_keys (asset_key) values ('[\"new\"]')",
    "create another's asset": (
        "insert into asset_keys (asset_key) values ('[\"other\"]') on conflict (asset_key) do update"
        " set last_materialization = excluded.last_materialization"
    ),
    "invent its asset's newest materialization": (
        "update asset_keys set last_materialization = '{{\"storage_id\": 1}}', last_run_id = '{own}'"
        " where asset_key = '[\"own\"]'"
    ),
    "name another's run as its asset's newest": (
        "update asset_keys set last_run_id = '{other}' where asset_key = '[\"own\"]'"
    ),
    "turn a check's result": ("update asset_check_executions set execution_status = 'FAILED' where run_id = '{own}'"),
    "invent a check's result": (
        "update asset_check_executions set evaluation_event = replace(evaluation_event, 'true', 'false'),"
        " execution_status = 'FAILED' where run_id = '{own}'"
    ),
    "point a check at another materialization": (
        "update asset_check_executions set materialization_event_storage_id = 1 where run_id = '{own}'"
    ),
    "add a check": "insert into asset_check_executions (asset_key, check_name, run_id) values ('x', 'x', '{own}')",
    "repeat the result of another's check": (
        "insert into asset_check_executions (asset_key, check_name, partition, run_id, execution_status,"
        " evaluation_event, evaluation_event_storage_id, materialization_event_storage_id)"
        " select asset_key, check_name, partition, run_id, execution_status, evaluation_event,"
        " evaluation_event_storage_id, materialization_event_storage_id"
        " from asset_check_executions where run_id = '{other}' and execution_status = 'SUCCEEDED'"
    ),
    "delete checks": "delete from asset_check_executions",
    "tag its event with nothing, which the daemon takes for the version of its data": (
        "insert into asset_event_tags (event_id, asset_key, key, value) select id, asset_key, 'dagster/data_version',"
        " null from event_logs where run_id = '{own}' and dagster_event_type = 'ASSET_MATERIALIZATION'"
    ),
    "tag another's event": (
        "insert into asset_event_tags (event_id, asset_key, key, value) select id, asset_key, 'dagster/data_version',"
        " 'x' from event_logs where run_id = '{other}' and dagster_event_type = 'ASSET_MATERIALIZATION'"
    ),
    # What only the host processes keep.
    "stop sensors": "update instigators set status = 'STOPPED'",
    "read sensors": "select * from instigators",
    "read ticks": "select * from job_ticks",
    "delete ticks": "delete from job_ticks",
    "change a cursor": "insert into kvs (key, value) values ('x', 'y')",
    "zero the pools": 'update concurrency_limits set "limit" = 0',
    "take slots": "insert into concurrency_slots (concurrency_key) values ('x')",
    "forge a heartbeat": "insert into daemon_heartbeats (daemon_type, timestamp) values ('SENSOR', now())",
    "request a backfill": "insert into bulk_actions (key, status, timestamp) values ('x', 'REQUESTED', now())",
    "cancel backfills": "update bulk_actions set status = 'CANCELED'",
    "add a partition": "insert into dynamic_partitions (partitions_def_name, partition) values ('x', 'y')",
    "change a snapshot": "update snapshots set snapshot_body = ''",
    "add a snapshot": "insert into snapshots (snapshot_id, snapshot_body, snapshot_type) values ('x', '', 'JOB')",
    "forget a migration": "delete from secondary_indexes",
    "change the revision": "update alembic_version set version_num = 'x'",
    # The database.
    "truncate": "truncate event_logs",
    "drop a table": "drop table runs cascade",
    "drop a wall": "drop trigger walls on runs",
    "drop a policy": "drop policy own_runs on runs",
    "switch off the walls": "alter table runs disable row level security",
    "skip the triggers": "set session_replication_role = replica",
    "replace a function": "create or replace function walls.own_run(run text) returns boolean return true",
    "create a table": "create table mine ()",
    "create a table in the walls": "create table walls.run_tags ()",
    "create a temporary table": "create temporary table run_tags (run_id text)",
    "create a schema": "create schema mine",
    "drop an extension": "drop extension plpgsql",
    "create a large object": "select lo_create(0)",
    "fill a large object": "select lo_from_bytea(0, 'x')",
    "set a sequence": "select setval('event_logs_id_seq', 1)",
    "set a sequence that it draws from": "select setval('run_tags_id_seq', 1)",
    "draw from a sequence of the host's": "select nextval('runs_id_seq')",
    "lock a table": "begin; lock table event_logs in share mode",
    "lock a table against its readers": "begin; lock table asset_keys in access exclusive mode",
    "lock everything that it does not write": "select * from snapshots for update",
    "become the host": "set role dagster",
    "become the owner": "set role dagster_owner",
    "become all locations": "set role dagster_locations",
    "become another location": "set role ingestion_location",
    "log in as the host": "set session authorization dagster",
    "end the host's sessions": "select pg_terminate_backend({host_pid})",
    "cancel the host's statements": "select pg_cancel_backend({host_pid})",
    "grant itself more": "grant dagster_owner to dbt_location",
    "raise its limit": "alter role dbt_location connection limit 100",
    "change another's password": "alter role dagster password 'x'",
    "rename the database": "alter database dagster rename to x",
    "drop the database": "drop database dagster",
    "read files": "select pg_read_file('/etc/passwd')",
    "run a program": "copy runs to program 'id'",
    "change the server": "alter system set max_connections = 1",
}

# These reach no row of another one: the rows of others cannot be changed, nor locked.
WITHOUT_EFFECT = {
    "end another's run": "update runs set status = 'FAILURE' where run_id = '{other}'",
    "lock another's run": "select * from runs where run_id = '{other}' for update",
    "lock another's asset": "select * from asset_keys where asset_key = '[\"other\"]' for update",
    "change another's asset": "update asset_keys set cached_status_data = '' where asset_key = '[\"other\"]'",
    "change another's check": "update asset_check_executions set execution_status = 'FAILED' where run_id = '{other}'",
    "change another's tags": "update run_tags set value = 'x' where run_id = '{other}'",
    "give its run away": "update run_tags set value = 'x' where key = '.dagster/repository'",
    "read cursors": "select * from kvs",
}


@dataclass(frozen=True)
class Runs:
    instance: Instance
    own: str
    failed: str
    other: str
    starting: str
    # A run of ingestion_location for whose tags its code asked.
    labelled: str

    def as_role(self, statement: str, role: str = ROLE) -> int:
        """Executes a statement as a location, and returns how many rows it reached."""
        with self.instance.connect("dagster") as host, self.instance.connect(role) as connection:
            pid = host.info.backend_pid
            names = {field.name: getattr(self, field.name) for field in fields(self)}
            filled = statement.format(**names, host_pid=pid)
            with connection.cursor() as cursor:
                cursor.execute(filled)
                return int(cursor.rowcount)


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    with temporary_instance() as instance:
        ids = []
        for location, asset, partition in (
            (ROLE, "own", "first"),
            (ROLE, "own_fails", None),
            ("ingestion_location", "other", "first"),
        ):
            run = instance.launch(location, asset, partition)
            instance.execute(location, asset, run)
            ids.append(run.run_id)
        instance.host.run_storage.set_cursor_values({"a sensor": "its cursor"})
        ids.append(instance.launch(ROLE, "own", "second").run_id)
        label = {".dagster/repository": f"__repository__@{ROLE}"}
        ids.append(instance.launch("ingestion_location", "own", "first", **label).run_id)
        yield Runs(instance, *ids)


def test_a_run_does_all_that_a_run_does_as_the_role_of_its_location(runs: Runs) -> None:
    host = runs.instance.host
    run = host.get_run_by_id(runs.own)
    assert run is not None
    assert (run.status, run.tags["rows"]) == (dg.DagsterRunStatus.SUCCESS, "2")
    (record,) = host.fetch_materializations(dg.AssetKey("own"), limit=2).records
    assert record.run_id == runs.own
    key = dg.AssetCheckKey(dg.AssetKey("own"), "complete")
    checks = host.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert "SUCCEEDED" in {check.status.value for check in checks if check.run_id == runs.own}
    (asset,) = host.get_asset_records([dg.AssetKey("own")])
    assert asset.asset_entry.last_materialization_storage_id == record.storage_id


def test_a_run_that_fails_says_so_as_the_role_of_its_location(runs: Runs) -> None:
    run = runs.instance.host.get_run_by_id(runs.failed)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert set(run.tags) >= {"dagster/will_retry", "dagster/failure_reason"}


@pytest.mark.parametrize("attempt", REFUSED)
def test_a_location_may_not(runs: Runs, attempt: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        runs.as_role(REFUSED[attempt])


@pytest.mark.parametrize(
    "text",
    [
        '"tags": {{"x": "\\ud800", ',  # half of a character, which no answer of the webserver can have
        '"status": {{"__class__": "X"}}, "tags": {{',  # of a member that is there twice Dagster reads both
        '"tags": {{"__class__": "X"}}, "tags": {{',
    ],
)
def test_a_run_stays_readable_whatever_text_its_location_writes(runs: Runs, text: str) -> None:
    statement = f"update runs set run_body = replace(run_body, '\"tags\": {{{{', '{text}') where run_id = '{{failed}}'"
    assert runs.as_role(statement) == 1
    listed = runs.instance.host.get_runs()
    assert runs.failed in {run.run_id for run in listed}
    json.dumps([dict(run.tags) for run in listed], ensure_ascii=False).encode()


@pytest.mark.parametrize("attempt", WITHOUT_EFFECT)
def test_a_location_reaches_no_row_of_others(runs: Runs, attempt: str) -> None:
    assert runs.as_role(WITHOUT_EFFECT[attempt]) == 0


@pytest.mark.parametrize("database", ["postgres", "template1"])
@pytest.mark.parametrize("role", ["dagster", "platform_location", ROLE])
def test_a_role_connects_to_no_database_but_its_own(runs: Runs, role: str, database: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        runs.instance.connect(role, database)


def test_platform_location_connects_to_no_warehouse(runs: Runs) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        runs.instance.connect("platform_location", "warehouse")


@pytest.mark.parametrize(
    "statement",
    [
        "delete from runs",
        "drop table runs",
        "update instigators set status = 'STOPPED'",
        "insert into bulk_actions (key, status, timestamp) values ('x', 'REQUESTED', now())",
        f"{EVENT} run_id, replace(event, '{{own}}', '{{other}}'), {SAME} {MATERIALIZATION}",
        f"{EVENT} '{{other}}', replace(event, '{{own}}', '{{other}}'), {SAME} {MATERIALIZATION}",
        "update event_logs set id = 1 where dagster_event_type = 'ENGINE_EVENT'",
        "update event_logs set event = ''",
    ],
)
def test_housekeeping_may_not(runs: Runs, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        runs.as_role(statement, "platform_location")


def test_housekeeping_deletes_no_event_that_dagster_decides_by(runs: Runs) -> None:
    kept = "dagster_event_type in ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED', 'PIPELINE_SUCCESS')"
    assert runs.as_role(f"delete from event_logs where {kept}", "platform_location") == 0


def test_housekeeping_deletes_no_event_of_a_run_in_progress(runs: Runs) -> None:
    run = runs.instance.launch("ingestion_location", "other", "second")
    statement = f"delete from event_logs where run_id = '{run.run_id}'"
    assert runs.as_role(statement, "platform_location") == 0


def test_a_run_is_updated_now_whatever_time_its_location_names(runs: Runs) -> None:
    assert runs.as_role("update runs set update_timestamp = '10000-01-01' where run_id = '{own}'") == 1
    record = runs.instance.host.get_run_record_by_id(runs.own)
    assert record is not None
    assert abs(record.update_timestamp.timestamp() - time.time()) < 60


def test_the_cache_of_an_assets_partitions_is_the_hosts_alone(runs: Runs) -> None:
    own, partitions = dg.AssetKey("own"), dg.StaticPartitionsDefinition(["first", "second"])
    counted = get_and_update_asset_status_cache_value(runs.instance.host, own, partitions)
    assert counted is not None
    assert runs.as_role("update asset_keys set cached_status_data = 'x' where asset_key = '[\"own\"]'") == 1
    with instance_as(runs.instance.server, ROLE) as instance:
        assert get_and_update_asset_status_cache_value(instance, own, partitions) == counted
    (record,) = runs.instance.host.get_asset_records([own])
    assert record.asset_entry.cached_status == counted


def test_the_host_creates_no_table(runs: Runs) -> None:
    with pytest.raises(InsufficientPrivilege):
        runs.as_role("create table mine ()", "dagster")


def test_the_host_waits_ten_seconds_at_most_for_a_row_that_a_location_locks(runs: Runs) -> None:
    with runs.instance.connect("dagster") as connection, connection.cursor() as cursor:
        cursor.execute("show lock_timeout")
        assert cursor.fetchone() == ("10s",)


@pytest.mark.parametrize("where", ["", "in database dagster"])
def test_settings_that_a_role_gave_itself_last_until_the_next_start(runs: Runs, where: str) -> None:
    runs.as_role(f"alter role dbt_location {where} set statement_timeout = 1")
    apply(f"host={runs.instance.server} user=postgres")
    with runs.instance.connect(ROLE) as connection, connection.cursor() as cursor:
        cursor.execute("show statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_the_session_of_a_client_that_vanished_ends_within_about_a_minute_whatever_its_role(runs: Runs) -> None:
    expected = [f"{name}={value}" for name, value in SESSION_SETTINGS.items()]
    with runs.instance.connect("postgres") as connection, connection.cursor() as cursor:
        # Here, connections have no network.
        cursor.execute("select rolname, rolconfig from pg_roles where rolname = any(%s)", (login_roles(),))
        settings = dict(cursor.fetchall())
    assert settings.keys() == {*login_roles()}
    assert [role for role, given in settings.items() if not set(expected) <= set(given)] == []


def test_walls_that_are_up_to_date_are_not_built_again(runs: Runs) -> None:
    count = "select count(*), max(oid) from pg_policy"
    with runs.instance.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(count)
        before = cursor.fetchone()
        apply_walls(f"host={runs.instance.server} user=postgres")
        cursor.execute(count)
        assert cursor.fetchone() == before


def test_an_instance_that_the_host_owned_belongs_to_the_owner_after_the_next_start(runs: Runs) -> None:
    with runs.instance.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute("reassign owned by dagster_owner to dagster")
        apply(f"host={runs.instance.server} user=postgres")
        cursor.execute("select distinct tableowner from pg_tables where schemaname = 'public'")
        assert cursor.fetchall() == [("dagster_owner",)]
    with pytest.raises(InsufficientPrivilege):
        runs.as_role("drop table runs", "dagster")
