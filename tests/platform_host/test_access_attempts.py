"""Attempts to do more than one's role allows, as somebody who is logged in, and as somebody who is not."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from dagster import RunsFilter
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._core.storage.tags import USER_TAG
from platform_host.access_file import token_hash
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.platform_host.asked import Target, answer, refused
from tests.platform_host.served import KEY, OTHER, OWN, Served, listening

LIMIT = 'setConcurrencyLimit(concurrencyKey: "pool", limit: 7)'
Make = Callable[[str], Target]


def limits(served: Served) -> set[str]:
    return set(served.instance.event_log_storage.get_concurrency_keys())


# --- mutations that name more than one thing -------------------------------------------------------------------------


def test_the_id_of_an_own_sensor_with_that_of_another_stops_neither(users: Served, target: Make) -> None:
    own, other = target(OWN), target(OTHER)
    answer(users, "boss", "startSensor", sensorSelector={**other.repository, "sensorName": "sensor"})
    mixed = f"{own.sensor.split('::')[0]}::{other.sensor.split('::')[1]}"
    assert refused(answer(users, "editor", "stopSensor", id=mixed))
    halves = {"jobOriginId": mixed.split("::")[0], "jobSelectorId": mixed.split("::")[1]}
    assert refused(answer(users, "editor", "stopSensor", **halves))
    running = users.instance.all_instigator_state(instigator_statuses={InstigatorStatus.RUNNING})
    assert other.location in {each.origin.repository_origin.code_location_origin.location_name for each in running}


def test_runs_of_two_locations_are_terminated_all_or_none(users: Served, target: Make) -> None:
    own, other = target(OWN), target(OTHER)
    assert refused(answer(users, "launcher", "terminateRuns", runIds=[own.run, other.run]))
    assert {each.status.value for each in users.instance.get_runs() if each.run_id in (own.run, other.run)} == {
        "QUEUED"
    }


def test_a_backfill_of_two_locations_takes_the_role_in_both(users: Served, target: Make) -> None:
    own, other = target(OWN), target(OTHER)
    selection = [own.asset(), other.asset()]
    given: dict[str, Any] = {"assetSelection": selection, "partitionNames": ["first"]}
    assert refused(answer(users, "launcher", "launchPartitionBackfill", backfillParams=given))
    by_asset = [{"assetKey": each, "partitions": {"range": {"start": "first", "end": "first"}}} for each in selection]
    assert refused(
        answer(users, "launcher", "launchPartitionBackfill", backfillParams={"partitionsByAssets": by_asset})
    )
    backfill = answer(users, "boss", "launchPartitionBackfill", backfillParams=given)["backfillId"]
    assert refused(answer(users, "launcher", "cancelPartitionBackfill", backfillId=backfill))


@pytest.mark.parametrize("name", ["launchRun", "launchMultipleRuns", "launchRunReexecution"])
def test_a_run_of_the_own_location_is_no_part_of_what_is_anothers(name: str, users: Served, target: Make) -> None:
    own, other = target(OWN), target(OTHER)
    for metadata in (
        {"parentRunId": other.run, "rootRunId": other.run},
        {"tags": [{"key": "dagster/backfill", "value": other.backfill}]},
        {"tags": [{"key": "dagster/root_run_id", "value": other.run}]},
        # Dagster takes it for the run that it has launched after a failure, and launches it.
        {"tags": [{"key": "dagster/auto_retry_run_id", "value": other.run}]},
        {"tags": [{"key": "dagster/root_backfill_id", "value": other.backfill}]},
    ):
        given: Any = {**own.execution, "executionMetadata": metadata}
        argument = "executionParamsList" if name == "launchMultipleRuns" else "executionParams"
        assert refused(answer(users, "launcher", name, **{argument: [given] if argument.endswith("List") else given}))


def test_assets_of_the_own_location_do_not_lead_to_the_code_of_another(users: Served, target: Make) -> None:
    own, other = target(OWN), target(OTHER)
    for repository, asset in ((other.repository, own.asset()), (own.repository, other.asset())):
        selector = {**repository, "jobName": "__ASSET_JOB", "assetSelection": [asset]}
        assert refused(answer(users, "launcher", "launchRun", executionParams={"selector": selector}))


@pytest.mark.parametrize("name", ["shared", "ingestion_of_a_job"])
def test_partitions_that_two_locations_share_take_the_role_in_both(name: str, users: Served, target: Make) -> None:
    given = {"repositorySelector": target(OWN).repository, "partitionsDefName": name, "partitionKey": "a"}
    assert refused(answer(users, "editor", "addDynamicPartition", **given))


def test_what_is_gone_takes_the_role_for_all_locations(users: Served) -> None:
    assert refused(answer(users, "editor", "deleteRun", runId="00000000-0000-0000-0000-000000000000"))
    assert refused(answer(users, "editor", "wipeAssets", assetPartitionRanges=[{"assetKey": {"path": ["gone"]}}]))


# --- ways to ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"query": f"mutation {{ a: {LIMIT} b: {LIMIT} }}"},
        {"query": f"mutation {{ ...f }} fragment f on Mutation {{ {LIMIT} }}"},
        {"query": f"mutation {{ ... on Mutation {{ {LIMIT} }} }}"},
        {"query": f"query a {{ version }} mutation b {{ {LIMIT} }}", "operationName": "b"},
        [{"query": f"mutation {{ {LIMIT} }}"}],
    ],
)
def test_no_form_of_a_request_passes_by_the_role(body: Any, users: Served) -> None:
    users.post(body, "editor")
    assert "pool" not in limits(users)


@pytest.mark.parametrize("form", ["get", "query", "graphql", "multipart"])
def test_no_way_of_sending_it_passes_by_the_role(form: str, users: Served) -> None:
    query = f"mutation {{ {LIMIT} }}"
    given: dict[str, Any] = {"headers": {"X-Door-Key": KEY, "X-Forwarded-User": "editor"}, "timeout": 30}
    if form == "get":
        requests.get(f"{users.url}/graphql", params={"query": query}, **given)
    elif form == "query":
        requests.post(f"{users.url}/graphql", params={"query": query}, data={"a": "b"}, **given)
    elif form == "graphql":
        given["headers"]["Content-Type"] = "application/graphql"
        requests.post(f"{users.url}/graphql", data=query, **given)
    else:
        requests.post(f"{users.url}/graphql", files={"operations": json.dumps({"query": query})}, **given)
    assert "pool" not in limits(users)


@contextmanager
def websocket(served: Served, **headers: str) -> Iterator[Any]:
    url = f"{served.url.replace('http', 'ws', 1)}/graphql"
    with connect(url, subprotocols=["graphql-ws"], additional_headers=headers) as opened:  # type: ignore[list-item]
        yield opened


def test_a_websocket_does_nothing_but_read(users: Served) -> None:
    with websocket(users, **{"X-Door-Key": KEY, "X-Forwarded-User": "boss"}) as opened:
        opened.send(json.dumps({"type": "start", "id": "1", "payload": {"query": f"mutation {{ {LIMIT} }}"}}))
        assert json.loads(opened.recv(timeout=10))["type"] == "error"
    assert "pool" not in limits(users)


def test_a_websocket_is_opened_for_nobody_who_is_not_known(users: Served) -> None:
    for headers in ({}, {"X-Door-Key": KEY, "X-Forwarded-User": "eve"}, {"X-Forwarded-User": "boss"}):
        with pytest.raises(Exception, match="403"), websocket(users, **headers):
            pass


def test_a_websocket_sends_nothing_more_to_whoever_was_removed(users: Served, target: Make) -> None:
    run = target(OWN).run
    query = "subscription ($run: ID!) { pipelineRunLogs(runId: $run) { __typename } }"
    start = {"type": "start", "payload": {"query": query, "variables": {"run": run}}}
    with websocket(users, **{"X-Door-Key": KEY, "X-Forwarded-User": "viewer"}) as opened:
        opened.send(json.dumps({**start, "id": "1"}))
        assert json.loads(opened.recv(timeout=10))["type"] == "data"
        users.allow(users={"boss": {"admin": "all"}})
        opened.send(json.dumps({**start, "id": "2"}))
        with pytest.raises(ConnectionClosed, match="1008"):
            opened.recv(timeout=10)


@pytest.mark.parametrize("route", ["report_asset_materialization", "report_asset_check", "report_asset_observation"])
def test_the_routes_that_report_events_ask_for_the_role(route: str, users: Served) -> None:
    body = {"check_name": "complete", "passed": True} if route == "report_asset_check" else {}
    for user, asset, status in (
        ("launcher", "dbt_whole", 401),
        ("editor", "ingestion_whole", 401),
        ("editor", "gone", 401),
        ("editor", "declared_by_both", 401),
        ("editor", "dbt_whole", 200),
    ):
        assert users.post(body, user, f"/{route}/{asset}").status_code == status, (user, asset)


# --- who asks ---------------------------------------------------------------------------------------------------------


def test_nobody_but_the_door_says_who_somebody_is(users: Served) -> None:
    for headers in ({}, {"X-Door-Key": "another"}, {"X-Door-Key": ""}):
        given = headers | {"X-Forwarded-User": "boss"}
        for path in ("/", "/graphql?query={version}", "/logs/a/b", "/download_debug/a", "/server_info"):
            # /server_info is for the health check, which comes from inside.
            answered = requests.get(f"{users.url}{path}", headers=given, timeout=10)
            assert answered.status_code == (200 if path == "/server_info" else 403), path
        assert requests.post(f"{users.url}/server_info", headers=given, timeout=10).status_code == 403


def test_whoever_asks_inside_the_container_with_the_key_is_the_operator(served: Served) -> None:
    served.allow(users={"ana": {"viewer": "all"}})
    whoami = requests.get(f"{served.url}/whoami", headers={"X-Door-Key": KEY}, timeout=10)
    assert whoami.json() == {"name": "(operator)", "roles": "admin for all locations"}
    assert requests.get(f"{served.url}/whoami", timeout=10).status_code == 403


def test_a_user_without_a_role_sees_nothing(users: Served) -> None:
    answered = users.post({"query": "{ version }"}, "eve")
    assert (answered.status_code, answered.json()) == (
        403,
        {"errors": [{"message": "eve has no role here. An operator gives one with: make user NAME=eve ROLE=viewer"}]},
    )


def test_the_groups_that_the_door_names_give_their_roles(served: Served) -> None:
    served.allow(groups={"analytics": {"editor": [OWN]}, "platform": {"admin": "all"}})
    given = {"X-Forwarded-Groups": "|* others|*analytics|*a,platform"}
    query = "{ workspaceOrError { ... on Workspace { locationEntries { name permissions { permission value } } } } }"
    data = served.post({"query": query}, "ana", **given).json()["data"]["workspaceOrError"]["locationEntries"]
    assert {each["name"]: any(one["value"] for one in each["permissions"]) for each in data} == {
        OWN: True,
        OTHER: False,
    }


@pytest.mark.parametrize("name", ["token:ci", "(operator)"])
def test_nobody_of_a_group_has_the_name_of_a_token_or_of_the_operator(name: str, served: Served) -> None:
    served.allow(groups={"analytics": {"editor": [OWN]}})
    assert served.post({"query": "{ version }"}, name, **{"X-Forwarded-Groups": "| analytics"}).status_code == 403


def test_a_removed_token_and_a_removed_user_are_refused_at_the_next_request(served: Served) -> None:
    token = {"viewer": "all", "sha256": token_hash("the token")}
    served.allow(users={"ana": {"viewer": "all"}}, tokens={"ci": token})
    given = {"Authorization": "Bearer the token"}
    assert served.post({"query": "{ version }"}, **given).status_code == 200
    assert served.post({"query": "{ version }"}, "ana").status_code == 200
    served.allow(users={"bob": {"viewer": "all"}})
    assert served.post({"query": "{ version }"}, **given).status_code == 401
    # Whoever sends a token is not who the door says: the door says nothing then.
    assert served.post({"query": "{ version }"}, "bob", **given).status_code == 401
    assert served.post({"query": "{ version }"}, "ana").status_code == 403


def test_a_file_with_an_error_and_a_file_that_is_gone_open_nothing(served: Served) -> None:
    served.allow(users={"ana": {"viewer": "all"}})
    assert served.post({"query": "{ version }"}, "ana").status_code == 200
    served.allow(users={"ana": {"admin": "all"}, "eve": {"admin": ["nowhere"]}})
    assert refused(answer(served, "ana", "setNuxSeen"))
    served.access.unlink()
    assert served.post({"query": "{ version }"}, "eve").status_code == 403
    assert refused(answer(served, "ana", "setNuxSeen"))


def test_without_the_file_nobody_who_logged_in_or_passed_by_the_door_does_anything(served: Served) -> None:
    key = served.access.with_name("key")
    with listening(served.process, served.access.with_name("none"), key) as url:
        alone = Served(url, served.instance, served.access, served.server, served.process)
        assert alone.post({"query": "{ version }"}, "anybody").status_code == 403
        assert requests.post(f"{url}/graphql", json={"query": "{ version }"}, timeout=10).status_code == 403


# --- who launched a run -----------------------------------------------------------------------------------------------


def test_a_run_carries_who_launched_it_whatever_the_request_or_the_job_says(users: Served, target: Make) -> None:
    of = target(OWN)
    boss = [{"key": USER_TAG, "value": "boss"}]
    given: Any = {**of.execution, "executionMetadata": {"tags": boss}}
    launched = answer(users, "launcher", "launchRun", executionParams=given)["run"]["runId"]
    again = {"parentRunId": of.run, "strategy": "ALL_STEPS", "extraTags": boss, "useParentRunTags": True}
    repeated = answer(users, "launcher", "launchRunReexecution", reexecutionParams=again)["run"]["runId"]
    for run_id in (launched, repeated):
        run = users.instance.get_run_by_id(run_id)
        assert run
        assert run.tags[USER_TAG] == "launcher"
    of_boss = users.instance.get_run_by_id(of.run)
    assert of_boss
    assert of_boss.tags[USER_TAG] == "boss"


def test_a_run_is_listed_under_its_own_location_whatever_the_request_says(users: Served, target: Make) -> None:
    of = target(OWN)
    other = [{"key": ".dagster/repository", "value": f"__repository__@{OTHER}"}]
    other += [{"key": ".dagster/pool/loading", "value": "true"}]
    given: Any = {**of.execution, "executionMetadata": {"tags": other}}
    launched = answer(users, "launcher", "launchRun", executionParams=given)["run"]["runId"]
    listed = users.instance.get_runs(RunsFilter(tags={".dagster/repository": f"__repository__@{OWN}"}))
    assert launched in {run.run_id for run in listed}
    assert users.instance.get_runs(RunsFilter(tags={".dagster/pool/loading": "true"})) == []


def test_a_backfill_carries_who_launched_it(users: Served, target: Make) -> None:
    of = target(OWN)
    boss = [{"key": USER_TAG, "value": "boss"}]
    given: Any = {"assetSelection": [of.asset()], "partitionNames": ["first"], "tags": boss}
    launched = answer(users, "launcher", "launchPartitionBackfill", backfillParams=given)["backfillId"]
    again = {"parentRunId": of.backfill, "strategy": "ALL_STEPS"}
    repeated = answer(users, "launcher", "reexecutePartitionBackfill", reexecutionParams=again)["backfillId"]
    for backfill_id in (launched, repeated):
        backfill = users.instance.get_backfill(backfill_id)
        assert backfill
        assert backfill.tags[USER_TAG] == "launcher"


def test_a_run_that_no_request_launches_is_nobodys_whatever_its_job_says(users: Served, target: Make) -> None:
    of = target(OWN)
    backfill = users.instance.get_backfill(of.backfill)
    assert backfill
    assert backfill.tags[USER_TAG] == "boss"
    context = users.process.create_request_context()
    job = context.get_code_location(OWN).get_repository("__repository__").get_full_job("job")

    def create(**tags: str) -> str | None:
        run = users.instance.create_run(
            job_name="job", run_id=None, run_config={}, status=None, tags={**job.tags, **tags}, root_run_id=None,
            parent_run_id=None, step_keys_to_execute=None, execution_plan_snapshot=None, job_snapshot=None,
            parent_job_snapshot=None, asset_selection=None, asset_check_selection=None, resolved_op_selection=None,
            op_selection=None, remote_job_origin=job.get_remote_origin(), job_code_origin=None,
            asset_graph=context.asset_graph,
        )  # fmt: skip
        return run.tags.get(USER_TAG)

    assert create() is None
    assert create(**{"dagster/sensor_name": "sensor", "dagster/backfill": of.backfill}) is None
    assert create(**{"dagster/backfill": of.backfill}) == "boss"
