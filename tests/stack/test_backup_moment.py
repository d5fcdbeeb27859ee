"""The archive of the live stack: it is restored to a moment, and after Postgres's volume or the machine was lost."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.command import ROOT
from tests import warehouse_answers
from tests.independent import RightAnswers
from tests.rows import comparable
from tests.stack.backfill import BUILT, DAILY_ASSETS, DAYS, MONTHS, build_missing, built
from tests.stack.conftest import LABEL, PROJECT, Stack
from tests.stack.test_automation import SETTLE_SECONDS, SHORTEN, in_sample, wait_for_ticks
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill
AUTOMATED = {"TAXI_AUTOMATION": "on", "TAXI_SOURCE_INTERVAL_SECONDS": "10"}


def backups(stack: Stack) -> dict[str, Any]:
    """What `make status` says of the backups."""
    found: dict[str, Any] = json.loads(stack.status("FORMAT=json")[1])["backups"]
    return found


def has_backup(stack: Stack) -> bool | None:
    return all(one["newest"] for one in backups(stack)["repositories"]) or None


def moment(stack: Stack) -> str:
    """The time of Postgres's clock, with a second without a commit of the tests before and after it."""
    time.sleep(1)
    ((now,),) = stack.query("select extract(epoch from clock_timestamp())::float as now")
    time.sleep(1)
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S.%f}+00:00"


@pytest.fixture
def backed_up(stack: Stack) -> Stack:
    """A stack with three months, their days and metrics, and a backup that may be older than these."""
    stack.once("all built", lambda: build_missing(stack))
    wait_for("the first backup", 120, lambda: has_backup(stack))
    return stack


def lose_postgres(stack: Stack) -> None:
    """Destroys the container and the volume of Postgres, in the midst of what it does."""
    stack.command("docker", "rm", "--force", "--volumes", f"{PROJECT}-postgres-1", f"{PROJECT}-backups-1")
    stack.command("docker", "volume", "rm", f"{PROJECT}_postgres_data")


def restore(stack: Stack, *arguments: str) -> str:
    return stack.command("make", "restore", *arguments, COMPOSE_PROFILES="sample")


@contextmanager
def kept(stack: Stack, volume: str) -> Iterator[None]:
    """Waits at the end until Postgres has what was changed in a volume."""
    content = "select content from volume_backups where name = :'name'"

    def ask() -> str:
        psql = ("docker", "exec", "-i", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-qtAX", "-v")
        command = [*psql, f"name={volume}"]
        return subprocess.run(command, input=content, check=True, capture_output=True, text=True).stdout

    before = ask()
    yield
    wait_for(f"{volume} to be kept", 60, lambda: ask() != before or None)


def in_volume(stack: Stack, volume: str, script: str) -> str:
    mounted = ("--volume", f"{PROJECT}_{volume}:/files", "--workdir", "/files")
    return stack.command("docker", "run", "--rm", *mounted, "postgres:17", "sh", "-ec", script)


def test_both_databases_and_the_reports_go_back_to_a_moment_before_a_mistake(
    backed_up: Stack, right: RightAnswers
) -> None:
    runs, page = backed_up.webserver.run_count(), backed_up.report("2023-02.html")
    with kept(backed_up, "dbt_location_secrets"):
        backed_up.give_secret("dbt_location", "login", "first")
    then = moment(backed_up)
    backed_up.give_secret("dbt_location", "login", "second")
    with kept(backed_up, "dbt_location_reports"):
        in_volume(backed_up, "dbt_location_reports", "echo later >> 2023-02.html")
    backfill_id = backed_up.webserver.backfill(DAILY_ASSETS, DAYS[:3])
    assert [run["status"] for run in backed_up.webserver.backfill_runs(backfill_id)] == ["SUCCESS"]
    mistake = ("psql", "-U", "postgres", "-d", "warehouse", "-c", "drop schema raw_taxis cascade")
    backed_up.command("docker", "exec", f"{PROJECT}-postgres-1", *mistake)
    print(restore(backed_up, f"TO={then}", "FORCE=1"))
    assert backed_up.webserver.run_count() == runs
    assert backed_up.report("2023-02.html") == page
    # A secret is valid outside of the stack, where nothing goes back.
    assert in_volume(backed_up, "dbt_location_secrets", "cat login") == "second"
    backed_up.check_days(right)
    backed_up.check_months(right)


def test_a_backup_of_the_new_timeline_follows_a_restore(backed_up: Stack) -> None:
    ((timeline,),) = backed_up.query("select timeline_id from pg_control_checkpoint()")

    def newest_timeline() -> bool | None:
        state = json.loads(backed_up.command("docker", "exec", f"{PROJECT}-backups-1", "backups", "state"))
        return int(state["repositories"][0]["backups"][-1]["timeline"], 16) == timeline or None

    wait_for("a backup of this timeline", 180, newest_timeline)


def rehearsed(stack: Stack) -> list[str]:
    """What a rehearsal of a restore finds, which is also what `make status` shows."""
    rehearse = ("docker", "compose", "exec", "-T", "backups", "backups", "rehearse")
    subprocess.run(rehearse, cwd=ROOT, env=stack.env, capture_output=True)
    found: list[str] = backups(stack)["rehearsal"]["found"]
    return found


@pytest.mark.release
def test_a_page_that_changed_on_the_disk_is_named_by_the_rehearsal_and_healed_by_a_restore(
    backed_up: Stack, right: RightAnswers
) -> None:
    # The image of these tests adds checksums at the second start only.
    backed_up.command("docker", "compose", "restart", "postgres")
    wait_for("a rehearsal without a finding", 120, lambda: rehearsed(backed_up) == [] or None)
    wait_for("all to be archived", 120, lambda: backups(backed_up)["waiting"] == 0 or None)
    ((path,),) = backed_up.query("select pg_relation_filepath('raw_taxis.zones') as path")
    in_postgres = ("docker", "exec", f"{PROJECT}-postgres-1")
    backed_up.command(*in_postgres, "psql", "-U", "postgres", "-c", "checkpoint")
    flip = f"printf '\\377\\376\\375' | dd of=$PGDATA/{path} bs=1 seek=8000 conv=notrunc"
    backed_up.command(*in_postgres, "sh", "-c", flip)
    (found,) = rehearsed(backed_up)
    assert found == f"block 0 of {path}, warehouse: raw_taxis.zones is damaged in the volume of Postgres"
    print(restore(backed_up, "FORCE=1"))
    assert rehearsed(backed_up) == []
    backed_up.check_months(right)


@pytest.mark.release
def test_the_rehearsal_names_a_month_that_is_not_as_its_ledger_says(backed_up: Stack) -> None:
    change = "update raw_taxis.trip_files set rows = rows + {} where month = '2023-01-01'"
    in_warehouse = ("docker", "exec", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-d", "warehouse", "-c")
    switch = "select pg_switch_wal()"
    backed_up.command(*in_warehouse, change.format(1))
    try:
        backed_up.command(*in_warehouse, switch)
        wait_for("all to be archived", 120, lambda: backups(backed_up)["waiting"] == 0 or None)
        (found,) = rehearsed(backed_up)
    finally:
        backed_up.command(*in_warehouse, change.format(-1))
        backed_up.command(*in_warehouse, switch)
    assert "raw_taxis.trips has " in found
    assert "of the file of 2023-01-01" in found


# The loss of a machine, below, is the loss of Postgres, too.
@pytest.mark.release
def test_a_stack_that_lost_postgres_while_it_worked_is_restored_and_completes_its_work(
    backed_up: Stack, right: RightAnswers
) -> None:
    loading = backed_up.webserver.launch_month("2023-02-01")
    backed_up.webserver.backfill(DAILY_ASSETS, DAYS)
    backed_up.webserver.started(loading)
    lose_postgres(backed_up)
    print(restore(backed_up))
    build_missing(backed_up)
    backed_up.check_days(right)
    backed_up.check_months(right)


@pytest.mark.release
def test_a_restore_over_a_damaged_part_of_the_log_keeps_what_was_committed_before_it_and_says_so(
    backed_up: Stack,
) -> None:
    in_postgres = ("docker", "exec", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-qtAX", "-c")

    def commit(table: str) -> str:
        """Makes a table and ends the segment of the log; returns its name."""
        # Two transactions: the first one's commit is in the segment.
        end = "select pg_walfile_name(pg_switch_wal())"
        segment = backed_up.command(*in_postgres, f"create table {table} ()", "-c", end)
        wait_for("all to be archived", 120, lambda: backups(backed_up)["waiting"] == 0 or None)
        return segment.strip()

    commit("before_the_damage")
    damaged = commit("in_the_damage")
    commit("after_the_damage")
    spoil = f"file=$(find . -name '{damaged}-*'); test -f $file; echo spoiled > $file"
    in_volume(backed_up, "backup_repository", spoil)
    lose_postgres(backed_up)
    with pytest.raises(AssertionError, match="A part of the log is missing or damaged: it was applied up to segment"):
        restore(backed_up)
    kept = "select relname from pg_class where relname like '%_the_damage'"
    backed_up.command("make", "up", COMPOSE_PROFILES="sample")
    assert backed_up.command(*in_postgres, kept).split() == ["before_the_damage"]
    backed_up.command(*in_postgres, "drop table before_the_damage")


@pytest.fixture
def automated(backed_up: Stack) -> Iterator[Stack]:
    """A stack with three months, and automation on, which has nothing to do."""
    stack = backed_up.start(**AUTOMATED)
    wait_for_ticks(stack)

    def idle() -> bool | None:
        ended = all(run["status"] in FINISHED for run in stack.webserver.runs())
        return (ended and built(stack) == BUILT) or None

    wait_for("all to be built", SETTLE_SECONDS, idle)
    yield stack
    # Other tests expect other files at the source.
    backed_up.destroy()


def lose_machine(stack: Stack) -> None:
    """Destroys every container but the source's, and every volume but the repository of the backups."""
    sample = stack.services()["sample"]["ID"]
    listed = ("docker", "ps", "--all", "--quiet", "--filter")
    found = stack.command(*listed, LABEL).split() + stack.command(*listed, f"label=project={PROJECT}").split()
    postgres = f"{PROJECT}-postgres-1"
    stack.command("docker", "rm", "--force", "--volumes", postgres)
    others = [one for one in dict.fromkeys(found) if not sample.startswith(one)]
    subprocess.run(["docker", "rm", "--force", "--volumes", *others], capture_output=True)
    volumes = stack.command("docker", "volume", "ls", "--quiet", "--filter", LABEL).split()
    stack.command("docker", "volume", "rm", *(name for name in volumes if not name.endswith("_backup_repository")))


def completed(stack: Stack, right: RightAnswers) -> None:
    """Waits until all is built on the files that the source has, and compares every table and the reports."""
    loaded = comparable(right.months())
    wait_for("the months", SETTLE_SECONDS, lambda: stack.query(warehouse_answers.MONTHS) == loaded or None)
    wait_for("all that follows", SETTLE_SECONDS, lambda: built(stack) == BUILT or None)
    stack.check_days(right)
    stack.check_months(right)
    assert [stack.report(f"{month}.html")[0] for month in MONTHS] == [200] * len(MONTHS)


def loads_a_month(stack: Stack, before: int) -> bool | None:
    """Whether one of the runs after the first ones loads a month now."""
    runs = stack.webserver.runs()[: stack.webserver.run_count() - before]
    return any("taxi_trips" in run["assets"] and run["status"] == "STARTED" for run in runs) or None


def test_a_machine_that_is_lost_while_it_works_is_restored_with_secrets_and_automation_completes_what_is_lost(
    automated: Stack, tmp_path: Path
) -> None:
    with kept(automated, "ingestion_location_secrets"):
        automated.give_secret("ingestion_location", "login", "of this location")
    automated.query("select 1 from pg_switch_wal()")
    wait_for("all to be archived", 120, lambda: backups(automated)["waiting"] == 0 or None)
    before = automated.webserver.run_count()
    in_sample(automated, f"python -c '{SHORTEN}'")
    wait_for("a load", SETTLE_SECONDS, lambda: loads_a_month(automated, before))
    lose_machine(automated)
    print(restore(automated))
    assert in_volume(automated, "ingestion_location_secrets", "cat login; stat -c ' %a %u' login") == (
        "of this location 600 10001\n"
    )
    completed(automated, automated.right_answers(tmp_path, *MONTHS))
