"""`make bench-kubernetes`: 200 runs queued at once on two nodes, and the webserver with 10,000 runs of history.

Automation is off, so there are no other runs. When a run did what is taken from the instance's events, and what
Kubernetes was asked from the counters of its API server.
"""

import argparse
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from benchmarks.measuring import log, median, save
from ops.command import ROOT
from tests.kubernetes.conftest import Cluster, installed, start
from tests.stack.browser import browser
from tests.stack.webserver import Webserver, wait_for

RUNS, HISTORY = 200, 10_000
MONTHS = ("2023-01-01", "2023-02-01", "2023-03-01")
LOCATION = {"zones": "ingestion_location", "load": "ingestion_location", "build": "dbt_location"}
POOL = {"load": "loading", "build": "dbt"}
# Of ten runs in turn, the short ones of both locations, with and without a pool.
MIX = ("zones", "load", "zones", "build", "zones", "load", "zones", "build", "zones", "build")
IN_PROGRESS = ["QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "CANCELING"]
IDLE_SECONDS = 60
# Of an empty place in the queue and of a busy machine.
MOST_SECONDS_A_RUN = 10
PAGES = ("/runs", "/overview", "/assets")
LOADED_SECONDS, ROUNDS = 15, 15
# Each run that succeeded is copied with its tags and its events, as it was some time before. The daemon, which looks
# for runs to try again, takes them for seen: it would read them for ten minutes.
COPY = """
set session_replication_role = replica;
create temporary table copies on commit drop as
select runs.run_id as original, gen_random_uuid()::text as run_id, number * interval '1 hour' as before
from runs cross join generate_series(1, {copies}) as number where status = 'SUCCESS' limit {wanted};
insert into runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, partition, partition_set,
    create_timestamp, update_timestamp, start_time, end_time, backfill_id)
select copies.run_id, snapshot_id, pipeline_name, mode, status, replace(run_body, original, copies.run_id), partition,
    partition_set, create_timestamp - before, update_timestamp - before, start_time - extract(epoch from before),
    end_time - extract(epoch from before), backfill_id
from copies join runs on runs.run_id = original;
insert into run_tags (run_id, key, value)
select copies.run_id, key, value from copies join run_tags on run_tags.run_id = original;
insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
select copies.run_id, replace(event, original, copies.run_id), dagster_event_type, timestamp - before, step_key,
    asset_key, partition
from copies join event_logs on event_logs.run_id = original order by event_logs.id;
update kvs set value = (select max(id) from event_logs) where key like 'EVENT_LOG_CONSUMER_CURSOR-%';
analyze
"""
TIMES = """
select run_id, dagster_event_type as event, count(*) as times, min(extract(epoch from timestamp)) as at from event_logs
where dagster_event_type in ('PIPELINE_ENQUEUED', 'PIPELINE_STARTING', 'PIPELINE_START', 'PIPELINE_SUCCESS')
group by 1, 2
"""
REQUESTS = re.compile(r"apiserver_request_total\{(.*)\} (\S+)")
# Webserver and daemon ask in JSON, Kubernetes' own parts in protobuf.
PLATFORM, KUBERNETES = "of the platform", "of Kubernetes"
RUN = "dagster/run-id"


def launch(webserver: Webserver, number: int) -> tuple[str, str]:
    """Queues a run; returns its id and its kind."""
    kind = MIX[number % len(MIX)]
    if kind == "load":
        return webserver.launch_month(MONTHS[number % len(MONTHS)]), kind
    asset = "taxi_zones" if kind == "zones" else "stg_zones"
    return webserver.launch(LOCATION[kind], [asset]), kind


def ended(webserver: Webserver, runs: int) -> None:
    """Waits until no run is queued or in progress."""
    count = "query ($statuses: [RunStatus!]) { runsOrError(filter: {statuses: $statuses}) { ... on Runs { count } } }"

    def look() -> bool | None:
        return webserver.ask(count, statuses=IN_PROGRESS)["runsOrError"]["count"] == 0 or None

    wait_for("the end of all runs", MOST_SECONDS_A_RUN * max(runs, 12), look)


def requests_so_far(cluster: Cluster) -> Counter[tuple[str, str]]:
    """How often each call of the API was made since the API server started, by who made it, and verb and resource."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in cluster.command("kubectl", "get", "--raw", "/metrics").splitlines():
        if found := REQUESTS.match(line):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
            who = PLATFORM if labels["contentType"].startswith("application/json") else KUBERNETES
            resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
            counted[who, f"{labels['verb']} {resource}"] += int(float(found[2]))
    return counted


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The most spans that have begun and not ended at any moment."""
    changes = sorted(change for begun, over in spans for change in ((begun, 1), (over, -1)))
    return max(itertools.accumulate(change for _, change in changes), default=0)


@dataclass(frozen=True)
class Queue:
    """What was seen of runs that were queued at once.

    Attributes:
        kinds: per run its kind.
        queued_within: seconds until the last one was queued.
        found: per run that was not there before, its status.
        times: per run and event, how often the event was stored, and the first time.
        jobs: the number of Jobs per run.
        nodes: the number of pods per node.
        calls: of the API, by who made them and which, without those that it gets at rest.
        calls_at_rest: of the API, a minute, by who made them.
    """

    kinds: dict[str, str]
    queued_within: float
    found: dict[str, str]
    times: dict[tuple[str, str], tuple[int, float]]
    jobs: Counter[str]
    nodes: Counter[str]
    calls: dict[tuple[str, str], float]
    calls_at_rest: dict[str, float]

    def at(self, run: str, event: str) -> float:
        return self.times[run, f"PIPELINE_{event}"][1]

    def spans(self) -> dict[str, tuple[float, float]]:
        """Per run that succeeded, when it took its place in the queue's limits, and when it gave it back."""
        done = [run for run in self.kinds if (run, "PIPELINE_SUCCESS") in self.times]
        return {run: (self.at(run, "STARTING"), self.at(run, "SUCCESS")) for run in done}


def observe(cluster: Cluster, runs: int) -> Queue:
    """Queues runs at once, and waits for their end."""
    webserver = cluster.webserver
    webserver.finished(webserver.launch("ingestion_location", ["taxi_zones"]))
    # Every kind once, so that both nodes have read the images.
    for number in range(len(MIX)):
        launch(webserver, number)
    ended(webserver, len(MIX))
    earlier = {run["runId"] for run in webserver.runs()}
    log(f"the API at rest, over {IDLE_SECONDS} s")
    first, began = requests_so_far(cluster), time.monotonic()
    time.sleep(IDLE_SECONDS)
    before, loaded = requests_so_far(cluster), time.monotonic()
    at_rest = loaded - began
    with ThreadPoolExecutor(4) as pool:
        kinds = dict(pool.map(lambda number: launch(webserver, number), range(runs)))
    queued_within = time.monotonic() - loaded
    log(f"{runs} runs were queued within {queued_within:.0f} s")
    ended(webserver, runs)
    after, elapsed = requests_so_far(cluster), time.monotonic() - loaded
    times = {(run, event): (number, float(at)) for run, event, number, at in cluster.query(TIMES, "dagster")}
    pods = [pod for pod in cluster.get("pods", RUN) if pod["metadata"]["labels"][RUN] in kinds]
    return Queue(
        kinds,
        queued_within,
        {run["runId"]: run["status"] for run in webserver.runs() if run["runId"] not in earlier},
        {key: value for key, value in times.items() if key[0] in kinds},
        Counter(job["metadata"]["labels"][RUN] for job in cluster.get("jobs", RUN)),
        Counter(pod["spec"]["nodeName"] for pod in pods),
        {call: after[call] - before[call] - (before[call] - first[call]) * elapsed / at_rest for call in after},
        {
            who: round(60 * sum(before[call] - first[call] for call in before if call[0] == who) / at_rest, 1)
            for who in (PLATFORM, KUBERNETES)
        },
    )


def most_in_progress(queue: Queue) -> dict[str, int]:
    """The most runs in progress at any moment: of all, of a location, of a pool."""
    groups: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for run, span in queue.spans().items():
        kind = queue.kinds[run]
        for group in filter(None, ("all", LOCATION[kind], POOL.get(kind))):
            groups[group].append(span)
    return {group: most_at_once(spans) for group, spans in groups.items()}


def limits() -> dict[str, int]:
    """The most runs that may be in progress, by the groups of most_in_progress()."""
    allowed = yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]
    (of_location,) = allowed["runs"]["tag_concurrency_limits"]
    return {
        "all": allowed["runs"]["max_concurrent_runs"],
        **dict.fromkeys(LOCATION.values(), of_location["limit"]),
        "dbt": allowed["pools"]["default_limit"],
        # As services/migrate/instance.py sets it.
        "loading": 2,
    }


def wrong(queue: Queue) -> list[str]:
    """What must not be: a run that was lost, made twice or did not succeed, and a limit that was not held."""
    found = [f"{run}: {status}" for run, status in queue.found.items() if status != "SUCCESS"]
    found += [f"{run}: lost" for run in queue.kinds.keys() - queue.found.keys()]
    found += [f"{run}: nobody launched it" for run in queue.found.keys() - queue.kinds.keys()]
    found += [f"{run}: {queue.jobs[run]} Jobs" for run in queue.kinds if queue.jobs[run] != 1]
    found += [f"{run}: {event} {times} times" for (run, event), (times, _) in queue.times.items() if times != 1]
    most = most_in_progress(queue)
    return found + [
        f"{group}: {most[group]} at once, {limits()[group]} are allowed"
        for group in most
        if most[group] > limits()[group]
    ]


def in_queue(queue: Queue) -> dict[str, Any]:
    spans, runs = queue.spans(), len(queue.kinds)
    seconds = max(over for _, over in spans.values()) - min(begun for begun, _ in spans.values())
    per_run: dict[str, dict[str, float]] = {}
    for who in (PLATFORM, KUBERNETES):
        calls = {call: number / runs for (by, call), number in queue.calls.items() if by == who}
        often = {call: round(number, 1) for call, number in calls.items() if number >= 0.1}
        per_run[who] = {"all": round(sum(calls.values()), 1)} | often
    return {
        "api_calls_at_rest_per_minute": queue.calls_at_rest,
        "api_calls_per_run": per_run,
        "kinds": Counter(queue.kinds.values()),
        "mean_in_progress": round(sum(over - begun for begun, over in spans.values()) / seconds, 2),
        "most_in_progress": most_in_progress(queue),
        "pods_on_nodes": queue.nodes,
        "queued_within_seconds": round(queue.queued_within),
        "runs": runs,
        "runs_per_minute": round(60 * len(spans) / seconds, 1),
        "seconds_in_progress": {
            kind: median([over - begun for run, (begun, over) in spans.items() if queue.kinds[run] == kind])
            for kind in LOCATION
        },
        "seconds_in_queue": spread([queue.at(run, "STARTING") - queue.at(run, "ENQUEUED") for run in spans]),
        "seconds_until_first_event": spread([queue.at(run, "START") - queue.at(run, "STARTING") for run in spans]),
        "wrong": wrong(queue),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    return {
        "median": median(values),
        "p95": round(statistics.quantiles(values, n=20)[-1], 2),
        "most": round(max(values), 2),
    }


def asked_by(url: str, page: str) -> dict[str, str]:
    """Each request that a page of the UI makes in a browser while it loads, by the name of its operation."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as tab:
        tab.call("Network.enable")
        tab.open(f"{url}{page}")
        ends = time.monotonic() + LOADED_SECONDS
        while time.monotonic() < ends:
            time.sleep(0.5)
            tab.run("1")
    return {json.loads(body)["operationName"]: body for _, body in tab.posts}


def milliseconds(url: str, pages: dict[str, dict[str, str]]) -> dict[str, dict[str, float]]:
    """Per page and operation the median of what its request takes."""
    with requests.Session() as http:
        http.trust_env = False
        http.headers.update({"Content-Type": "application/json", "Origin": url})

        def answered(body: str) -> float:
            began = time.perf_counter()
            answer = http.post(f"{url}/graphql", body, timeout=300)
            took = (time.perf_counter() - began) * 1000
            assert "errors" not in answer.json(), answer.text[:500]
            return took

        return {
            page: {name: median([answered(body) for _ in range(ROUNDS)]) for name, body in bodies.items()}
            for page, bodies in pages.items()
        }


def status_seconds(cluster: Cluster) -> float:
    def once() -> float:
        began = time.perf_counter()
        shown = cluster.make("status")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        return time.perf_counter() - began

    return median([once() for _ in range(5)])


def add_history(cluster: Cluster) -> None:
    """Adds copies of the runs until the history has enough."""
    ((runs, done),) = cluster.query(
        "select count(*) as runs, count(*) filter (where status = 'SUCCESS') as done from runs", "dagster"
    )
    wanted = HISTORY - runs
    cluster.as_superuser("dagster", COPY.format(copies=-(-wanted // done), wanted=wanted))


def history(cluster: Cluster) -> dict[str, Any]:
    """What the UI asks for and `make status`, before and after the history has grown."""
    url = cluster.webserver.url
    pages = {page: asked_by(url, page) for page in PAGES}
    shown: dict[str, Any] = {}
    for when in ("before", "after"):
        if when == "after":
            add_history(cluster)
        ((runs, events),) = cluster.query(
            "select (select count(*) from runs) as runs, (select count(*) from event_logs) as events", "dagster"
        )
        shown[when] = {
            "events": events,
            "milliseconds": milliseconds(url, pages),
            "pods": len(cluster.get("pods")),
            "runs": runs,
            "status_seconds": status_seconds(cluster),
        }
        log(f"{when}: {json.dumps(shown[when])}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    with (
        tempfile.TemporaryDirectory() as folder,
        installed(start(), Path(folder), TAXI_AUTOMATION="off") as cluster,
    ):
        figures = in_queue(observe(cluster, runs))
        save("kubernetes", figures)
        figures["history"] = history(cluster)
    save("kubernetes", figures)
    sys.exit("\n".join(figures["wrong"]) or None)


if __name__ == "__main__":
    main()
