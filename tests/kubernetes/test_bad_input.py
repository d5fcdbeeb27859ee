"""What is wrong with an install or a deploy stops it with the reason, and before anything that runs is replaced."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.deploy.image import source_tag
from ops.deploy.records import DEPLOYED
from ops.kubernetes.releases import release_name
from ops.locations import LOCATIONS
from tests.kubernetes.conftest import NAMESPACE, TAG, Cluster
from tests.kubernetes.test_deploy import LOCATION, history, serving_image
from tests.stack.webserver import wait_for

pytestmark = pytest.mark.drill
RELEASES = ("postgres", "platform", *map(release_name, LOCATIONS))
HELM = ("helm", "--namespace", NAMESPACE)


def laid_over(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in over.items():
        merged[key] = laid_over(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


@contextlib.contextmanager
def given(cluster: Cluster, folder: Path, over: dict[str, Any]) -> Iterator[None]:
    """KUBERNETES_VALUES names a file in which something is different."""
    right = cluster.env["KUBERNETES_VALUES"]
    wrong = folder / "values.yaml"
    wrong.write_text(yaml.safe_dump(laid_over(yaml.safe_load(Path(right).read_text()), over)))
    cluster.env["KUBERNETES_VALUES"] = str(wrong)
    try:
        yield
    finally:
        cluster.env["KUBERNETES_VALUES"] = right


def refused(cluster: Cluster, command: str, **arguments: str) -> str:
    """What a command says that must fail, after which all that runs must be as before."""
    before = cluster.versions(*RELEASES)
    ended = cluster.make(command, **arguments)
    assert ended.returncode != 0, ended.stdout
    assert cluster.versions(*RELEASES) == before
    return ended.stderr


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"locations": {"codeservers": {}}}, "dbt-location: nothing was installed, as the values are wrong"),
        ({"locations": {"location": "weather_location"}}, "The release of weather_location is called weather-location"),
        ({"platform": {"locations": [*LOCATIONS, "weather_location"]}}, "`locations` of `platform`"),
        ({"platform": {"webserver": {"replicas": 2}}}, "platform: nothing was installed, as the values are wrong"),
        # The hook waits for the image until then.
        ({"platform": {"image": {"tag": "away"}, "migrate": {"seconds": 60}}}, "migrate:away"),
        ({"platform": {"postgres": {"port": 1}, "migrate": {"seconds": 60}}}, "port 1 failed"),
    ],
    ids=[
        "unknown key",
        "unknown location",
        "location without a role",
        "unknown key of the platform",
        "tag",
        "Postgres",
    ],
)
def test_wrong_values_stop_kubernetes_up_before_anything_is_replaced(
    cluster: Cluster, tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    with given(cluster, tmp_path, values):
        assert reason in refused(cluster, "kubernetes-up")


def test_a_secret_without_a_password_stops_kubernetes_up_and_is_named(cluster: Cluster) -> None:
    # None of its runs is due, which would start without a password.
    name = "platform-location-credentials"
    password = json.loads(cluster.kubectl("get", "secret", name, "--output", "json"))["data"]["password"]
    cluster.kubectl("patch", "secret", name, "--type=json", "--patch", '[{"op": "remove", "path": "/data/password"}]')
    try:
        assert f"The Secret {name}" in refused(cluster, "kubernetes-up")
    finally:
        assert base64.b64decode(password)
        cluster.kubectl("patch", "secret", name, "--patch", json.dumps({"data": {"password": password}}))


def test_a_deploy_without_a_tag_names_the_image_of_the_folders_commit_that_the_cluster_lacks(cluster: Cluster) -> None:
    image = f"{LOCATION}:{source_tag(LOCATION)}"
    assert f"The cluster has no image {image}" in refused(cluster, "deploy", LOCATION=LOCATION)


@dataclass
class Interrupted:
    """What was seen of a deploy that was killed, of one at once after it, and of one when the lock had ended."""

    cluster: Cluster
    state: str  # of the release
    at_once: subprocess.CompletedProcess[str]
    later: subprocess.CompletedProcess[str]


def revision_state(cluster: Cluster, release: str) -> str:
    revisions = json.loads(cluster.command(*HELM, "history", release, "--output", "json"))
    return str(revisions[-1]["status"])


@pytest.fixture(scope="module")
def interrupted(cluster: Cluster) -> Interrupted:
    release = release_name(LOCATION)
    command = ("make", "deploy", f"LOCATION={LOCATION}", f"TAG={TAG}", "ON=kubernetes")
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=cluster.env, stdout=quiet, stderr=quiet, start_new_session=True) as deploy:

        def pending() -> bool | None:
            assert deploy.poll() is None
            return revision_state(cluster, release).startswith("pending-") or None

        wait_for("the upgrade", 120, pending)
        # With Helm, and without a chance to clean up, as by a machine that is lost.
        os.killpg(deploy.pid, signal.SIGKILL)
    state = revision_state(cluster, release)

    def renewed(seconds_ago: float) -> None:
        then = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - seconds_ago))
        lease = ("patch", "lease", f"{release}-deploy", "--type=merge", "--patch")
        cluster.kubectl(*lease, json.dumps({"spec": {"renewTime": then}}))

    renewed(0)
    at_once = cluster.make("deploy", LOCATION=LOCATION, TAG=TAG)
    renewed(61)
    return Interrupted(cluster, state, at_once, cluster.make("deploy", LOCATION=LOCATION, TAG=TAG))


def test_a_deploy_that_was_killed_locks_its_location_for_a_minute(interrupted: Interrupted) -> None:
    assert interrupted.at_once.returncode != 0
    assert "a deploy that was killed is over 60 s later" in interrupted.at_once.stderr


def test_the_next_deploy_undoes_what_a_killed_one_has_left_of_the_release(interrupted: Interrupted) -> None:
    assert interrupted.state.startswith("pending-")
    assert interrupted.later.returncode == 0, interrupted.later.stderr
    assert "undoing what an interrupted deploy has left" in interrupted.later.stdout
    assert history(interrupted.cluster)[-1].result == DEPLOYED
    assert serving_image(interrupted.cluster) == f"{LOCATION}:{TAG}"


def test_a_deploy_of_what_runs_waits_for_no_daemon(interrupted: Interrupted) -> None:
    assert f"{LOCATION}:{TAG}: its code server is the one that ran before" in interrupted.later.stdout
