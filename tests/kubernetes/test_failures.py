"""The stack in the cluster through failures: every run has an end, what was lost is launched again, nobody helps."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kubernetes.conftest import Cluster
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill
SERVING = ("daemon", "webserver", "dbt-location", "ingestion-location")
QUOTA = "no-jobs"
LOADED_BY = "select run_id from raw_taxis.trip_files where url like '%2023-02%'"


def messages(run: dict[str, Any]) -> str:
    return "\n".join(event.get("message") or "" for event in run["eventConnection"]["events"])


def retries(cluster: Cluster, *run_ids: str) -> list[str]:
    return [run["runId"] for run in cluster.webserver.runs() if run["tags"].get("dagster/root_run_id") in run_ids]


def ends(cluster: Cluster, *run_ids: str) -> list[str]:
    return [cluster.webserver.finished(run_id)["status"] for run_id in run_ids]


@contextlib.contextmanager
def pull_policy(cluster: Cluster, value: str) -> Iterator[None]:
    """The runs of ingestion_location get this pull policy, as the daemon has it."""
    name = "ingestion-location-run-policy"

    def put(value: str) -> None:
        (found,) = [one for one in cluster.get("configmaps") if one["metadata"]["name"] == name]
        policy = json.loads(found["data"]["policy.json"]) | {"image_pull_policy": value}
        patch = json.dumps({"data": {"policy.json": json.dumps(policy)}})
        cluster.kubectl("patch", "configmap", name, "--type", "merge", "--patch", patch)

        def look() -> bool | None:
            return cluster.policy("ingestion_location")["image_pull_policy"] == value or None

        wait_for("the daemon to have the policy", 60, look)

    before = cluster.policy("ingestion_location")["image_pull_policy"]
    put(value)
    try:
        yield
    finally:
        put(before)


@pytest.fixture(scope="module")
def without_image(calm: Cluster) -> str:
    """A run whose node cannot get its image, as there is no registry. It waits while other tests go on."""
    with pull_policy(calm, "Always"):
        run_id = calm.webserver.launch_month("2023-03-01")
        wait_for("the run's pod", 60, lambda: calm.run_pods(run_id) or None)
    return run_id


@dataclass
class CutOff:
    """What was seen of a node that was cut off under a load and under a build of days."""

    cluster: Cluster
    runs: list[str]  # the load and the build
    noticed_seconds: list[float]  # from the cut until Dagster knew that the run is lost
    nodes_of_retries: set[str]
    retries_ended_well: list[bool]


@contextlib.contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    cluster.command("kubectl", "cordon", node)
    try:
        yield
    finally:
        cluster.command("kubectl", "uncordon", node)


@pytest.fixture(scope="module")
def cut(calm: Cluster, without_image: str) -> CutOff:
    # What serves is on node 1, so that the cut takes the runs alone.
    with cordoned(calm, "node2"):
        serving = ("--selector", "app.kubernetes.io/component!=run", "--field-selector", "spec.nodeName=node2")
        calm.kubectl("delete", "pods", *serving)
        calm.ready()
    with calm.source_silent() as silent, contextlib.ExitStack() as locked:
        locked.enter_context(calm.mart_locked())
        with cordoned(calm, "node1"):
            runs = [calm.started_load(), calm.started_build()]
        pods = [pod for run_id in runs for pod in calm.run_pods(run_id)]
        assert [pod["spec"]["nodeName"] for pod in pods] == ["node2", "node2"]
        # The load stands still while it is cut off, so that it goes on where it was. The kubelet, which would end it,
        # stands still until it has written.
        with calm.cut_off("node2"), calm.frozen(calm.part("node2/kubelet")):
            with calm.frozen(calm.processes(pods[0])):
                began = time.time()
                calm.source_answers()
                # The build gets its lock now, and holds it.
                locked.close()
                again = [calm.retry_of(run_id, 150) for run_id in runs]
                lost = {run["runId"]: run["endTime"] for run in calm.webserver.runs()}
                ended = [calm.webserver.ended_well(run_id) for run_id in again]
                nodes = {pod["spec"]["nodeName"] for run_id in again for pod in calm.run_pods(run_id)}
                calm.reconnect("node2")
            silent.set()
            wait_for("the load that was cut off to write", 120, lambda: calm.query(LOADED_BY) == [[runs[0]]] or None)
    return CutOff(calm, runs, [lost[run_id] - began for run_id in runs], nodes, ended)


def test_a_node_that_is_cut_off_under_a_load_and_a_build_is_noticed_within_ninety_seconds(cut: CutOff) -> None:
    assert max(cut.noticed_seconds) < 90


def test_runs_on_a_node_that_is_cut_off_are_launched_again_on_the_other(cut: CutOff) -> None:
    assert cut.nodes_of_retries == {"node1"}
    # A retry of the build waits for the session on the other side of the cut, which ends within about a minute.
    assert cut.retries_ended_well == [True, True]


def test_a_pod_that_was_cut_off_and_writes_when_its_node_is_back_makes_nothing_wrong(cut: CutOff) -> None:
    cut.cluster.check_tables()
    assert cut.cluster.query(LOADED_BY) == [[cut.runs[0]]]


def test_a_pod_that_was_cut_off_is_removed_when_its_node_is_back(cut: CutOff) -> None:
    def look() -> bool | None:
        pods = [pod for run_id in cut.runs for pod in cut.cluster.run_pods(run_id)]
        return "node2" not in {pod["spec"]["nodeName"] for pod in pods} or None

    wait_for("the end of the pods that were cut off", 120, look)


def test_a_run_whose_image_cannot_be_had_fails_with_the_reason_and_leaves_no_job(
    calm: Cluster, without_image: str
) -> None:
    failed = calm.webserver.finished(without_image)
    assert failed["status"] == "FAILURE"
    assert "ErrImagePull" in messages(failed) or "ImagePullBackOff" in messages(failed)
    wait_for("the end of its Job", 60, lambda: not calm.get("jobs", f"dagster/run-id={without_image}") or None)
    # Its retry may be on the node that is cut off meanwhile, and is launched again.
    assert calm.webserver.ended_well(without_image)


def test_a_run_whose_process_is_killed_and_one_whose_pod_is_deleted_are_launched_again(calm: Cluster) -> None:
    with calm.source_silent():
        killed, deleted = (calm.webserver.launch_month(month) for month in ("2023-01-01", "2023-02-01"))
        for run_id in (killed, deleted):
            calm.webserver.step_started(run_id)
        for pid in calm.processes(calm.run_pods(killed)[0]):
            os.kill(pid, signal.SIGKILL)
        (pod,) = calm.run_pods(deleted)
        calm.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        again = [calm.retry_of(run_id, 60) for run_id in (killed, deleted)]
    assert ends(calm, killed, deleted, *again) == ["FAILURE", "FAILURE", "SUCCESS", "SUCCESS"]
    calm.check_tables()


def test_runs_of_both_locations_go_on_while_all_that_serves_is_deleted(calm: Cluster) -> None:
    with calm.source_silent(), calm.mart_locked():
        runs = [calm.started_load(), calm.started_build()]
        for name in SERVING:
            calm.kubectl(
                "delete",
                "pod",
                "--wait=false",
                "--selector",
                f"app.kubernetes.io/name={name},app.kubernetes.io/component!=run",
            )
        calm.ready()
    assert ends(calm, *runs) == ["SUCCESS", "SUCCESS"]
    assert retries(calm, *runs) == []
    calm.check_tables()


def test_postgres_that_dies_under_a_load_and_a_build_comes_back_and_the_tables_are_right(calm: Cluster) -> None:
    with calm.source_silent(), calm.mart_locked():
        load, build = calm.started_load(), calm.started_build()
        # Postgres has no time to end well.
        calm.kubectl("delete", "pod", "postgres-0", "--grace-period=1")
        calm.ready()
    # The load goes on after a short absence of Postgres; where its run is lost, a retry replaces it.
    assert calm.webserver.ended_well(load)
    # A step of the build has failed with its session. Such a run is not retried, as on compose.
    calm.webserver.finished(build)
    calm.check_tables()


def test_a_run_whose_job_is_refused_fails_with_the_reason_and_the_queue_goes_on(calm: Cluster) -> None:
    web = calm.webserver
    with calm.mart_locked():
        running = calm.started_build()
        # They take turns.
        queued = web.launch("dbt_location", ["stg_zones"])
        with no_jobs_by_quota(calm):
            over_quota = web.finished(web.launch_month("2023-01-01"))
        with no_jobs_by_role(calm):
            forbidden = web.finished(web.launch_month("2023-01-01"))
        assert web.status(queued) == "QUEUED"
    assert (over_quota["status"], forbidden["status"]) == ("FAILURE", "FAILURE")
    assert f"exceeded quota: {QUOTA}" in messages(over_quota)
    assert "cannot create resource" in messages(forbidden)
    assert ends(calm, running, queued, web.launch_month("2023-01-01")) == ["SUCCESS", "SUCCESS", "SUCCESS"]


@contextlib.contextmanager
def no_jobs_by_quota(cluster: Cluster) -> Iterator[None]:
    """The namespace has used up its quota of Jobs."""
    cluster.kubectl("create", "quota", QUOTA, "--hard", "count/jobs.batch=0")

    def look() -> bool | None:
        (quota,) = cluster.get("resourcequotas")
        return "used" in quota.get("status", {}) or None

    try:
        wait_for("the quota to be in force", 60, look)
        yield
    finally:
        cluster.kubectl("delete", "quota", QUOTA)


@contextlib.contextmanager
def no_jobs_by_role(cluster: Cluster) -> Iterator[None]:
    """The launcher may create no Jobs."""
    (role,) = cluster.get("roles")
    before = role["rules"]

    def put(rules: list[dict[str, Any]]) -> None:
        cluster.kubectl("patch", "role", "dagster", "--type", "merge", "--patch", json.dumps({"rules": rules}))

    put([rule | {"verbs": [verb for verb in rule["verbs"] if verb != "create"]} for rule in before])
    try:
        yield
    finally:
        put(before)


def test_a_run_that_is_launched_while_the_api_is_away_waits_in_the_queue_and_runs_once(calm: Cluster) -> None:
    web = calm.webserver
    with calm.source_silent(), calm.mart_locked():
        runs = [calm.started_load(), calm.started_build()]
        with calm.api_away():
            runs.append(web.launch_month("2023-03-01"))
            # The daemon has tried for some 40 s by then.
            wait_for("the run to be queued again", 120, lambda: web.times_queued(runs[-1]) > 1 or None)
            assert [web.status(run_id) for run_id in runs[:2]] == ["STARTED", "STARTED"]
            # The daemon may just be trying again.
            assert web.status(runs[2]) in ("QUEUED", "STARTING")
    assert ends(calm, *runs) == ["SUCCESS", "SUCCESS", "SUCCESS"]
    assert retries(calm, *runs) == []
    calm.check_tables()
