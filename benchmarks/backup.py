"""`make bench-backup`: what archiving costs a load, and what is lost and how long it takes when Postgres is lost.

A month of real size is loaded with and without the archive, in turns. Then, while three are loaded and their days are
built, the container and the volume of Postgres are destroyed, and the stack is restored. At last the databases are
filled to 10 GB, and Postgres is destroyed and restored again.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from benchmarks import yellow
from benchmarks.measuring import in_turns, log, median, save
from benchmarks.runs import phases
from tests.stack.backfill import BUILT, DAILY_ASSETS, DAYS, MONTHS, build_missing, built
from tests.stack.conftest import PROJECT, Stack
from tests.stack.test_backup_moment import backups, has_backup, lose_postgres, restore
from tests.stack.webserver import wait_for

ROWS = 3_066_766
ROUNDS = 3
# A load or a build of a busy machine.
RUN_SECONDS = 900
FILLED_BYTES = 10_000_000_000
SIZE = "select sum(pg_database_size(oid)) from pg_database"
# While Postgres's container has this file, its archive is off (tests/stack/archiving_on_and_off.yaml).
OFF, ON = ("touch", "/tmp/no_archiving"), ("rm", "--force", "/tmp/no_archiving")
# Longer than from one segment of the log to the next.
WORK_SECONDS = 40


def publish_real_months(stack: Stack) -> None:
    """Replaces the files of the source by files of real size."""
    with tempfile.TemporaryDirectory() as folder:
        for month in MONTHS:
            path = Path(folder) / f"yellow_tripdata_{month}.parquet"
            yellow.write_month(path, date.fromisoformat(f"{month}-01"), ROWS)
            path.chmod(0o644)
            in_sample = f"sample:/opt/sample/files/trip-data/{path.name}"
            stack.command("docker", "compose", "--profile", "sample", "cp", str(path), in_sample)


def load_seconds(stack: Stack, month: str) -> float:
    """Loads a month; the seconds of its step."""
    requested = time.time()
    run_id = stack.webserver.launch_month(f"{month}-01")
    assert stack.webserver.finished(run_id, RUN_SECONDS)["status"] == "SUCCESS"
    times = phases(stack, requested, run_id)
    return times["step_ended"] - times["step_started"]


def all_archived(stack: Stack) -> None:
    """Waits until nothing is left to archive, so that no load pays for the one before."""
    waiting = "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'"
    wait_for("all to be archived", RUN_SECONDS, lambda: psql(stack, waiting) == "0" or None)


def loads_in_turns(stack: Stack) -> dict[str, list[float]]:
    """Seconds of the load of a month with and without the archive, one of each a round."""

    def measured(*switch: str) -> float:
        as_postgres(stack, *switch)
        seconds = load_seconds(stack, MONTHS[0])
        all_archived(stack)
        return seconds

    # The first load of a month replaces nothing.
    for month in MONTHS:
        load_seconds(stack, month)
    return in_turns({"with_archiving": lambda: measured(*ON), "without": lambda: measured(*OFF)}, ROUNDS)


def back_up(stack: Stack) -> None:
    """Switches the archive on and makes a full backup, since a part of the log is missing."""
    as_postgres(stack, *ON)
    as_postgres(stack, "pgbackrest", "backup", "--type=full")


def lose_and_restore(stack: Stack) -> float:
    """Destroys the container and the volume of Postgres; seconds until the stack is back."""
    lose_postgres(stack)
    lost = time.time()
    log(restore(stack))
    return time.time() - lost


def fill(stack: Stack) -> None:
    """Fills the warehouse with copies of the trips up to 10 GB, without the archive, which the backup makes up for."""
    as_postgres(stack, *OFF)
    number = 0
    while int(psql(stack, SIZE)) < FILLED_BYTES:
        number += 1
        psql(stack, f"create table copy_{number} as select * from raw_taxis.trips", database="warehouse")


@contextmanager
def committing(stack: Stack) -> Iterator[list[float]]:
    """Commits the time, four times a second, and yields the times that are committed; it ends when Postgres does."""
    stack.command(*in_postgres("-c", "create table commits (at double precision)"))
    commits: list[float] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(in_postgres("-qtAX"), stdin=pipe, stdout=pipe, stderr=pipe, text=True) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        to_psql, from_psql = session.stdin, session.stdout

        def commit() -> None:
            try:
                while True:
                    to_psql.write("insert into commits values (extract(epoch from clock_timestamp())) returning at;\n")
                    to_psql.flush()
                    commits.append(float(from_psql.readline()))
                    time.sleep(0.25)
            except (OSError, ValueError):  # Postgres is gone
                return

        thread = threading.Thread(target=commit)
        thread.start()
        try:
            yield commits
        finally:
            with suppress(OSError):
                to_psql.close()
            thread.join()


def as_postgres(stack: Stack, *command: str) -> None:
    stack.command("docker", "exec", "--user", "postgres", f"{PROJECT}-postgres-1", *command)


def in_postgres(*arguments: str, database: str = "postgres") -> tuple[str, ...]:
    return ("docker", "exec", "-i", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-d", database, *arguments)


def psql(stack: Stack, statement: str, database: str = "postgres") -> str:
    return stack.command(*in_postgres("-qtAXc", statement, database=database)).strip()


def main() -> None:
    stack = Stack()
    busy = [os.getloadavg()[1]]
    try:
        stack.start_empty(overlay="archiving_on_and_off.yaml")
        wait_for("the first backup", 240, lambda: has_backup(stack))
        # It would find that a part of the log is missing, and make a backup in the midst of a load.
        stack.command("docker", "stop", f"{PROJECT}-backups-1")
        publish_real_months(stack)
        loads = loads_in_turns(stack)
        back_up(stack)
        with committing(stack) as commits:
            stack.webserver.backfill(DAILY_ASSETS, DAYS)
            for month in MONTHS:
                stack.webserver.launch_month(f"{month}-01")
            time.sleep(WORK_SECONDS)
            rto = lose_and_restore(stack)
        busy.append(os.getloadavg()[1])
        kept = float(psql(stack, "select max(at) from commits"))
        size = int(psql(stack, SIZE))
        log(f"back after {rto:.0f} s with {size / 1e9:.2f} GB, without the last {commits[-1] - kept:.1f} s")
        build_missing(stack, metrics=False, seconds=RUN_SECONDS)
        here = built(stack)
        assert all(here[asset] == BUILT[asset] for asset in ("taxi_trips", *DAILY_ASSETS)), here
        assert backups(stack)["failed"] == ""
        fill(stack)
        back_up(stack)
        filled = int(psql(stack, SIZE))
        rto_filled = lose_and_restore(stack)
        busy.append(os.getloadavg()[1])
        figures = {
            "database_gb": round(size / 1e9, 2),
            "load_seconds": {name: median(seconds) for name, seconds in loads.items()},
            "load_with_archiving_share": round(
                median([off / on for on, off in zip(loads["with_archiving"], loads["without"], strict=True)]), 3
            ),
            "rounds": ROUNDS,
            "rpo_seconds": round(commits[-1] - kept, 1),
            "rto_seconds": round(rto, 1),
            "rto_seconds_per_10_gb": round(rto_filled * 10e9 / filled, 1),
            "filled_gb": round(filled / 1e9, 2),
            "load_average": [round(each, 1) for each in busy],
        }
    finally:
        stack.destroy()
    save("backup", figures)


if __name__ == "__main__":
    main()
