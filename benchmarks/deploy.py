"""`make bench-deploy`: what a deploy costs those who use the stack meanwhile. Both locations are deployed in turn.

Under way are: a backfill of the months, whose days automation builds again; launches by hand; the sensors; and callers
who ask both code servers, CALLS_A_SECOND in all. It is measured on the idle machine, and beside a build of images.
"""

import contextlib
import re
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measuring import log, save
from ops.command import ROOT
from ops.locations import DATA_LOCATIONS, tag_variable
from tests.stack.backfill import MONTHS
from tests.stack.conftest import PROJECT, Stack
from tests.stack.webserver import FINISHED, wait_for

CALLS_A_SECOND = 20
LAUNCH_EVERY_SECONDS = 5
ZONES = {"ingestion_location": "taxi_zones", "dbt_location": "stg_zones"}


class Load:
    """Calls both code servers, and launches runs, until the ``with`` ends."""

    def __init__(self, stack: Stack) -> None:
        self._webserver = stack.webserver
        self._over = threading.Event()
        # Of each call: the location, when it began and ended, and whether it was answered.
        self.calls: list[tuple[str, float, float, bool]] = []
        self.launched: list[str] = []
        self.failed_launches = 0
        self._threads = [threading.Thread(target=self._call_all), threading.Thread(target=self._launch_all)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call_all(self) -> None:
        with ThreadPoolExecutor(200) as callers:
            number = 0
            while not self._over.wait(1 / CALLS_A_SECOND):
                callers.submit(self._call, DATA_LOCATIONS[number % 2])
                number += 1

    def _call(self, location: str) -> None:
        began = time.monotonic()
        answered = self._webserver.code_server_answers(location, ZONES[location])
        self.calls.append((location, began, time.monotonic(), answered))

    def _launch_all(self) -> None:
        while not self._over.wait(LAUNCH_EVERY_SECONDS):
            try:
                # Of what people launch, this makes automation launch nothing.
                self.launched.append(self._webserver.launch("dbt_location", ["stg_zones"]))
            except (AssertionError, OSError) as error:
                log(f"a launch failed: {error}")
                self.failed_launches += 1

    def gap_ms(self) -> float:
        """The longest time between two answers of a location with a call between them that failed."""
        gap = 0.0
        for location in DATA_LOCATIONS:
            ended = sorted((end, answered) for where, _, end, answered in self.calls if where == location)
            last, failed = ended[0][0], False
            for end, answered in ended:
                if answered:
                    gap = max(gap, end - last if failed else 0)
                    last, failed = end, False
                failed = failed or not answered
        return round(gap * 1000)


@contextlib.contextmanager
def building(stack: Stack) -> Iterator[None]:
    """Builds the image of dbt_location without a cache, again and again."""
    over = threading.Event()

    def build() -> None:
        while not over.is_set():
            command = ["docker", "build", "--no-cache", "--quiet", str(ROOT / "dbt_location")]
            subprocess.run(command, env=stack.env, capture_output=True)

    thread = threading.Thread(target=build)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(stack: Stack) -> dict[str, float]:
    """Deploys both locations under load, and waits until all that was asked for is done."""
    webserver = stack.webserver
    failed_before = len(webserver.failed_ticks(*DATA_LOCATIONS))
    known = {run["runId"] for run in webserver.runs()}
    seconds = {}
    loaded: dict[str, float] = defaultdict(float)
    backfill = webserver.backfill(["taxi_trips"], [f"{month}-01" for month in MONTHS])
    with Load(stack) as load:
        for location in DATA_LOCATIONS:
            began = time.monotonic()
            printed = stack.command("make", "--no-print-directory", "deploy", f"LOCATION={location}", f"TAG={PROJECT}")
            seconds[location] = round(time.monotonic() - began, 1)
            for service, since in re.findall(r"the (webserver|daemon) .*, ([\d.]+) s after the switch", printed):
                loaded[service] = max(loaded[service], float(since))
            log(f"{location}: deployed in {seconds[location]} s")
    webserver.backfill_runs(backfill, len(MONTHS), 900)

    def done() -> list[dict[str, Any]] | None:
        new = [run for run in webserver.runs() if run["runId"] not in known]
        reports = [run for run in new if "monthly_report" in run["assets"]]
        return new if len(reports) >= len(MONTHS) and all(run["status"] in FINISHED for run in new) else None

    runs = [run for run in wait_for("the end of all runs", 1200, done) if run["runId"] not in load.launched]
    tags = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    requests = [(*run["assets"], *(run["tags"].get(tag) for tag in tags)) for run in runs]
    return {
        "calls": len(load.calls),
        "double_requests": len(requests) - len(set(requests)),
        "failed_calls": sum(not answered for _, _, _, answered in load.calls) + load.failed_launches,
        "failed_ticks": len(webserver.failed_ticks(*DATA_LOCATIONS)) - failed_before,
        "gap_ms": load.gap_ms(),
        "launches": len(load.launched) + load.failed_launches,
        "slowest_call_ms": round(max(end - began for _, began, end, _ in load.calls) * 1000),
        **{f"{location}_seconds": taken for location, taken in seconds.items()},
        **{f"{service}_loaded_after_seconds": since for service, since in loaded.items()},
    }


def main() -> None:
    stack = Stack()
    with tempfile.TemporaryDirectory() as folder:
        try:
            stack.start_empty(TAXI_AUTOMATION="on", TAXI_SOURCE_INTERVAL_SECONDS="10")
            # A deploy writes the tag into the file of settings.
            tags = Path(folder) / "tags.env"
            tags.write_text("".join(f"{name}={stack.env.pop(name)}\n" for name in map(tag_variable, DATA_LOCATIONS)))
            stack.env |= {"COMPOSE_ENV_FILES": str(tags)}

            def built() -> bool | None:
                return stack.webserver.materialized_partitions("monthly_report") == len(MONTHS) or None

            wait_for("three months, their days and metrics", 1200, built)
            figures = {"otherwise_idle": measure(stack)}
            log(str(figures))
            with building(stack):
                figures["beside_a_build"] = measure(stack)
        finally:
            stack.destroy()
    save("deploy", figures)


if __name__ == "__main__":
    main()
