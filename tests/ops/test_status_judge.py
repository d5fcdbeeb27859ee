"""What needs a person and what does not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ops.lineage import Asset
from ops.status.facts import (
    Backfill,
    Backups,
    Check,
    Daemon,
    Events,
    Facts,
    Instigator,
    Location,
    Role,
    Run,
    Runs,
    Service,
    Storage,
    Unknown,
    Workspace,
)
from ops.status.judge import judge
from tests.ops.stack_facts import (
    DAILY,
    DAYS,
    HEALTHY,
    HOUR,
    MONTHS,
    NOW,
    REPORT,
    SERVICES,
    TRIPS,
    ZONES,
    failed_run,
    newest,
)

LOADED_AGAIN = newest(taxi_trips=[("2023-01-01", 30), ("2023-02-01", 2)])


def problems(facts: Facts = HEALTHY, **changed: Any) -> list[str]:
    """What needs a person in a healthy stack with these changes."""
    return [problem.what for problem in judge(replace(facts, **changed)).problems]


def services(**changed: Any) -> tuple[Service, ...]:
    """The services with one of them, the daemon, changed."""
    return tuple(replace(service, **changed) if service.name == "daemon" else service for service in SERVICES)


def workspace(**changed: Any) -> Workspace:
    assert isinstance(HEALTHY.workspace, Workspace)
    return replace(HEALTHY.workspace, **changed)


def sensor(**changed: Any) -> Workspace:
    """The workspace with the first sensor, automatic_builds, changed."""
    assert isinstance(HEALTHY.workspace, Workspace)
    first, *others = HEALTHY.workspace.instigators
    return workspace(instigators=(replace(first, **changed), *others))


def failing(run: Run, *assets: Asset, reasons: dict[str, str] | None = None) -> dict[str, Any]:
    return {"runs": Runs((), (run,), ()), "assets": assets, "events": Events(newest(), reasons or {})}


def test_a_healthy_stack_needs_nobody() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"health": "unhealthy"}, "daemon is unhealthy"),
        ({"state": "paused", "health": None}, "daemon is paused"),
        ({"state": "exited", "health": None, "exit_code": 137}, "daemon is exited (exit status 137, 60 min ago)"),
        ({"state": "absent", "health": None}, "daemon has no container"),
        (
            {"state": "restarting", "health": None, "restarts": 7, "exit_code": 1},
            "daemon exits at every start (7 restarts, exit status 1)",
        ),
        ({"restarts": 3, "since": NOW - 60}, "daemon was restarted 3 times, the last time 60 s ago"),
        ({"health": "starting", "since": NOW - 400}, "daemon has been starting for 6 min"),
    ],
)
def test_a_service_that_does_not_work_needs_a_person(changed: dict[str, Any], what: str) -> None:
    assert problems(services=services(**changed)) == [what]


@pytest.mark.parametrize("changed", [{"restarts": 3}, {"health": "starting", "since": NOW - 20}, {"health": None}])
def test_a_service_that_came_back_starts_or_has_no_health_check_needs_nobody(changed: dict[str, Any]) -> None:
    assert problems(services=services(**changed)) == []


def test_a_one_shot_service_that_failed_needs_a_person() -> None:
    failed = (*SERVICES[:-1], replace(SERVICES[-1], exit_code=1))
    assert problems(services=failed) == ["migrate failed (exit status 1)"]


def test_without_an_engine_nothing_else_is_reported() -> None:
    assert problems(services=Unknown("Cannot connect to the Docker daemon")) == ["Cannot connect to the Docker daemon"]


@pytest.mark.parametrize(
    ("state", "what"), [("absent", "the stack taxi is not up"), ("exited", "the stack taxi is stopped")]
)
def test_a_stack_that_is_not_up_is_one_problem(state: str, what: str) -> None:
    gone = tuple(replace(service, state=state, health=None) for service in SERVICES)
    away = Unknown("webserver is away")
    assert problems(services=gone, workspace=away, daemons=away, assets=away, checks=away, runs=away) == [what]


def test_a_webserver_that_does_not_answer_is_one_problem() -> None:
    away = Unknown("the webserver does not answer in 20 s")
    assert problems(workspace=away, daemons=away, assets=away, checks=away, runs=away) == [away.reason]


def test_what_only_a_stopped_service_can_tell_is_no_problem_of_its_own() -> None:
    away = Unknown("the webserver answers with an error")
    gone = tuple(
        replace(service, state="exited", health=None) if service.name == "postgres" else service for service in SERVICES
    )
    blocks: dict[str, Any] = {"workspace": away, "daemons": away, "assets": away, "checks": away, "runs": away}
    found = problems(services=gone, events=away, storage=away, **blocks)
    assert found == ["postgres is exited (exit status 0, 60 min ago)"]


def test_a_hanging_postgres_and_the_webserver_that_waits_for_it_are_one_problem() -> None:
    away = Unknown("the webserver does not answer in 20 s")
    hangs = Unknown("Postgres does not answer: timeout expired")
    blocks: dict[str, Any] = {"workspace": away, "daemons": away, "assets": away, "checks": away, "runs": away}
    assert problems(events=hangs, storage=hangs, **blocks) == [hangs.reason]


def test_a_location_that_does_not_load_needs_a_person() -> None:
    broken = workspace(locations=(Location("dbt_location", "SyntaxError: invalid syntax", NOW),))
    assert problems(workspace=broken) == ["dbt_location is not loaded: SyntaxError: invalid syntax"]


def test_a_location_without_a_run_policy_needs_a_person() -> None:
    found = problems(policies={"ingestion_location": ""})
    assert found == ["dbt_location has no run policy, so none of its runs is launched"]


def test_a_run_policy_that_cannot_be_used_needs_a_person() -> None:
    wrong = {"ingestion_location": "", "dbt_location": "dbt_location.json is wrong: memory is missing"}
    found = problems(policies=wrong)
    assert found == ["no run of dbt_location is launched: dbt_location.json is wrong: memory is missing"]


def test_run_policies_that_the_running_daemon_cannot_tell_need_a_person() -> None:
    assert problems(policies=Unknown("no such module")) == ["the run policies are not known: no such module"]


def test_a_daemon_without_a_recent_heartbeat_needs_a_person() -> None:
    frozen = (Daemon("SENSOR", NOW - 400), Daemon("QUEUED_RUN_COORDINATOR", NOW - 380))
    assert problems(daemons=frozen) == ["the daemon has sent no heartbeat for 6 min"]


def test_a_daemon_needs_a_person_only_if_it_keeps_failing() -> None:
    assert problems(daemons=(Daemon("SENSOR", NOW, ("OperationalError",)),)) == []
    again = problems(daemons=(Daemon("SENSOR", NOW, ("OperationalError",) * 5),))
    assert again == ["SENSOR keeps failing: OperationalError"]


def test_a_sensor_that_should_run_and_is_stopped_needs_a_person() -> None:
    assert problems(workspace=sensor(running=False)) == ["sensor automatic_builds (dbt_location) is stopped"]


def test_a_sensor_that_is_stopped_because_automation_is_off_needs_nobody() -> None:
    assert problems(workspace=sensor(running=False, runs_by_default=False)) == []


def test_a_sensor_whose_last_tick_failed_needs_a_person() -> None:
    failed = sensor(last_status="FAILURE", error="KeyError: 'x'")
    assert problems(workspace=failed) == [
        "sensor automatic_builds (dbt_location) failed at its last tick: KeyError: 'x'"
    ]


def test_a_failed_month_needs_a_person() -> None:
    month = replace(TRIPS, materialized=frozenset(MONTHS[:1]), failed=frozenset(MONTHS[1:]))
    facts = replace(HEALTHY, **failing(failed_run(), month, reasons={"0a1b": "HTTP 404"}))
    (failure,) = judge(facts).failures
    assert (failure.label, failure.reason) == ("taxi_trips 2023-02-01", "HTTP 404")
    assert problems(facts) == ["taxi_trips 2023-02-01 failed"]


def test_a_run_that_may_start_no_more_processes_names_the_setting() -> None:
    month = replace(TRIPS, materialized=frozenset(MONTHS[:1]), failed=frozenset(MONTHS[1:]))
    why = {"0a1b": "BlockingIOError: [Errno 11] Resource temporarily unavailable"}
    (failure,) = judge(replace(HEALTHY, **failing(failed_run(), month, reasons=why))).failures
    assert failure.reason.endswith("(a run may have as many processes and threads as the setting RUN_PIDS_LIMIT says)")


def test_a_failed_month_that_was_loaded_later_needs_nobody() -> None:
    assert problems(**failing(failed_run(), TRIPS)) == []


def test_a_lost_run_that_will_be_retried_needs_a_person_only_after_a_while() -> None:
    month = replace(TRIPS, failed=frozenset(MONTHS[1:]))
    assert problems(**failing(failed_run(will_retry=True, ended=NOW - 20), month)) == []
    assert problems(**failing(failed_run(will_retry=True), month)) == ["taxi_trips 2023-02-01 failed"]


def test_a_run_that_failed_after_it_built_everything_needs_a_person_until_that_is_built_again() -> None:
    at = newest()[("daily_metrics", DAYS[0])].time
    run = failed_run("daily_metrics", DAYS[0], started=at - 1, ended=at + 1)
    assert problems(**failing(run, DAILY)) == [f"daily_metrics {DAYS[0]} failed"]
    assert problems(**failing(replace(run, started=at - 3, ended=at - 2), DAILY)) == []


def test_each_failed_partition_is_reported_with_the_newest_run_that_failed_on_it() -> None:
    month = replace(TRIPS, failed=frozenset(MONTHS))
    runs = (failed_run(id="new"), failed_run(id="old", first="2023-01-01", last="2023-02-01"))
    failures = judge(replace(HEALTHY, assets=(month,), runs=Runs((), runs, ()))).failures
    assert [(failure.run.id, failure.ranges) for failure in failures if failure.run] == [
        ("new", (("2023-02-01", "2023-02-01"),)),
        ("old", (("2023-01-01", "2023-01-01"),)),
    ]


def test_a_failed_partition_is_reported_even_if_its_run_is_too_old_to_be_known() -> None:
    assert problems(assets=(replace(TRIPS, failed=frozenset(MONTHS)),)) == ["taxi_trips 2023-01-01..2023-02-01 failed"]


@pytest.mark.parametrize(("last", "what"), [("0a1b", ["prune failed"]), ("later", [])])
def test_a_failed_job_needs_a_person_while_it_is_the_jobs_newest_run(last: str, what: Sequence[str]) -> None:
    run = failed_run(assets=(), first=None, last=None, location="platform_location", job="prune")
    last_runs = {("platform_location", "prune"): last}
    assert problems(runs=Runs((), (run,), ()), workspace=workspace(last_runs=last_runs)) == what


def test_a_failed_backfill_needs_a_person_until_its_assets_are_built() -> None:
    failed = Backfill("abc", "FAILED", ("taxi_trips",), 2, NOW - HOUR, NOW - HOUR, "the location was away")
    said = "the backfill abc of taxi_trips failed: the location was away"
    assert problems(runs=Runs((), (), (failed,))) == [said]
    assert problems(runs=Runs((), (), (replace(failed, ended=NOW - 3 * HOUR),))) == []


def test_stale_days_that_the_automation_does_not_build_need_a_person() -> None:
    assert problems(events=Events(LOADED_AGAIN, {})) == [
        "daily_metrics 2023-01-30..2023-01-31: older than its upstream data for 119 min, and nothing builds it"
    ]


def test_stale_days_of_an_asset_that_depends_on_itself_need_a_person() -> None:
    of_itself = replace(DAILY, parents=("taxi_trips", "daily_metrics"))
    assert problems(assets=(TRIPS, of_itself), events=Events(LOADED_AGAIN, {})) == [
        "daily_metrics 2023-01-30..2023-01-31: older than its upstream data for 119 min, and nothing builds it"
    ]


def test_stale_days_need_nobody_while_the_automation_still_has_time() -> None:
    assert problems(events=Events(LOADED_AGAIN, {}), time=NOW - 2 * HOUR + 60, daemons=()) == []


def test_stale_days_need_nobody_while_a_backfill_of_them_is_in_progress() -> None:
    goes_on = Backfill("abc", "REQUESTED", ("daily_metrics",), 2, NOW - 60)
    assert problems(events=Events(LOADED_AGAIN, {}), runs=Runs((), (), (goes_on,))) == []


def test_stale_days_need_nobody_while_their_month_is_being_loaded() -> None:
    loads = failed_run(first="2023-01-01", status="STARTED", ended=None)
    month = replace(TRIPS, in_progress=frozenset({"2023-01-01"}))
    busy: dict[str, Any] = {"assets": (month, DAILY), "runs": Runs((loads,), (), ())}
    assert problems(events=Events(LOADED_AGAIN, {}), **busy) == []


def test_without_automation_stale_days_need_a_person_at_once() -> None:
    off = sensor(running=False, runs_by_default=False)
    assert problems(events=Events(LOADED_AGAIN, {}), workspace=off, time=NOW - 2 * HOUR + 60, daemons=()) == [
        "daily_metrics 2023-01-30..2023-01-31: older than its upstream data and automation is off"
    ]


def test_what_was_built_before_the_newest_zones_needs_nobody_and_is_a_notice_with_the_command() -> None:
    by_zone = (TRIPS, replace(DAILY, parents=("taxi_trips", "taxi_zones")), REPORT, ZONES)
    facts = replace(HEALTHY, assets=by_zone, events=Events(newest(taxi_zones=[(None, 50)]), {}))
    (notice,) = judge(facts).notices
    assert (notice.what, notice.next) == ("taxi_zones was built 119 min ago, after daily_metrics", "make rebuild")
    assert problems(facts) == []


def test_a_dependency_that_cannot_be_judged_needs_nobody_and_is_a_notice() -> None:
    aside = replace(REPORT, not_judged={"daily_metrics": "a LastPartitionMapping"})
    facts = replace(HEALTHY, assets=(TRIPS, DAILY, aside, ZONES))
    (notice,) = judge(facts).notices
    said = "monthly_report: its dependency on daily_metrics is not judged"
    assert (notice.what, notice.next) == (said, "declare another mapping")
    assert problems(facts) == []


def test_missing_days_need_nobody_before_the_zones_are_there() -> None:
    missing = (TRIPS, replace(DAILY, parents=("taxi_trips", "taxi_zones"), materialized=frozenset()), ZONES)
    assert problems(assets=missing, events=Events(newest(daily_metrics=[], taxi_zones=[]), {})) == []


def test_missing_days_of_a_loaded_month_need_a_person_only_with_automation() -> None:
    missing = (TRIPS, replace(DAILY, materialized=frozenset(DAYS[:2])))
    without = newest(daily_metrics=[(DAYS[0], 11), (DAYS[1], 12)])
    said = "daily_metrics 2023-02-01..2023-02-02: missing for 119 min, and nothing builds it"
    assert problems(assets=missing, events=Events(without, {})) == [said]
    off = sensor(running=False, runs_by_default=False)
    assert problems(assets=missing, events=Events(without, {}), workspace=off) == []


def test_missing_days_and_metrics_of_a_missing_month_need_nobody() -> None:
    first = frozenset(MONTHS[:1])
    assets = (
        replace(TRIPS, materialized=first),
        replace(DAILY, materialized=frozenset(DAYS[:2])),
        replace(REPORT, materialized=first),
        ZONES,
    )
    assert problems(assets=assets) == []


def test_an_asset_check_with_an_error_needs_a_person_and_a_warning_does_not() -> None:
    error = Check("taxi_trips", "every_day_has_trips", "FAILED", "ERROR", "77", "2 days without trips")
    assert problems(checks=(error,)) == ["check every_day_has_trips of taxi_trips failed: 2 days without trips"]
    assert problems(checks=(replace(error, severity="WARN"),)) == []


def test_a_check_whose_run_is_reported_is_not_reported_twice() -> None:
    month = replace(TRIPS, failed=frozenset(MONTHS[1:]))
    error = Check("taxi_trips", "every_day_has_trips", "FAILED", "ERROR", "0a1b", "")
    assert problems(**failing(failed_run(), month), checks=(error,)) == ["taxi_trips 2023-02-01 failed"]


def test_a_queue_needs_a_person_only_if_no_run_is_in_progress() -> None:
    waits = failed_run(status="QUEUED", started=None, ended=None)
    moves = replace(waits, id="2", status="STARTED", first="2023-01-01", last="2023-01-01")
    assert problems(runs=Runs((waits,), (), ())) == ["no run is in progress, and 1 are queued, the oldest for 31 min"]
    assert problems(runs=Runs((waits, moves), (), ())) == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"disk_used": 95, "disk_free": 5}, "the disk is 95% full"),
        ({"connections": 95}, "95 of 100 connections are used"),
        ({"roles": (Role("dagster", 19, 20),)}, "dagster uses 19 of its 20 connections"),
    ],
)
def test_what_is_almost_full_needs_a_person(changed: dict[str, Any], what: str) -> None:
    assert isinstance(HEALTHY.storage, Storage)
    assert problems(storage=replace(HEALTHY.storage, **changed)) == [what]


@pytest.mark.parametrize(("service", "number"), [("daemon", 1), ("dbt_location", 1), ("webserver", 2)])
def test_nothing_is_overdue_while_a_service_that_builds_is_down(service: str, number: int) -> None:
    sick = tuple(replace(one, health="unhealthy") if one.name == service else one for one in SERVICES)
    assert len(problems(services=sick, events=Events(LOADED_AGAIN, {}))) == number


def test_nothing_is_overdue_while_the_automation_sensor_is_stopped() -> None:
    found = problems(events=Events(LOADED_AGAIN, {}), workspace=sensor(running=False))
    assert found == ["sensor automatic_builds (dbt_location) is stopped"]


def test_a_stopped_schedule_needs_a_person_like_a_sensor() -> None:
    schedule = Instigator("nightly", "platform_location", "schedule", False, True)
    assert problems(workspace=workspace(instigators=(schedule,))) == ["schedule nightly (platform_location) is stopped"]


def backups(**changed: Any) -> Backups:
    assert isinstance(HEALTHY.backups, Backups)
    return replace(HEALTHY.backups, **changed)


def repository(**changed: Any) -> Backups:
    assert isinstance(HEALTHY.backups, Backups)
    return backups(repositories=(replace(HEALTHY.backups.repositories[0], **changed),))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (repository(newest=NOW - 29 * HOUR), []),
        (repository(newest=NOW - 31 * HOUR), ["no backup was made for 31 h in the repository 1"]),
        (repository(newest=None, backups=0, error="missing stanza path"), []),
        (repository(error="other"), ["the repository 1 cannot be used: other"]),
        (
            repository(newest=None, backups=0, answers=False, error="no answer within 15 s"),
            ["the repository 1 cannot be used: no answer within 15 s"],
        ),
        (backups(failed="no space left"), ["the last backup failed: no space left"]),
        (backups(waiting=1, waiting_since=NOW - 170), []),
        (
            backups(waiting=9, waiting_since=NOW - 240),
            ["the log has not been archived for 4 min, 9 segments wait"],
        ),
        (
            backups(dropped=NOW - 2 * HOUR),
            ["a part of the log was not archived: no moment of the last 2 h can be restored until the next backup"],
        ),
        (backups(rehearsal={"started": NOW - 60, "ended": NOW, "found": []}), []),
        (
            backups(rehearsal={"started": NOW - 60, "ended": NOW, "found": ["block 3 of zones is damaged"]}),
            ["the last rehearsal of a restore found: block 3 of zones is damaged"],
        ),
        (
            backups(rehearsal={"started": NOW, "ended": NOW - 31 * HOUR, "found": []}),
            ["no restore was rehearsed for 31 h"],
        ),
        (Unknown("no answer within 60 s"), ["the state of the backups is not known: no answer within 60 s"]),
    ],
)
def test_backups_that_are_not_made_need_a_person(changed: Backups | Unknown, expected: list[str]) -> None:
    assert problems(backups=changed) == expected


def test_backups_on_the_disk_of_postgres_are_a_notice() -> None:
    judgement = judge(replace(HEALTHY, backups=backups(elsewhere=False)))
    assert (judgement.problems, [notice.what for notice in judgement.notices]) == (
        (),
        ["the backups are on the disk of Postgres, and lost with it"],
    )


def test_a_volume_that_is_not_in_the_backups_is_a_notice() -> None:
    without = ({"name": "dbt_location_secrets", "problem": "there is no key"},)
    judgement = judge(replace(HEALTHY, backups=backups(volumes=without)))
    assert (judgement.problems, [notice.what for notice in judgement.notices]) == (
        (),
        ["the volume dbt_location_secrets is not backed up now: there is no key"],
    )


def test_without_any_repository_a_backup_that_was_never_made_needs_a_person() -> None:
    assert problems(backups=backups(repositories=())) == []
    old = tuple(replace(one, since=NOW - 7 * HOUR) for one in SERVICES)
    found = problems(services=old, backups=backups(repositories=()))
    assert found == ["no backup was made for 7 h: there is no repository"]


def test_a_backfill_of_which_nothing_happens_needs_a_person() -> None:
    hangs = Backfill("abc", "REQUESTED", ("daily_metrics",), 2, NOW - HOUR)
    said = "the backfill abc of daily_metrics hangs: it has no run in progress, and nothing of it was built for 60 min"
    assert problems(runs=Runs((), (), (hangs,))) == [said]


@pytest.mark.parametrize(
    "changed",
    [
        {"runs": Runs((), (), (Backfill("abc", "REQUESTED", ("daily_metrics",), 2, NOW - 60),))},
        {"time": NOW - 2 * HOUR + 800, "daemons": ()},
        {"runs": Runs((failed_run("daily_metrics", status="STARTED", backfill="abc"),), (), ())},
        {"daemons": (Daemon("BACKFILL", NOW - 400),)},
    ],
    ids=["it is new", "something was built", "it has a run", "the daemon is the problem"],
)
def test_a_backfill_is_not_said_to_hang(changed: dict[str, Any]) -> None:
    goes_on = Backfill("abc", "REQUESTED", ("daily_metrics",), 2, NOW - 2 * HOUR - 60)
    given = changed.get("runs", Runs())
    changed["runs"] = replace(given, backfills=given.backfills or (goes_on,))
    assert [what for what in problems(**changed) if "hangs" in what] == []


def test_what_is_late_by_its_freshness_policy_needs_a_person() -> None:
    late = (replace(TRIPS, late=True), DAILY, REPORT, ZONES)
    assert problems(assets=late) == ["taxi_trips is late by its freshness policy, its newest data is 119 min old"]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (NOW + 8 * 24 * HOUR, []),
        (NOW + 3 * 24 * HOUR, ["the door's certificate ends in 3 d"]),
        (NOW - 3 * HOUR, ["the door's certificate ended 3 h ago"]),
        (Unknown("door is exited"), []),
    ],
)
def test_a_certificate_near_its_end_needs_a_person(end: float | Unknown, expected: list[str]) -> None:
    assert problems(certificate=end) == expected
