"""`make bench-backup`: what archiving costs a load, and what is lost and how long it takes when Postgres is lost.

Three months of real size are loaded without and with the archive. Then, while they are loaded again and their days are
built, the container and the volume of Postgres are destroyed, and the stack is restored.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from benchmarks import yellow
from benchmarks.measuring import log, median, save
from benchmarks.runs import phases
from tests.stack.backfill import BUILT, DAILY_ASSETS, DAYS, MONTHS, build_missing, built
from tests.stack.conftest import PROJECT, Stack
from tests.stack.test_backup_moment import backups, has_backup, lose_postgres, restore
from tests.stack.webserver import wait_for

ROWS = 3_066_766
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


def load_seconds(stack: Stack) -> float:
    """Loads the months one after the other; the median of the seconds of their steps."""
    seconds = []
    for month in MONTHS:
        requested = time.time()
        run_id = stack.webserver.launch_month(f"{month}-01")
        assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
        times = phases(stack, requested, run_id)
        seconds.append(times["step_ended"] - times["step_started"])
    return median(seconds)


@contextmanager
def committing(stack: Stack) -> Iterator[list[float]]:
    """Commits the time, four times a second, and yields the times that are committed; it ends when Postgres does."""
    stack.command(*in_postgres("-c", "create table commits (at double precision)"))
    commits: list[float] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(in_postgres("-qtAX"), stdin=pipe, stdout=pipe, stderr=pipe, text=True) as psql:
        assert psql.stdin is not None
        assert psql.stdout is not None
        to_psql, from_psql = psql.stdin, psql.stdout

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
        yield commits
        thread.join()
        with suppress(BrokenPipeError):
            to_psql.close()


def in_postgres(*arguments: str) -> tuple[str, ...]:
    return ("docker", "exec", "-i", f"{PROJECT}-postgres-1", "psql", "-U", "postgres", "-d", "postgres", *arguments)


def main() -> None:
    stack = Stack()
    try:
        stack.start_empty(overlay="no_archiving.yaml")
        publish_real_months(stack)
        without = load_seconds(stack)
        stack.start()
        # It has found no archive, and would wait before it tries again.
        stack.command("docker", "restart", f"{PROJECT}-backups-1")
        wait_for("the first backup", 240, lambda: has_backup(stack))
        archived = load_seconds(stack)
        log(f"a load takes {without} s without the archive and {archived} s with it")
        with committing(stack) as commits:
            stack.webserver.backfill(DAILY_ASSETS, DAYS)
            for month in MONTHS:
                stack.webserver.launch_month(f"{month}-01")
            time.sleep(WORK_SECONDS)
            lose_postgres(stack)
        lost = time.time()
        log(restore(stack))
        back = time.time()
        kept = float(stack.command(*in_postgres("-qtAXc", "select max(at) from commits")))
        size = stack.command(*in_postgres("-qtAXc", "select sum(pg_database_size(oid)) from pg_database"))
        build_missing(stack, metrics=False)
        here = built(stack)
        assert all(here[asset] == BUILT[asset] for asset in ("taxi_trips", *DAILY_ASSETS)), here
        assert backups(stack)["failed"] == ""
        figures = {
            "database_gb": round(int(size) / 1e9, 2),
            "load_seconds": {"with_archiving": archived, "without": without},
            "load_with_archiving_share": round(without / archived, 3),
            "rpo_seconds": round(commits[-1] - kept, 1),
            "rto_seconds": round(back - lost, 1),
        }
    finally:
        stack.destroy()
    save("backup", figures)


if __name__ == "__main__":
    main()
