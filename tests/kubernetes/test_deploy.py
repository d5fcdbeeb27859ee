"""Deploys of one location in the cluster, by the commands of the compose stack."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ops.deploy.records import DEPLOYED, REFUSED, RESTORED, Record, from_lines
from tests.kubernetes.conftest import ASSETS, ENSURE, TAG, Cluster
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill
LOCATION = "dbt_location"
OTHERS = ("platform", "postgres", "ingestion-location", "platform-location")
NEXT = f"{TAG}-next"
# Each is an image of dbt_location with one line more.
BROKEN = {
    "next": "",
    "unloadable": "RUN echo import nowhere >>src/dbt_location/definitions.py",
    "needy": "ENV TAXI_START_DATE=2022-01-01",
    "silent": 'ENTRYPOINT ["false"]',
}


@pytest.fixture(scope="module")
def images(calm: Cluster) -> Cluster:
    """The cluster with images of other versions on its nodes."""
    tags = []
    for name, line in BROKEN.items():
        tags.append(f"{LOCATION}:{TAG}-{name}")
        lines = (f"FROM {LOCATION}:{TAG}", "USER root", line, "USER dagster")
        build = ["docker", "build", "--quiet", "--tag", tags[-1], "-"]
        subprocess.run(build, input="\n".join(lines), text=True, check=True, capture_output=True)
    calm.command(str(ENSURE), "load", *tags)
    return calm


@contextlib.contextmanager
def called(cluster: Cluster) -> Iterator[list[str]]:
    """Calls the code servers through the webserver all the time; yields the calls that failed."""
    failed: list[str] = []
    ended = threading.Event()

    def call(location: str, asset: str) -> None:
        while not ended.is_set():
            if not cluster.webserver.code_server_answers(location, asset):
                failed.append(f"{location} at {time.strftime('%X')}")
            ended.wait(0.2)

    threads = [threading.Thread(target=call, args=one) for one in ASSETS.items()]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def history(cluster: Cluster) -> list[Record]:
    found = json.loads(cluster.kubectl("get", "configmap", "dbt-location-deployments", "--output", "json"))
    return from_lines(found["data"]["history.jsonl"])


@dataclass
class Deployed:
    """What was seen of a deploy of dbt_location during runs of both locations."""

    cluster: Cluster
    printed: str
    moved: set[str]
    failed_calls: list[str]
    second: subprocess.CompletedProcess[str]
    runs: list[str]


@pytest.fixture(scope="module")
def deployed(images: Cluster) -> Deployed:
    before = images.versions(*OTHERS)
    command = ["make", "deploy", f"LOCATION={LOCATION}", f"TAG={NEXT}", "ON=kubernetes"]
    with images.source_silent(), images.mart_locked():
        runs = [images.started_load(), images.started_build()]
        with called(images) as failed:
            pipe = subprocess.PIPE
            with subprocess.Popen(command, env=images.env, stdout=pipe, stderr=subprocess.STDOUT, text=True) as first:
                assert first.stdout
                printed = ""
                while "trying it" not in printed and (line := first.stdout.readline()):
                    printed += line
                second = images.make("deploy", LOCATION=LOCATION, TAG=TAG)
                printed += first.stdout.read()
            assert first.returncode == 0, printed
        after = images.versions(*OTHERS)
    moved = {name for name, version in after.items() if before.get(name) != version}
    ends = [images.webserver.finished(run)["status"] for run in runs]
    return Deployed(images, printed, moved, failed, second, ends)


def test_a_deploy_during_runs_of_both_locations_moves_nothing_of_the_other_releases(deployed: Deployed) -> None:
    assert deployed.moved == set()


def test_a_deploy_fails_no_call_to_a_code_server(deployed: Deployed) -> None:
    assert deployed.failed_calls == []


def test_runs_of_both_locations_end_well_after_a_deploy_of_one(deployed: Deployed) -> None:
    assert deployed.runs == ["SUCCESS", "SUCCESS"]


def test_webserver_and_daemon_have_loaded_what_was_deployed(deployed: Deployed) -> None:
    assert f"{LOCATION}:{NEXT}: the webserver serves it" in deployed.printed
    assert f"{LOCATION}:{NEXT}: the daemon has loaded it" in deployed.printed


def test_a_location_is_deployed_by_one_command_at_a_time(deployed: Deployed) -> None:
    assert deployed.second.returncode != 0
    assert "is being deployed by" in deployed.second.stderr


def test_the_deploy_is_in_the_history(deployed: Deployed) -> None:
    assert [(record.version.tag, record.result) for record in history(deployed.cluster) if record.version.tag == NEXT][
        -1:
    ] == [(NEXT, DEPLOYED)]
    assert NEXT in deployed.cluster.make("deployments", LOCATION=LOCATION).stdout


def test_queued_runs_keep_the_image_that_was_deployed_before(deployed: Deployed) -> None:
    assert {f"{LOCATION}:{NEXT}", f"{LOCATION}:{TAG}"} <= set(deployed.cluster.images_of_runs(LOCATION))


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("unloadable", "No module named 'nowhere'"),
        ("needy", "It would break the contract between the locations"),
        ("missing", f"The cluster has no image {LOCATION}:{TAG}-missing"),
    ],
)
def test_a_version_that_cannot_be_deployed_is_refused_before_anything_is_replaced(
    images: Cluster, tag: str, reason: str
) -> None:
    before = images.versions("dbt-location")
    ended = images.make("deploy", LOCATION=LOCATION, TAG=f"{TAG}-{tag}")
    assert ended.returncode != 0
    assert reason in ended.stderr
    assert images.versions("dbt-location") == before
    assert history(images)[-1].result == REFUSED


@dataclass
class PutBack:
    """What was seen of a deploy whose code server does not serve."""

    cluster: Cluster
    stderr: str
    failed_calls: list[str]
    image_before: str


@pytest.fixture(scope="module")
def put_back(images: Cluster) -> PutBack:
    before = serving_image(images)
    images.env["DEPLOY_START_SECONDS"] = "40"
    try:
        with called(images) as failed:
            ended = images.make("deploy", LOCATION=LOCATION, TAG=f"{TAG}-silent")
    finally:
        del images.env["DEPLOY_START_SECONDS"]
    assert ended.returncode != 0
    return PutBack(images, ended.stderr, failed, before)


def serving_image(cluster: Cluster) -> str:
    (deployment,) = cluster.get(
        "deployments", "app.kubernetes.io/name=dbt-location,app.kubernetes.io/component=code-server"
    )
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_version_that_does_not_serve_is_put_back(put_back: PutBack) -> None:
    assert f"{put_back.image_before} runs as before" in put_back.stderr
    assert serving_image(put_back.cluster) == put_back.image_before
    assert [record.result for record in history(put_back.cluster) if record.version.tag == f"{TAG}-silent"][
        -1
    ] == RESTORED


def test_a_deploy_that_is_put_back_fails_no_call(put_back: PutBack) -> None:
    assert put_back.failed_calls == []


def test_queued_runs_keep_the_newer_image_after_a_rollback_of_helm(put_back: PutBack) -> None:
    # Helm has rolled the release back.
    newer = f"{LOCATION}:{TAG}-silent"

    def look() -> bool | None:
        return newer in put_back.cluster.images_of_runs(LOCATION) or None

    wait_for("the policy after the rollback", 60, look)
    assert put_back.cluster.images_of_runs(LOCATION)[0] == put_back.image_before


def test_a_rollback_goes_back_to_the_version_before(deployed: Deployed) -> None:
    cluster = deployed.cluster
    ended = cluster.make("rollback", LOCATION=LOCATION)
    assert ended.returncode == 0, ended.stderr
    assert serving_image(cluster) == f"{LOCATION}:{TAG}"
    assert (history(cluster)[-1].action, history(cluster)[-1].result) == ("rollback", DEPLOYED)
