"""`make soak`: many runs on the live stack while random parts are killed; then, what is wrong or was left behind.

The seed decides what is launched, what is killed, and after which launch. Which moment of a run a kill meets depends on
the machine.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tests.independent import RightAnswers
from tests.stack import left
from tests.stack.backfill import DAILY_ASSETS, DAYS, METRICS, MONTHS, build_missing
from tests.stack.conftest import PROJECT, Stack
from tests.stack.kills import SOONER, START_SOONER, die, start_impatient
from tests.stack.left import Sample, still, tried
from tests.stack.webserver import FINISHED, MAX_RETRIES, wait_for

SETTINGS = {
    "HOUSEKEEPING": "on",
    "REAP_INTERVAL_SECONDS": "10",
    "REAP_SUCCEEDED_AFTER_SECONDS": "0",
    "REAP_FAILED_AFTER_SECONDS": "60",
}
RUN = "a run"
POSTGRES_RESTARTED = "postgres (restarted)"
# All parts are killed before one is killed again, and a run as often as five of the others.
PARTS = [
    *[RUN] * 5,
    *("ingestion_location", "dbt_location", "platform_location", "daemon", "webserver", "door", "postgres"),
    *("docker-proxy", "housekeeping-proxy", "alerts-proxy"),
    *("ingestion_location_gateway", "dbt_location_gateway", "platform_location_gateway"),
    *("reports", "alerts", "backups", "volume_backups", POSTGRES_RESTARTED),
]
# So many runs are queued or in progress; dagster.yaml lets four of them run.
IN_FLIGHT = 12
# Builds run one at a time, and a busy machine needs half a minute for one.
SECONDS_IN_FLIGHT = 50
UNFINISHED = ["NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING"]
# How much the memory of a service may grow, in MB (10^6 bytes) per 100 runs.
GROWTH = 10.0
SAMPLE_EVERY = 10
RUNS_PER_KILL = 8
# A service that has just started grows until everything is imported and its connections are open.
WARM_SECONDS = 120


class Work(NamedTuple):
    """A run to launch."""

    location: str
    assets: list[str]
    tags: dict[str, str]


class Kill(NamedTuple):
    """A part to kill; ``which`` from 0 to 1 chooses among the runs."""

    part: str
    seconds_after: float
    which: float


def plan(seed: int, runs: int, runs_per_kill: int) -> Iterator[Work | Kill]:
    """What is launched and killed, in order."""
    chance = random.Random(seed)
    bag: list[str] = []
    for _ in range(runs):
        yield _work(chance)
        if chance.randrange(runs_per_kill) == 0:
            bag = bag or chance.sample(PARTS, len(PARTS))
            yield Kill(bag.pop(), chance.uniform(0, 4), chance.random())


def _work(chance: random.Random) -> Work:
    """A load or a build of something that is there already. What takes less time comes more often.

    Metrics are none of it: they refuse a month whose days are older than its trips.
    """
    month = date.fromisoformat(f"{chance.choice(MONTHS)}-01")
    first = month + timedelta(days=chance.randrange(20))
    last = first + timedelta(days=chance.randrange(8))
    partition = {"dagster/partition": f"{month}"}
    window = {"dagster/asset_partition_range_start": f"{first}", "dagster/asset_partition_range_end": f"{last}"}
    kinds = [
        (6, Work("ingestion_location", ["taxi_trips"], partition)),
        (4, Work("ingestion_location", ["taxi_zones"], {})),
        (3, Work("dbt_location", DAILY_ASSETS, window)),
        (1, Work("dbt_location", ["stg_zones"], {})),
    ]
    return chance.choices([work for _, work in kinds], [weight for weight, _ in kinds])[0]


@dataclass
class Soak:
    """What is done to a stack with three months, their days and metrics, and what is seen meanwhile.

    Attributes:
        asked: the work of each run that was launched.
        kills: for each kill, how many runs had been launched, and the part.
        memory: samples of each service.
        problems: what should not be.
    """

    stack: Stack
    right: RightAnswers
    before: left.Rest
    runs_before: set[str]
    asked: dict[str, Work] = field(default_factory=dict)
    kills: list[tuple[int, str]] = field(default_factory=list)
    memory: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)

    def launch(self, work: Work) -> str:
        """Launches a run as soon as there is room and the services are back."""
        room = tried(lambda: unfinished(self.stack) < IN_FLIGHT or None)
        wait_for("room for another run", 300, room)
        launched = tried(lambda: self.stack.webserver.launch(work.location, work.assets, **work.tags))
        run_id = wait_for(f"the launch of {work.assets[0]}", 300, launched)
        self.asked[run_id] = work
        return run_id

    def kill(self, kill: Kill) -> None:
        """Kills a part that runs. If no run does, none is killed."""
        time.sleep(kill.seconds_after)
        if kill.part == RUN:
            running = ("docker", "ps", "--quiet", "--filter", f"label=project={PROJECT}")

            def kill_run() -> bool | None:
                if runs := self.stack.command(*running).split():
                    die(self.stack, runs[int(kill.which * len(runs))])
                    return True
                return False if unfinished(self.stack) == 0 else None

            if not wait_for("a run to kill", 120, tried(kill_run)):
                return
        elif kill.part == POSTGRES_RESTARTED:
            self.stack.command("docker", "restart", f"{PROJECT}-postgres-1")
        else:
            # It may be starting again since it was killed last.
            def kill_service() -> bool:
                die(self.stack, f"{PROJECT}-{kill.part}-1")
                return True

            wait_for(f"{kill.part} to run", 120, tried(kill_service))
        self.kills.append((len(self.asked), kill.part))
        log(f"after {len(self.asked)} runs: {kill.part}")

    def sample(self) -> None:
        """Samples the memory of the services that have run for a while."""
        for service, used in left.memory(self.stack).items():
            started = self.stack.inspect(f"{PROJECT}-{service}-1")[0]["State"]["StartedAt"]
            # Docker writes nanoseconds, Python reads microseconds.
            age = datetime.now(UTC) - datetime.fromisoformat(started[:26].rstrip("Z") + "+00:00")
            if age.total_seconds() > WARM_SECONDS:
                self.memory[service].append(Sample(started, len(self.asked), used))

    def run(self, steps: Iterator[Work | Kill], seconds: float) -> None:
        """Takes the steps, as far as the time allows, and then waits for the end of all runs."""
        deadline = time.monotonic() + seconds
        for step in steps:
            if time.monotonic() > deadline:
                log("The time is over.")
                break
            if isinstance(step, Kill):
                self.kill(step)
            else:
                self.launch(step)
                if len(self.asked) % SAMPLE_EVERY == 0:
                    self.sample()
        ended = tried(lambda: unfinished(self.stack) == 0 or None)
        wait_for("the end of all runs", SECONDS_IN_FLIGHT * IN_FLIGHT, ended)

    def runs(self) -> list[dict[str, Any]]:
        """The runs since the beginning, the oldest first. A launch that seemed to fail may have made one, too."""
        return [run for run in reversed(self.stack.webserver.runs()) if run["runId"] not in self.runs_before]

    def lineages(self) -> list[list[dict[str, Any]]]:
        """Each run that was launched, with its retries."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run in self.runs():
            found[run["tags"].get("dagster/root_run_id", run["runId"])].append(run)
        return list(found.values())

    def judge(self) -> None:
        """Finds what should not be, once everything has ended."""
        self.problems += still(120, lambda: [f"run {run['runId']} is {run['status']}" for run in self._in_limbo()])
        self.problems += still(120, self._not_retried)
        self.problems += self._wrong_tables()
        self.problems += left.left(self.stack, self.before)
        self.problems += still(120, self._unhealthy)
        again = {self.launch(self.asked[root]): root for root in self._failed() if root in self.asked}
        for run_id in again:
            if self.stack.webserver.finished(run_id)["status"] != "SUCCESS":
                self.problems.append(f"run {run_id}, which repeats run {again[run_id]}, failed")
        self.problems += self._wrong_tables()
        for service, (rise, error) in self.slopes().items():
            if rise - 2 * error > GROWTH:
                self.problems.append(f"the memory of {service} grows by {rise:.1f} MB per 100 runs")

    def slopes(self) -> dict[str, tuple[float, float]]:
        """For each service the growth of its memory in MB per 100 runs, and the standard error."""
        return {service: left.slope(samples) for service, samples in sorted(self.memory.items())}

    def _in_limbo(self) -> list[dict[str, Any]]:
        return [run for run in self.runs() if run["status"] not in FINISHED]

    def _failed(self) -> list[str]:
        return [lineage[0]["runId"] for lineage in self.lineages() if lineage[-1]["status"] != "SUCCESS"]

    def _not_retried(self) -> list[str]:
        """Runs that were lost, and whose retries are not used up. A step that fails by itself is not retried."""
        lost = []
        for lineage in self.lineages():
            run = lineage[-1]
            if run["status"] != "SUCCESS" and len(lineage) <= MAX_RETRIES:
                events = self.stack.webserver.run(run["runId"])["eventConnection"]["events"]
                if not any(event["__typename"] == "ExecutionStepFailureEvent" for event in events):
                    lost.append(f"run {run['runId']} of {run['assets'][0]} is {run['status']} and was not retried")
        return lost

    def _wrong_tables(self) -> list[str]:
        try:
            self.stack.check_days(self.right)
            self.stack.check_months(self.right)
        except AssertionError as error:
            return [f"a table is wrong: {str(error)[:2000]}"]
        return []

    def _unhealthy(self) -> list[str]:
        return [
            f"{name} is {service['State']} {service['Health']}"
            for name, service in self.stack.services().items()
            if service["State"] == "running" and service["Health"] not in ("healthy", "")
        ]

    def report(self) -> str:
        """What was done and seen, as text."""
        lineages = self.lineages()
        ends = Counter(run["status"] for run in self.runs())
        number, size = left.orphans(self.stack)
        lines = [
            f"{len(self.asked)} runs launched; with retries and repetitions: {dict(ends)}",
            f"{sum(len(lineage) > 1 for lineage in lineages)} were retried",
            f"{len(self.kills)} kills: {dict(Counter(part for _, part in self.kills).most_common())}",
            f"files of tables that crashes of Postgres left: {number}, {size / 1e6:.1f} MB",
            "memory, in MB (10^6 bytes):",
        ]
        for service, (rise, error) in self.slopes().items():
            samples = [sample.megabytes for sample in self.memory[service]]
            few = f"too few samples ({len(samples)})"
            grows = few if error == float("inf") else f"{rise:+.1f} ± {2 * error:.1f} per 100 runs"
            lines.append(f"  {service}: {statistics.mean(samples):.0f}, {grows}; allowed {GROWTH:.0f}")
        return "\n".join([*lines, *(f"PROBLEM: {problem}" for problem in self.problems)])


def begin(stack: Stack, folder: Path) -> Soak:
    """Builds everything on a stack that runs, and looks at it at rest."""
    stack.once("three months", lambda: build_missing(stack, metrics=False))
    # Other tests may have loaded months again, and the metrics refuse days that are older than their trips.
    runs = stack.webserver.backfill_runs(stack.webserver.backfill(DAILY_ASSETS, DAYS))
    assert [run["status"] for run in runs] == ["SUCCESS"]
    for month in MONTHS:
        run_id = stack.webserver.launch("dbt_location", METRICS, **{"dagster/partition": f"{month}-01"})
        assert stack.webserver.finished(run_id)["status"] == "SUCCESS"
    wait_for("rest", 120, tried(lambda: unfinished(stack) == 0 or None))
    ids = {run["runId"] for run in stack.webserver.runs()}
    return Soak(stack, stack.right_answers(folder, *MONTHS), left.at_rest(stack), ids)


def soak(stack: Stack, folder: Path, seed: int, runs: int, seconds: float, runs_per_kill: int) -> Soak:
    """Soaks a stack that runs with SETTINGS; ``folder`` is for the files of the source."""
    made = begin(stack, folder)
    try:
        made.run(plan(seed, runs, runs_per_kill), seconds)
        made.judge()
    except TimeoutError as error:
        made.problems.append(f"{error}")
    log(made.report())
    return made


def unfinished(stack: Stack) -> int:
    """The number of runs that have not ended."""
    query = "query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { count } } }"
    return int(stack.webserver.ask(query, filter={"statuses": UNFINISHED})["runsOrError"]["count"])


def log(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs-per-kill", type=int, default=RUNS_PER_KILL)
    given = parser.parse_args()
    log(f"RUNS={given.runs} SEED={given.seed}, at most {given.minutes:.0f} minutes")
    stack = Stack()
    with tempfile.TemporaryDirectory() as folder:
        try:
            start_impatient(stack, SOONER | START_SOONER, **SETTINGS)
            made = soak(stack, Path(folder), given.seed, given.runs, 60 * given.minutes, given.runs_per_kill)
        finally:
            stack.destroy()
    sys.exit(bool(made.problems))


if __name__ == "__main__":
    main()
