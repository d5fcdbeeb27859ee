"""What each mutation leaves in the table, and who may read and write it."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
from platform_host import audit
from psycopg2.errors import InsufficientPrivilege

from services.migrate.apply import login_roles
from tests.platform_host.asked import ARGUMENTS, Target, answer
from tests.platform_host.served import OWN, Served


def query(served: Served, statement: str, role: str = "postgres") -> list[Any]:
    dsn = f"host={served.server} user={role} dbname=dagster"
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(autouse=True)
def _a_new_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests attempted in vain does not count."""
    monkeypatch.setattr(audit, "_refusals", Counter())


def lines(served: Served) -> list[Any]:
    return query(served, "select who, address, what, locations, named, result from audit.log order by id")


def test_a_mutation_leaves_who_from_where_on_what_and_the_result(
    users: Served, target: Callable[[str], Target], capfd: pytest.CaptureFixture[str]
) -> None:
    of = target(OWN)
    before = len(lines(users))
    launched = answer(users, "launcher", "launchRun", executionParams=of.execution)["run"]["runId"]
    given = ARGUMENTS["launchPartitionBackfill"](of)
    backfill = answer(users, "launcher", "launchPartitionBackfill", **given)["backfillId"]
    answer(users, "launcher", "deleteRun", runId=of.run)
    answer(users, "boss", "setConcurrencyLimit", concurrencyKey="pool", limit=3)
    answer(users, "boss", "deleteConcurrencyLimit", concurrencyKey="pool")
    assert lines(users)[before:] == [
        ("launcher", "192.0.2.7", "launchRun", [OWN], {"location": [OWN], "job": ["job"], "run": [launched]},
         "LaunchRunSuccess"),
        ("launcher", "192.0.2.7", "launchPartitionBackfill", [OWN],
         {"asset": ["dbt_asset"], "partition": ["first"], "backfill": [backfill]}, "LaunchBackfillSuccess"),
        ("launcher", "192.0.2.7", "deleteRun", [OWN], {"run": [of.run]}, "refused"),
        ("boss", "192.0.2.7", "setConcurrencyLimit", [], {"pool": ["pool"]}, "done"),
        ("boss", "192.0.2.7", "deleteConcurrencyLimit", [], {"pool": ["pool"]}, "done"),
    ]  # fmt: skip
    printed = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"audit"')]
    assert [each["what"] for each in printed[-5:]] == [row[2] for row in lines(users)[before:]]


def test_a_line_has_none_of_the_values_of_a_request(users: Served, target: Callable[[str], Target]) -> None:
    of = target(OWN)
    secret = "a value that is nobody's business"
    given = {**of.execution, "runConfigData": {"ops": {"nothing": {"config": secret}}}}
    given["executionMetadata"] = {"tags": [{"key": "note", "value": secret}]}
    answer(users, "launcher", "launchRun", executionParams=given)
    sensor = {**of.repository, "sensorName": "sensor"}
    answer(users, "editor", "setSensorCursor", sensorSelector=sensor, cursor=secret)
    answer(users, "editor", "reportRunlessAssetEvents", eventParams={
        "eventType": "ASSET_OBSERVATION", "assetKey": of.asset("whole"), "description": secret
    })  # fmt: skip
    found = query(users, "select to_jsonb(log)::text from audit.log")
    assert not [row for row in found if secret in row[0]]


@pytest.mark.parametrize("route", ["report_asset_materialization", "report_asset_check", "report_asset_observation"])
def test_a_route_that_reports_an_event_leaves_a_line(route: str, users: Served) -> None:
    body = {"check_name": "complete", "passed": True} if route == "report_asset_check" else {}
    users.post(body, "editor", f"/{route}/dbt_whole")
    users.post(body, "editor", f"/{route}/ingestion_whole")
    assert lines(users)[-2:] == [
        ("editor", "192.0.2.7", route, [OWN], {"asset": ["dbt_whole"]}, "done"),
        ("editor", "192.0.2.7", route, ["ingestion_location"], {"asset": ["ingestion_whole"]}, "refused"),
    ]


@pytest.mark.parametrize("odd", ["\0", "\ud800", "x" * 1_000_000])
def test_no_name_keeps_a_line_out_of_the_table_or_makes_it_long(
    odd: str, users: Served, target: Callable[[str], Target]
) -> None:
    of = target(OWN)
    # Dagster takes the one name, and does not look at the other.
    selector = {**of.repository, "pipelineName": "job", "jobName": odd}
    launched = answer(users, "launcher", "launchRun", executionParams={"selector": selector, "runConfigData": {}})
    row = lines(users)[-1]
    assert (row[2], row[4]["run"], row[5]) == ("launchRun", [launched["run"]["runId"]], "LaunchRunSuccess")
    assert len(row[4]["job"][-1]) < 2010


def test_locations_that_do_not_exist_make_no_long_line(users: Served) -> None:
    runs = [
        {"selector": {"repositoryLocationName": str(number), "repositoryName": "a", "jobName": "b"}}
        for number in range(1000)
    ]
    answer(users, "viewer", "launchMultipleRuns", executionParamsList=runs)
    row = lines(users)[-1]
    assert (row[2], row[3][0], row[3][-1][:4]) == ("launchMultipleRuns", "0", "and ")
    assert len(str(row[3])) < 2100


def test_a_request_with_very_many_mutations_does_nothing_and_leaves_no_line(users: Served) -> None:
    before = len(lines(users))

    def ask(number: int, form: str) -> Any:
        many = " ".join(f'a{each}: deleteRun(runId: "a") {{ __typename }}' for each in range(number))
        return users.post({"query": form.replace("MANY", many)}, "viewer").json()

    for form in ("mutation { MANY }", "mutation { ...f } fragment f on Mutation { MANY }"):
        assert "errors" not in ask(20, form)
        (error,) = ask(21, form)["errors"]
        assert error["message"] == "Refused: a request may have 20 mutations at most. Send several requests."
    assert len(lines(users)) - before == 40


@pytest.mark.parametrize("attempt", ["refused", "fails", "route"])
def test_attempts_in_vain_of_one_user_leave_a_hundred_lines_in_an_hour(
    attempt: str, users: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "REFUSALS", 3)
    before = len(lines(users))
    for _ in range(5):
        if attempt == "route":
            users.post({}, "viewer", "/report_asset_materialization/dbt_whole")
        else:
            answer(users, "viewer", "deleteRun", runId="\0" if attempt == "fails" else "a")
    left = lines(users)[before:]
    assert [row[5].partition(";")[2] for row in left] == ["", "", " further ones of this hour have no line"]
    # Others, and what somebody may do, leave theirs.
    answer(users, "launcher", "deleteRun", runId="a")
    answer(users, "boss", "setAutoMaterializePaused", paused=False)
    assert [row[0] for row in lines(users)[before + 3 :]] == ["launcher", "boss"]


def test_an_attempt_that_fails_before_it_is_decided_leaves_a_line(users: Served) -> None:
    before = len(lines(users))
    answer(users, "viewer", "deleteRun", runId="\0")
    assert [(row[0], row[2], row[5]) for row in lines(users)[before:]] == [("viewer", "deleteRun", "ValueError")]


@pytest.mark.parametrize("body", [[], "a text", [["asset_key"]]])
def test_an_event_that_cannot_be_recorded_is_not_stored(body: Any, users: Served) -> None:
    def events() -> int:
        return int(query(users, "select count(*) from event_logs")[0][0])

    before = events()
    assert users.post(body, "editor", "/report_asset_materialization/dbt_whole").status_code == 400
    assert events() == before


def test_the_line_of_a_reported_event_names_the_asset_that_dagster_takes(users: Served) -> None:
    given = urlencode({"asset_key": json.dumps(["dbt_whole"]), "partition": "first"})
    assert users.post({}, "editor", f"/report_asset_materialization/?{given}").status_code == 200
    assert lines(users)[-1][3:5] == ([OWN], {"asset": ["dbt_whole"], "partition": ["first"]})


@pytest.mark.parametrize("role", [role for role in login_roles() if role != "dagster"])
@pytest.mark.parametrize(
    "statement",
    [
        "select from audit.log",
        "insert into audit.log (who, address, what, locations, named, result) values ('', '', '', '{}', '{}', '')",
        "update audit.log set who = ''",
        "delete from audit.log",
        "truncate audit.log",
        "drop table audit.log",
    ],
)
def test_no_location_reads_or_writes_the_table(role: str, statement: str, served: Served) -> None:
    with pytest.raises(InsufficientPrivilege):
        query(served, statement, role)


@pytest.mark.parametrize(
    "change", ["update audit.log set who = ''", "delete from audit.log", "select audit.prune(false)"]
)
def test_the_webserver_changes_and_deletes_no_line(change: str, served: Served) -> None:
    with pytest.raises(InsufficientPrivilege):
        query(served, change, "dagster")


def test_housekeeping_deletes_lines_of_more_than_a_year(served: Served) -> None:
    add = "insert into audit.log (at, who, address, what, locations, named, result)"
    add += " select now() - age, 'old', '', '', '{}', '{}', ''"
    query(served, f"{add} from (values (interval '366 days'), (interval '364 days')) as ages (age)")
    assert query(served, "select audit.prune(true)", "platform_location") == [(1,)]
    assert query(served, "select audit.prune(false)", "platform_location") == [(1,)]
    assert query(served, "select count(*) from audit.log where who = 'old'") == [(1,)]
    with pytest.raises(InsufficientPrivilege):
        query(served, "select audit.prune(false)", "dbt_location")
