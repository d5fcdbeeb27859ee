"""Deploys one location in Kubernetes, and rolls it back: an upgrade of the location's release alone.

Steps, results and history are those of compose (ops/deploy/deploy.py). Kubernetes starts the new code server
beside the old one, which serves until the new one is ready, and which ends after its last call.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from ops.command import ROOT, OpsError, last_lines, log
from ops.contract import served
from ops.contract.compare import Asset
from ops.deploy import records
from ops.deploy.attempt import Attempt
from ops.deploy.comparison import compare
from ops.deploy.image import ASK_HEALTH, source_tag, start_seconds
from ops.deploy.records import Version
from ops.graphql import Webserver, WebserverInside, webserver
from ops.kubernetes import releases
from ops.kubernetes.ledger import Ledger, locked
from ops.kubernetes.releases import PLATFORM, helm, kubectl, namespace, release_name
from ops.locations import DATA_LOCATIONS, check_exists

_DAEMON_SECONDS = 90
# Of a container that waits: without a change from outside, it never starts.
_NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"}
# What it prints besides goes where it cannot be taken for the answer.
_DESCRIBE = 'python -c "$0" "$1" 2>/tmp/errors || { cat /tmp/errors; exit 1; }'


@dataclasses.dataclass(frozen=True)
class _Target:
    """A version of a location, as its release would have it."""

    location: str
    values: Mapping[str, Any]

    @property
    def release(self) -> str:
        return release_name(self.location)

    @property
    def image(self) -> str:
        return releases.image_of(self.location, self.values)

    @property
    def version(self) -> Version:
        # Kubernetes finds an image by its name alone.
        return Version(self.image.rpartition(":")[2], self.image)


def deploy(location: str, tag: str | None, force: bool, by: str) -> None:
    """Has the location's release run the image of this tag; without one, that of the commit of its folder."""
    check_exists("LOCATION", location)
    given = releases.given_values()
    with locked(location, by) as ledger:
        target = _target(location, given, tag if tag is not None else source_tag(location))
        _ship(target, ledger, "deploy", force, by)


def rollback(location: str, force: bool, by: str) -> None:
    """Goes back to the location's previous good version."""
    check_exists("LOCATION", location)
    given = releases.given_values()
    with locked(location, by) as ledger:
        version = records.rollback_target(ledger.read(), _running(location))
        if version is None:
            raise OpsError(f"{location}: there is no good version before the one that runs. See `make deployments`.")
        _ship(_target(location, given, version.tag), ledger, "rollback", force, by)


def inside() -> Webserver:
    """The webserver, asked in its own container, with the operator's rights."""
    command = (
        "kubectl",
        "--namespace",
        namespace(),
        "exec",
        "--stdin",
        "deployment/webserver",
        "-c",
        "webserver",
        "--",
    )
    return webserver(inside=WebserverInside(command=command, see="make kubernetes-status"))


def _target(location: str, given: Mapping[str, Any], tag: str) -> _Target:
    # What the release has stays, also where KUBERNETES_VALUES is not set for this deploy.
    values = releases.location_values(location, releases.deployed_values(location) or {}, given, tag)
    return _Target(location, values)


def _running(location: str) -> Version | None:
    values = releases.deployed_values(location)
    return None if values is None else _Target(location, values).version


def _ship(target: _Target, ledger: Ledger, action: str, force: bool, by: str) -> None:
    releases.end_interrupted(target.release)
    attempt = Attempt(ledger, target.location, action, target.version, by, _running(target.location))
    asked = inside()
    with attempt.trial():
        log(f"{target.image}: trying it in a Job of its own")
        known = served.read_entries(asked)
        assets = _try(target, attempt.record.attempt)
        note = compare(target.location, known, assets, force)
        if target.location in DATA_LOCATIONS and target.location not in known:
            log(f"{target.location}: new to this cluster; making its password, its role and its schema")
            _make_role(target.location, asked, by)
    before = releases.deployed_revision(target.release)
    attempt.add(records.REPLACING)
    try:
        _replace(target, asked, assets)
    except BaseException as error:
        again = f"make rollback LOCATION={target.location} ON=kubernetes"
        attempt.put_back(error, lambda: _serve_previous(target, before, asked), again)
    attempt.add(records.DEPLOYED, note)
    log(f"{target.image}: deployed")


def _try(target: _Target, attempt: str) -> list[Asset]:
    """Returns an image's assets if its definitions load: in a Job with the settings, and without the passwords."""
    job = releases.render(target.release, "location", "check.yaml", target.values)
    name = f"{target.release}-trial-{attempt}"
    job["metadata"] = {"name": name, "labels": job["metadata"]["labels"]}
    job["spec"] |= {"ttlSecondsAfterFinished": 600, "activeDeadlineSeconds": start_seconds()}
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    script = (ROOT / "ops/contract/describe.py").read_text()
    container["command"] = ["sh", "-c", _DESCRIBE, script, target.location]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] == "tmp"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] == "tmp"]
    pod["initContainers"] = []
    succeeded, printed = _run(job)
    if not succeeded:
        raise OpsError(f"The definitions in {target.image} do not load: {last_lines(printed)}")
    return list(json.loads(printed.splitlines()[-1]))


def _make_role(location: str, asked: Webserver, by: str) -> None:
    """Makes the password, the role and the schema of a new location, beside those of the others; idempotent.

    The Job `migrate` of the platform's release runs once more, with the location's warehouse.sql and a list of all
    locations mounted over the files of its image. So the release stays as it is.
    """
    with locked(PLATFORM, by):
        releases.make_passwords()
        values = releases.deployed_values(PLATFORM)
        if values is None:
            raise OpsError("The platform is not installed. `make kubernetes-up` installs it.")
        # Asked for under the lock: another new location may have come meanwhile.
        names = sorted({*values.get("locations", ()), *served.read_entries(asked), location})
        servers = [{"grpc_server": {"host": release_name(name), "location_name": name}} for name in names]
        data = {
            "warehouse.sql": (ROOT / location / "warehouse.sql").read_text(),
            "workspace.yaml": json.dumps({"load_from": servers}),
        }
        paths = {"warehouse.sql": f"{location}/warehouse.sql", "workspace.yaml": "workspace.yaml"}
        job = releases.render(PLATFORM, "platform", "migrate.yaml", {**values, "locations": names})
        name = f"migrate-{release_name(location)}"
        job["metadata"] = {"name": name, "labels": job["metadata"]["labels"]}
        job["spec"]["ttlSecondsAfterFinished"] = 600
        pod = job["spec"]["template"]["spec"]
        pod["volumes"].append({"name": "files", "configMap": {"name": name}})
        pod["containers"][0]["volumeMounts"] += [
            {"name": "files", "mountPath": f"/opt/dagster/{path}", "subPath": key} for key, path in paths.items()
        ]
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": job["metadata"], "data": data}
        # Of a deploy that was killed.
        kubectl("delete", "job", name, "--ignore-not-found", "--cascade=foreground")
        kubectl("apply", "--filename", "-", stdin=json.dumps(made))
        try:
            succeeded, printed = _run(job)
        finally:
            kubectl("delete", "configmap", name, "--ignore-not-found")
    if not succeeded:
        raise OpsError(f"The role of {location} could not be made: {last_lines(printed)}")


def _run(job: Mapping[str, Any]) -> tuple[bool, str]:
    """Runs a Job, and removes it at its end; returns whether it succeeded, and what it printed."""
    name, spec = job["metadata"]["name"], job["spec"]
    try:
        kubectl("create", "--filename", "-", stdin=json.dumps(job))
        return _ended(name, spec["template"]["spec"]["containers"][0]["image"], spec["activeDeadlineSeconds"])
    finally:
        kubectl("delete", "job", name, "--ignore-not-found", "--wait=false")


def _ended(job: str, image: str, seconds: int) -> tuple[bool, str]:
    """Waits for the end of a Job's pod; returns whether it succeeded, and what it printed."""
    deadline = time.monotonic() + seconds
    waits = "its pod was not created"
    while time.monotonic() < deadline:
        for pod in json.loads(kubectl("get", "pods", "--selector", f"job-name={job}", "--output", "json"))["items"]:
            if pod["status"]["phase"] in ("Succeeded", "Failed"):
                return pod["status"]["phase"] == "Succeeded", kubectl("logs", pod["metadata"]["name"])
            for reason, message in releases.waits(pod):
                waits = f"{reason}: {message}"
                if reason in _NO_IMAGE:
                    step = "Load the image onto the nodes, or push it to the registry of `image.registry`."
                    raise OpsError(f"The cluster has no image {image}: {message}. {step}")
        time.sleep(0.5)
    raise OpsError(f"The Job {job} did not end within {seconds} s: {waits}")


def _replace(target: _Target, asked: Webserver, assets: list[Asset]) -> None:
    """Upgrades the location's release, and waits until webserver and daemon have loaded the new version."""
    before = _pod(target)
    releases.install(target.release, "location", target.values, f"{start_seconds()}s")
    ready = time.monotonic()
    pod = _pod(target)
    if pod is None:
        raise OpsError(f"No code server of {target.image} runs.")
    ask = ("python", "-c", ASK_HEALTH, str(start_seconds()))
    server_id = kubectl("exec", pod, "--container", "code-server", "--", *ask).strip()
    _wait_until_known(target.location, asked)
    served.reload_location(target.location, target.image, {str(asset["key"]) for asset in assets}, asked)
    log(f"{target.image}: the webserver serves it, {time.monotonic() - ready:.1f} s after it was ready")
    if pod == before:
        log(f"{target.image}: its code server is the one that ran before, which the daemon has")
        return
    # The daemon finds a new location within a minute.
    while server_id not in kubectl("logs", "deployment/daemon", "--container", "daemon", "--tail", "1000"):
        if time.monotonic() > ready + _DAEMON_SECONDS:
            log(f"the daemon did not load it within {_DAEMON_SECONDS} s; see `kubectl logs deployment/daemon`")
            return
        time.sleep(0.5)
    log(f"{target.image}: the daemon has loaded it, {time.monotonic() - ready:.1f} s after it was ready")


def _wait_until_known(location: str, asked: Webserver) -> None:
    """Waits until the webserver knows a location that is new: it reads its list again when the release is there."""
    deadline = time.monotonic() + _DAEMON_SECONDS
    while location not in served.read_entries(asked):
        if time.monotonic() > deadline:
            raise OpsError(f"The webserver does not know {location}: kubectl logs deployment/webserver -c locations")
        time.sleep(1)


def _pod(target: _Target) -> str | None:
    """The newest pod of this version's code server, if there is one."""
    selector = f"app.kubernetes.io/name={target.release},app.kubernetes.io/component=code-server"
    listed = ("--selector", selector, "--sort-by", "metadata.creationTimestamp", "--output", "json")
    for pod in reversed(json.loads(kubectl("get", "pods", *listed))["items"]):
        (container,) = pod["spec"]["containers"]
        if container["image"] == target.image and not pod["metadata"].get("deletionTimestamp"):
            return str(pod["metadata"]["name"])
    return None


def _serve_previous(target: _Target, before: str | None, asked: Webserver) -> str:
    """Puts the revision of the release back that was there before, and returns what runs then."""
    if before is None:
        # Helm has no release where its chart refused the values.
        if releases.revisions(target.release):
            helm("uninstall", target.release, "--wait")
        return f"{target.location} does not run, as before"
    helm("rollback", target.release, before, "--wait", "--timeout", releases.WAIT)
    image = releases.image_of(target.location, releases.deployed_values(target.location) or {})
    served.reload_location(target.location, image, None, asked)
    return f"{image} runs as before"
