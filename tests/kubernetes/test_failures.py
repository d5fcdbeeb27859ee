"""The stack in a cluster through failures: after each one the runs end, the tables are right, and nobody had to help."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.kubernetes.conftest import TAG, Cluster
from tests.stack.backfill import DAILY_ASSETS
from tests.stack.webserver import FINISHED, wait_for

pytestmark = pytest.mark.drill
ONE_DAY = {"dagster/partition": "2023-01-01"}
NO_JOBS = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "no-jobs"},
    "spec": {"hard": {"count/jobs.batch": "0"}},
}
NO_CREATE = [{"op": "replace", "path": "/rules/0/verbs", "value": ["get", "list", "delete"]}]
MAY_CREATE = [{"op": "replace", "path": "/rules/0/verbs", "value": ["create", "get", "list", "delete"]}]
# A queued run of dbt_location that has another image of its policy.
QUEUE = """
import sys, uuid
from dagster import DagsterInstance, DagsterRunStatus
with DagsterInstance.get() as instance:
    like = next(run for run in instance.get_runs(limit=50) if run.remote_job_origin.location_name == "dbt_location")
    code = like.job_code_origin.repository_origin._replace(container_image=sys.argv[1])
    run = like._replace(
        run_id=str(uuid.uuid4()), status=DagsterRunStatus.QUEUED, tags={"dagster/max_retries": "0"},
        run_op_concurrency=None,
        job_code_origin=like.job_code_origin._replace(repository_origin=code),
    )
    instance.add_run(run)
    print(run.run_id)
"""


@pytest.fixture(scope="module")
def without_image(calm: Cluster) -> str:
    """A run whose image was deployed and is on no node any more; it fails after the time that a run may take to start."""
    gone = f"dbt_location:{TAG}-gone"
    policy = json.loads(calm.kubectl("get", "configmap", "dbt-location-run-policy", "--output", "json"))["data"]
    content = json.loads(policy["policy.json"])
    patch = ("patch", "configmap", "dbt-location-run-policy", "--type", "merge", "--patch")
    changed = content | {"images": [*content["images"], gone]}
    calm.kubectl(*patch, json.dumps({"data": {"policy.json": json.dumps(changed)}}))
    try:
        wait_for("the policy", 60, lambda: gone in calm.images_of_runs("dbt_location") or None)
        run_id = calm.kubectl("exec", "deploy/daemon", "-c", "daemon", "--", "python", "-c", QUEUE, gone).split()[-1]
        wait_for("the Job", 60, lambda: calm.run_pods(run_id) or None)
    finally:
        calm.kubectl(*patch, json.dumps({"data": policy}))
    return run_id


@pytest.fixture
def failing(calm: Cluster, without_image: str) -> Cluster:
    """The cluster with everything calm. The run without an image waits beside all failures, as it takes long."""
    return calm


def failures(cluster: Cluster, run_id: str) -> str:
    """What the page of a run says of its failure."""
    events = cluster.webserver.run(run_id)["eventConnection"]["events"]
    return "\n".join(event.get("message") or "" for event in events)


@dataclass
class InFlight:
    """Runs of both locations during which what serves was killed, one after the other."""

    cluster: Cluster
    statuses: dict[str, list[str]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)


SERVING = {
    "daemon": "app.kubernetes.io/name=daemon",
    "webserver": "app.kubernetes.io/name=webserver",
    "code servers": "app.kubernetes.io/component=code-server",
}


@pytest.fixture(scope="module")
def in_flight(calm: Cluster, without_image: str) -> InFlight:
    seen = InFlight(calm)
    with calm.source_silent(), calm.mart_locked():
        runs = [calm.started_load(), calm.started_build()]
        for name, selector in SERVING.items():
            calm.kill(selector)
            seen.statuses[name] = [calm.webserver.status(run) for run in runs]
    seen.ends = [calm.webserver.finished(run)["status"] for run in runs]
    return seen


@pytest.mark.parametrize("name", SERVING)
def test_runs_in_flight_go_on_while_what_serves_is_killed(in_flight: InFlight, name: str) -> None:
    assert in_flight.statuses[name] == ["STARTED", "STARTED"]


def test_runs_in_flight_end_well_after_what_serves_was_killed(in_flight: InFlight) -> None:
    assert in_flight.ends == ["SUCCESS", "SUCCESS"]
    in_flight.cluster.check_tables()


def test_postgres_that_is_killed_under_a_load_and_a_build_comes_back_and_both_get_done(failing: Cluster) -> None:
    with failing.source_silent():
        load = failing.started_load()
        with failing.mart_locked():
            build = failing.started_build()
            failing.kill("app.kubernetes.io/name=postgres")
    assert failing.ended_well(load)
    # dbt's step may fail with its connection: such a run is not retried, as on compose. It ends, and can be repeated.
    failing.webserver.finished(build)
    again = failing.webserver.launch("dbt_location", DAILY_ASSETS, **ONE_DAY)
    assert failing.webserver.finished(again)["status"] == "SUCCESS"
    failing.check_tables()


def test_a_run_whose_pod_is_killed_is_launched_again(failing: Cluster) -> None:
    with failing.source_silent():
        run_id = failing.started_load()
        failing.kubectl("delete", "pod", "--selector", f"dagster/run-id={run_id}", "--grace-period=0", "--force")
        retry = failing.retry_of(run_id, 60)
    assert failing.webserver.finished(retry)["status"] == "SUCCESS"
    failing.check_tables()


def test_runs_end_well_after_the_api_was_away_for_a_minute(failing: Cluster) -> None:
    with failing.source_silent():
        running = failing.started_load()
        with failing.without_api():
            queued = failing.webserver.launch("dbt_location", DAILY_ASSETS, **ONE_DAY)
            time.sleep(60)
    assert failing.ended_well(running)
    assert failing.ended_well(queued)
    failing.check_tables()


@dataclass
class Refused:
    """Runs whose Jobs Kubernetes did not create, beside runs that wait in the queue."""

    cluster: Cluster
    quota: str
    forbidden: str
    waiting: str
    status_of_waiting: str


@pytest.fixture(scope="module")
def refused(calm: Cluster, without_image: str) -> Refused:
    webserver = calm.webserver

    def failed() -> str:
        run_id = webserver.launch("dbt_location", ["stg_zones"])
        webserver.finished(run_id)
        return run_id

    with calm.source_silent():
        # The pool of the loads has two places.
        running = [webserver.launch_month(f"2023-0{month}-01") for month in (1, 2)]
        for run_id in running:
            webserver.started(run_id)
        waiting = webserver.launch_month("2023-03-01")
        calm.kubectl("create", "--filename", "-", stdin=json.dumps(NO_JOBS))
        try:
            # The quota counts the Jobs that are there first.
            counted = ("get", "resourcequota", "no-jobs", "--output", "jsonpath={.status.used}")
            wait_for("the quota", 60, lambda: calm.kubectl(*counted) or None)
            quota = failed()
        finally:
            calm.kubectl("delete", "resourcequota", "no-jobs")
        calm.kubectl("patch", "role", "dagster", "--type", "json", "--patch", json.dumps(NO_CREATE))
        try:
            forbidden = failed()
        finally:
            calm.kubectl("patch", "role", "dagster", "--type", "json", "--patch", json.dumps(MAY_CREATE))
        status = webserver.status(waiting)
    return Refused(calm, quota, forbidden, waiting, status)


def test_a_run_beyond_the_quota_fails_with_the_reason(refused: Refused) -> None:
    assert refused.cluster.webserver.status(refused.quota) == "FAILURE"
    assert "exceeded quota: no-jobs" in failures(refused.cluster, refused.quota)


def test_a_run_whose_job_is_forbidden_fails_with_the_reason(refused: Refused) -> None:
    assert refused.cluster.webserver.status(refused.forbidden) == "FAILURE"
    assert "cannot create resource" in failures(refused.cluster, refused.forbidden)


def test_queued_runs_wait_while_jobs_are_refused_and_are_launched_then(refused: Refused) -> None:
    assert refused.status_of_waiting == "QUEUED"
    assert refused.cluster.webserver.finished(refused.waiting)["status"] == "SUCCESS"
    refused.cluster.check_tables()


@dataclass
class Cut:
    """A load and a build whose node was cut off, their retries, and when these were launched."""

    cluster: Cluster
    runs: list[str]
    retries: list[str]
    nodes: list[str]
    ends: list[str]


@pytest.fixture(scope="module")
def cut(calm: Cluster, without_image: str) -> Cut:
    # What serves is on node 1, so that the cut takes the runs alone.
    with cordoned(calm, "node2"):
        for pod in calm.get("pods", "app.kubernetes.io/component!=run"):
            if pod["spec"].get("nodeName") == "node2":
                calm.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
        wait_for("node 2 to be empty", 120, lambda: is_empty(calm, "node2") or None)
        calm.ready()
    with calm.source_silent(), calm.mart_locked():
        with cordoned(calm, "node1"):
            runs = [calm.started_load(), calm.started_build()]
        assert {pod["spec"]["nodeName"] for run in runs for pod in calm.run_pods(run)} == {"node2"}
        with calm.cut_off("node2"):
            retries = [calm.retry_of(run, 90) for run in runs]
            for retry in retries:
                calm.webserver.step_started(retry)
            nodes = [pod["spec"]["nodeName"] for retry in retries for pod in calm.run_pods(retry)]
    ends = [calm.webserver.finished(retry)["status"] for retry in retries]
    return Cut(calm, runs, retries, nodes, ends)


@contextlib.contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    cluster.command("kubectl", "cordon", node)
    try:
        yield
    finally:
        cluster.command("kubectl", "uncordon", node)


def is_empty(cluster: Cluster, node: str) -> bool:
    """Whether no pod that serves is on a node."""
    pods = cluster.get("pods", "app.kubernetes.io/component!=run")
    return all(pod["spec"].get("nodeName") != node for pod in pods)


def test_a_load_and_a_build_on_a_node_that_is_cut_off_are_launched_again_on_the_other(cut: Cut) -> None:
    assert cut.nodes == ["node1", "node1"]
    assert cut.ends == ["SUCCESS", "SUCCESS"]


def test_the_pods_that_were_cut_off_end_when_their_node_is_back_and_the_tables_are_right(cut: Cut) -> None:
    def gone() -> bool | None:
        pods = [pod for run in cut.runs for pod in cut.cluster.run_pods(run)]
        return all(pod["spec"]["nodeName"] != "node2" for pod in pods) or None

    wait_for("the end of the pods that were cut off", 120, gone)
    cut.cluster.check_tables()


def test_a_run_whose_image_is_missing_fails_with_the_reason(calm: Cluster, without_image: str) -> None:
    def ended() -> bool | None:
        return calm.webserver.status(without_image) in FINISHED or None

    wait_for("the end of the run without an image", 200, ended)
    assert calm.webserver.status(without_image) == "FAILURE"
    said = failures(calm, without_image)
    assert f"dbt_location:{TAG}-gone" in said
    assert "ErrImagePull" in said or "ImagePullBackOff" in said
