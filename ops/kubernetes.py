"""The stack in Kubernetes: releases of the charts in kubernetes/, on kubectl's current context.

Each location has a release of its own. Helm and kubectl do the work.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
import yaml

from ops.command import ROOT, CommandError, OpsError, last_lines, log, run
from ops.locations import LOCATIONS
from ops.table import print_table

kubernetes = typer.Typer(help="Install, show and remove the stack in Kubernetes.", no_args_is_help=True)
PLATFORM, POSTGRES = "platform", "postgres"
PART_OF = "app.kubernetes.io/part-of=dagster-taxi"
WAIT = "5m"
# The parts of the file that KUBERNETES_VALUES names; each is laid over the values of a chart.
PARTS = (POSTGRES, PLATFORM, "locations")
# What Pod Security demands of every pod, in clusters that enforce it.
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def namespace() -> str:
    return os.environ.get("KUBERNETES_NAMESPACE", "").strip() or "dagster-taxi"


def release_name(location: str) -> str:
    return location.replace("_", "-")


def kubectl(*arguments: str, stdin: str = "") -> str:
    return run("kubectl", "--namespace", namespace(), *arguments, stdin=stdin)


@kubernetes.command()
def up() -> None:
    """Install or upgrade the platform and every location on kubectl's current context; deployed versions are kept."""
    given = _given()
    _make_namespace()
    _make_passwords()
    if given[POSTGRES] is not False:
        install(POSTGRES, POSTGRES, given[POSTGRES])
    install(PLATFORM, PLATFORM, {"locations": list(LOCATIONS)} | given[PLATFORM])
    for location in LOCATIONS:
        install_location(location, given["locations"])
    log(
        f"The stack runs in the namespace {namespace()}. See `make kubernetes-status`. The UI, at http://127.0.0.1:3000:"
    )
    log(f"  kubectl --namespace {namespace()} port-forward service/door 3000:80")


@kubernetes.command()
def status() -> None:
    """Show the releases' pods and the runs' in Kubernetes; fails if something is not ready."""
    pods = json.loads(kubectl("get", "pods", "--selector", PART_OF, "--output", "json"))["items"]
    rows = [_row(pod) for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))]
    print_table(["pod", "state", "restarts", "node"], rows)
    deployed = {release["name"] for release in json.loads(_helm("list", "--output", "json"))}
    missing = [name for name in (PLATFORM, *map(release_name, LOCATIONS)) if name not in deployed]
    if missing:
        raise OpsError(f"Not deployed: {', '.join(missing)}. `make kubernetes-up` installs it.")
    if waiting := [row[0] for row in rows if row[1] not in ("ready", "run ended")]:
        raise OpsError(f"Not ready: {', '.join(waiting)}.")


@kubernetes.command()
def destroy() -> None:
    """Remove the stack from Kubernetes with its data and its passwords: all that the namespace has."""
    run("kubectl", "delete", "namespace", namespace(), "--ignore-not-found", "--wait=true")
    log(f"The namespace {namespace()} is removed.")


def install_location(location: str, values: Mapping[str, Any]) -> None:
    """Installs or upgrades the release of a location: its own values, and ``values`` laid over them.

    A release that is there keeps the tag of its image.
    """
    own = yaml.safe_load((ROOT / location / "kubernetes.yaml").read_text())
    merged = _laid_over(own, values)
    if tag := deployed_tag(location):
        merged = _laid_over(merged, {"image": {"tag": tag}})
    install(release_name(location), "location", merged)


def deployed_tag(location: str) -> str | None:
    """The tag of the image that a location's release has; None without a release."""
    try:
        found = json.loads(_helm("get", "values", release_name(location), "--all", "--output", "json"))
    except CommandError as error:
        if "not found" in str(error):
            return None
        raise
    return str(found["image"]["tag"])


def install(release: str, chart: str, values: Mapping[str, Any]) -> None:
    """Installs or upgrades a release, and waits until it is ready. An error has what the pods say."""
    log(f"{release}: installing")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values), file)
        file.flush()
        command = ("upgrade", "--install", release, str(ROOT / "kubernetes" / chart), "--values", file.name)
        try:
            _helm(*command, "--wait", "--timeout", WAIT)
        except CommandError as error:
            said = "\n".join(_complaints(release))
            raise OpsError(f"{release}: not installed. {error}{said and chr(10)}{said}") from error


def _complaints(release: str) -> Iterator[str]:
    """Why the pods of a release do not run."""
    selector = f"{PART_OF},app.kubernetes.io/instance={release}"
    for pod in json.loads(kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"]:
        name = pod["metadata"]["name"]
        state = pod["status"]
        for container in [*state.get("initContainerStatuses", []), *state.get("containerStatuses", [])]:
            waiting = container["state"].get("waiting", {})
            if waiting.get("message"):
                yield f"{name}: {waiting['reason']}: {waiting['message']}"
            ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated")
            if ended and ended["exitCode"]:
                printed = kubectl("logs", name, "--container", container["name"], "--tail", "12")
                yield f"{name} ended with {ended['exitCode']}: {last_lines(printed)}"
        for condition in state.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] != "True":
                yield f"{name}: {condition.get('message', 'not scheduled')}"


def _helm(*arguments: str) -> str:
    return run("helm", "--namespace", namespace(), *arguments)


def _given() -> dict[str, Any]:
    """The parts of the file that KUBERNETES_VALUES names, if it is set."""
    path = os.environ.get("KUBERNETES_VALUES", "").strip()
    if not path:
        return {part: {} for part in PARTS}
    try:
        found = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise OpsError(f"KUBERNETES_VALUES={path} cannot be read: {error}") from error
    if not isinstance(found, dict) or (unknown := found.keys() - set(PARTS)):
        wrong = ", ".join(sorted(unknown)) if isinstance(found, dict) else "this"
        raise OpsError(f"KUBERNETES_VALUES={path}: {wrong} is no part of this file. Its parts are {', '.join(PARTS)}.")
    return {part: found.get(part, {}) for part in PARTS}


def _laid_over(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _make_namespace() -> None:
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(), "labels": RESTRICTED}}
    run("kubectl", "apply", "--filename", "-", stdin=json.dumps(made))


def _make_passwords() -> None:
    """Makes the Secrets with the passwords that are not there; no argument and no file has one."""
    names = [f"{release_name(role)}-credentials" for role in (POSTGRES, "dagster", "door", *LOCATIONS)]
    there = set(kubectl("get", "secrets", "--output", "name").split())
    for name in names:
        if f"secret/{name}" not in there:
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "labels": dict([PART_OF.split("=")])},
                "stringData": {"password": secrets.token_hex(24)},
            }
            kubectl("create", "--filename", "-", stdin=json.dumps(secret))


def _row(pod: Mapping[str, Any]) -> list[str]:
    status, labels = pod["status"], pod["metadata"]["labels"]
    containers = status.get("containerStatuses", [])
    state = status["phase"].lower()
    if pod["metadata"].get("deletionTimestamp"):
        state = "ending"
    elif labels.get("app.kubernetes.io/component") == "run" and state in ("succeeded", "failed"):
        state = "run ended"
    elif containers and all(one["ready"] for one in containers):
        state = "ready"
    elif reasons := [one["state"]["waiting"]["reason"] for one in containers if one["state"].get("waiting")]:
        state = reasons[0]
    restarts = sum(one["restartCount"] for one in containers)
    return [pod["metadata"]["name"], state, str(restarts), pod["spec"].get("nodeName", "")]
