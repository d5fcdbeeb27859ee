"""Every run that fails is found once, with its reason, by the role of the alerts; on the embedded Postgres."""

import subprocess
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege

from ops.alerts import inside
from ops.alerts.watch import FailedRun
from ops.status import postgres
from ops.status.facts import Events
from tests.cross_location.instance_roles import Instance


@pytest.fixture(autouse=True)
def no_wait_for_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "DECISION_SECONDS", 0)


def fail(instance: Instance, location: str = "ingestion_location", asset: str = "trips_fails", **tags: str) -> str:
    run = instance.launch(location, asset, None, **tags)
    instance.execute(location, asset, run)
    return run.run_id


def since(after: int) -> list[FailedRun]:
    """The runs that failed later, without those that are read again."""
    return [run for run in inside.failed_runs(after)[0] if run.event > after]


def now() -> int:
    return inside.failed_runs(None)[1]


def test_a_failed_run_has_its_assets_its_location_and_the_error_of_its_step(instance: Instance) -> None:
    after = now()
    run_id = fail(instance)
    (found,) = since(after)
    assert (found.run_id, found.what, found.location) == (run_id, "trips_fails", "ingestion_location")
    assert (found.assets, found.will_retry, found.retry_number) == (("trips_fails",), False, 0)
    assert found.reason.startswith("ValueError: no rows")


def test_the_first_evaluation_ignores_the_past(instance: Instance) -> None:
    fail(instance)
    assert inside.failed_runs(None)[0] == []


def test_the_next_evaluation_begins_after_the_newest_failure(instance: Instance) -> None:
    after = now()
    fail(instance)
    found, newest = inside.failed_runs(after)
    assert (newest, since(newest)) == (found[-1].event, [])


def test_an_event_that_became_visible_late_is_read(instance: Instance) -> None:
    after = now()
    run_id = fail(instance)
    # As if another event, with a larger id, had been seen before.
    assert run_id in [run.run_id for run in inside.failed_runs(max(now(), after))[0]]


def test_an_instance_that_was_replaced_by_an_older_one_is_read_from_its_newest_event(instance: Instance) -> None:
    assert inside.failed_runs(now() + 1_000_000) == ([], now())


def test_a_range_is_named_by_its_first_and_last_partition(instance: Instance) -> None:
    after = now()
    tags = {f"dagster/asset_partition_range_{end}": f"2023-01-0{day}" for end, day in (("start", 1), ("end", 3))}
    fail(instance, **tags)
    assert since(after)[0].what == "trips_fails 2023-01-01..2023-01-03"


def test_runs_that_succeed_or_are_canceled_are_not_among_them(instance: Instance) -> None:
    after = now()
    run = instance.launch("ingestion_location", "trips")
    instance.execute("ingestion_location", "trips", run)
    instance.host.report_run_canceled(instance.launch("ingestion_location", "trips"))
    assert since(after) == []


def test_a_run_whose_failure_is_recorded_twice_is_found_once(instance: Instance) -> None:
    run_id = fail(instance)
    after = now()
    failed = instance.host.get_run_by_id(run_id)
    assert failed is not None
    instance.host.report_run_failed(failed, "its process ended after all")
    assert since(after) == []


def lose(instance: Instance, message: str, **tags: str) -> dg.DagsterRun:
    lost = instance.launch("ingestion_location", "trips", None, **tags)
    instance.host.report_run_failed(lost, message)
    return lost


def test_a_lost_run_has_the_message_of_run_monitoring_and_that_dagster_retries_it(instance: Instance) -> None:
    after = now()
    run = lose(instance, "Detected run worker status FAILED: 'Container status is exited.'.")
    instance.host.add_run_tags(run.run_id, {"dagster/will_retry": "true", "dagster/retry_number": "1"})
    (found,) = since(after)
    assert found.reason.startswith("Detected run worker status FAILED")
    assert (found.will_retry, found.retry_number) == (True, 1)


def test_a_run_whose_retry_is_not_decided_waits_for_the_decision(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "DECISION_SECONDS", 60)
    after = now()
    run = lose(instance, "lost")
    with instance.connect("postgres") as connection, connection.cursor() as cursor:
        # As between the two writes of Dagster: the failure is stored, the decision is not.
        cursor.execute("delete from run_tags where run_id = %s and key = 'dagster/will_retry'", [run.run_id])
        cursor.execute("update event_logs set timestamp = timestamp - interval '1 h' where run_id <> %s", [run.run_id])
    found, newest = inside.failed_runs(after)
    assert ([one for one in found if one.event > after], newest) == ([], after)
    with instance.connect("postgres") as connection:
        insert = "insert into run_tags (run_id, key, value) values (%s, 'dagster/will_retry', 'true')"
        connection.cursor().execute(insert, [run.run_id])
    assert [one.run_id for one in since(after)] == [run.run_id]


@pytest.mark.parametrize("text", ["no JSON", '{"__class__": "Unknown"}', "{}"])
def test_a_failure_that_cannot_be_read_is_found_and_holds_up_no_other(instance: Instance, text: str) -> None:
    after = now()
    unreadable, readable = fail(instance), fail(instance, "dbt_location", "metrics_fails")
    with instance.connect("postgres") as connection, connection.cursor() as cursor:
        kinds = "('STEP_FAILURE', 'PIPELINE_FAILURE')"
        cursor.execute("set session_replication_role = replica")
        cursor.execute(
            f"update event_logs set event = %s where run_id = %s and dagster_event_type in {kinds}", [text, unreadable]
        )
        assert cursor.rowcount == 2
    try:
        found = since(after)
    finally:
        instance.host.run_storage.delete_run(unreadable)
    assert [run.run_id for run in found] == [unreadable, readable]
    assert found[0].reason in ("No reason was given.",) or "cannot be read" in found[0].reason


def test_a_run_that_was_deleted_is_not_found(instance: Instance) -> None:
    after = now()
    instance.host.run_storage.delete_run(fail(instance))
    assert since(after) == []


def test_the_role_of_the_alerts_finds_what_the_superuser_finds(instance: Instance) -> None:
    fail(instance)
    found = []
    for role in ("alerts", "postgres"):
        with instance.connect(role) as connection, connection.cursor() as cursor:
            cursor.execute(postgres.EVENTS.replace(":failed_runs", "100"))
            cursor.execute(postgres.SERVER)
            ((server,),) = cursor.fetchall()
            found.append((server["databases"].keys(), server["max_connections"], len(server["roles"])))
            cursor.execute(postgres.EVENTS.replace(":failed_runs", "100"))
            found[-1] += tuple(cursor.fetchall())
    assert found[0] == found[1]


def test_the_disk_of_postgres_is_what_df_said(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    printed = subprocess.run(["df", "-Pk", "/"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "df").write_text(printed)
    monkeypatch.setattr(inside, "DISK", tmp_path / "df")
    storage, events = inside.from_postgres()
    columns = printed.splitlines()[1].split()
    assert (storage.disk_used, storage.disk_free) == (int(columns[2]) * 1024, int(columns[3]) * 1024)
    assert isinstance(events, Events)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into event_logs (run_id, event, timestamp) values ('x', '{}', now())",
        "update runs set status = 'SUCCESS'",
        "delete from run_tags",
        "select * from kvs",
        "select * from audit.log",
        "create table mine (a int)",
    ],
)
def test_the_role_of_the_alerts_changes_nothing_and_reads_no_more_than_the_status_does(
    instance: Instance, statement: str
) -> None:
    with instance.connect("alerts") as connection, pytest.raises(InsufficientPrivilege):
        connection.cursor().execute(statement)


def test_the_role_of_the_alerts_cannot_enter_the_warehouse(instance: Instance) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        instance.connect("alerts", "warehouse")
