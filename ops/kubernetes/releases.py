"""The Helm releases of the stack: their names, their values, and how they are installed."""

import json
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from ops.command import ROOT, CommandError, OpsError, last_lines, log, run
from ops.locations import LOCATIONS

PLATFORM, POSTGRES = "platform", "postgres"
PART_OF = "app.kubernetes.io/part-of=dagster-taxi"
WAIT = "5m"
_LOOK_SECONDS = 3
# The parts of the file that KUBERNETES_VALUES names; each is laid over the values of a chart.
PARTS = (POSTGRES, PLATFORM, "locations")
# What Pod Security demands of every pod, in clusters that enforce it.
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
Values = Mapping[str, Any]


def namespace() -> str:
    return os.environ.get("KUBERNETES_NAMESPACE", "").strip() or "dagster-taxi"


def release_name(location: str) -> str:
    return location.replace("_", "-")


def kubectl(*arguments: str, stdin: str = "") -> str:
    return run("kubectl", "--namespace", namespace(), *arguments, stdin=stdin)


def helm(*arguments: str) -> str:
    return run("helm", "--namespace", namespace(), *arguments)


def find(kind: str, name: str) -> dict[str, Any] | None:
    """An object as the API has it; None if it does not exist."""
    found = kubectl("get", kind, name, "--ignore-not-found", "--output", "json")
    return dict(json.loads(found)) if found.strip() else None


def labels(name: str, component: str) -> dict[str, str]:
    """The labels of what these commands make themselves."""
    own = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": component}
    return own | dict([PART_OF.split("=")])


def location_values(location: str, deployed: Values, given: Values, tag: str | None) -> dict[str, Any]:
    """The values of a location's release, what comes later laid over what comes before.

    Args:
        location: its name.
        deployed: values that its release has.
        given: the parts of the file that KUBERNETES_VALUES names. The location's kubernetes.yaml is before them.
        tag: of the image, if it is another one.
    """
    own = yaml.safe_load((ROOT / location / "kubernetes.yaml").read_text())
    merged = _laid_over(_laid_over(deployed, own), given["locations"])
    return _laid_over(merged, {"image": {"tag": tag}}) if tag else merged


def image_of(location: str, values: Values) -> str:
    """The image of a location's release that has these values."""
    image = values.get("image", {})
    return f"{image.get('registry', '')}{location}:{image.get('tag', 'local')}"


def revisions(release: str) -> list[dict[str, Any]]:
    """The revisions of a release as `helm history` gives them, the oldest first; none without a release."""
    try:
        return list(json.loads(helm("history", release, "--output", "json")))
    except CommandError as error:
        if "not found" in str(error):
            return []
        raise


def deployed_revision(release: str) -> str | None:
    """The number of the revision that a release has now, whatever failed since; None if there is none."""
    deployed = [str(one["revision"]) for one in revisions(release) if one["status"] == "deployed"]
    return deployed[-1] if deployed else None


def deployed_values(location: str) -> dict[str, Any] | None:
    """The values that a location's release was given, without those of its chart; None without a release."""
    release = release_name(location)
    revision = deployed_revision(release)
    if revision is None:
        return None
    return dict(json.loads(helm("get", "values", release, "--revision", revision, "--output", "json")) or {})


def check(release: str, chart: str, values: Values) -> None:
    """Raises OpsError if the chart does not accept these values; the cluster is not asked."""
    with _file(values) as file:
        try:
            helm("template", release, str(ROOT / "kubernetes" / chart), "--values", file)
        except CommandError as error:
            raise OpsError(f"{release}: nothing was installed, as the values are wrong. {error}") from error


def install(release: str, chart: str, values: Values, wait: str = WAIT) -> None:
    """Installs or upgrades a release, and waits until it is ready. An error has what the pods say."""
    log(f"{release}: installing")
    with _file(values) as file, _watched(release) as waiting:
        command = ("upgrade", "--install", release, str(ROOT / "kubernetes" / chart), "--values", file)
        try:
            helm(*command, "--wait", "--timeout", wait)
        except CommandError as error:
            said = "\n".join(dict.fromkeys([*waiting.values(), *_complaints(release)]))
            raise OpsError(f"{release}: not installed. {error}{said and chr(10)}{said}") from error


def end_interrupted(release: str) -> None:
    """Puts a release back that a killed Helm has left in the middle, and which Helm refuses to upgrade."""
    past = revisions(release)
    if not past or not str(past[-1]["status"]).startswith("pending-"):
        return
    log(f"{release}: undoing what an interrupted deploy has left")
    before = deployed_revision(release)
    if before is None:
        helm("uninstall", release, "--wait")
    else:
        try:
            helm("rollback", release, before, "--wait", "--timeout", WAIT)
        except CommandError as error:
            raise OpsError(f"{release}: its revision {before} could not be put back. {error}") from error


def render(release: str, chart: str, template: str, values: Values) -> dict[str, Any]:
    """The one object of a template of a chart, with these values; the cluster is not asked."""
    with _file(values) as file:
        command = ("template", release, str(ROOT / "kubernetes" / chart), "--values", file)
        return dict(yaml.safe_load(helm(*command, "--show-only", f"templates/{template}")))


@contextmanager
def _file(values: Values) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values), file)
        file.flush()
        yield file.name


@contextmanager
def _watched(release: str) -> Iterator[dict[str, str]]:
    """Records what each pod of a release waits for, because the pod of a hook is removed when it times out."""
    waiting: dict[str, str] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            with suppress(CommandError):
                for pod in _pods(release):
                    name, reasons = pod["metadata"]["name"], list(waits(pod))
                    if not pod["metadata"].get("deletionTimestamp"):
                        waiting.pop(name, None)
                    if reasons:
                        waiting[name] = f"{name}: {': '.join(reasons[0])}"

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield waiting
    finally:
        ended.set()
        looking.join()


def _pods(release: str) -> list[dict[str, Any]]:
    selector = f"{PART_OF},app.kubernetes.io/instance={release}"
    return list(json.loads(kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"])


def _complaints(release: str) -> Iterator[str]:
    """Why the pods of a release do not run."""
    for pod in _pods(release):
        name = pod["metadata"]["name"]
        yield from (f"{name}: {reason}: {message}" for reason, message in waits(pod))
        state = pod["status"]
        for container in [*state.get("initContainerStatuses", []), *state.get("containerStatuses", [])]:
            ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated")
            if ended and ended["exitCode"]:
                printed = kubectl("logs", name, "--container", container["name"], "--tail", "12")
                yield f"{name} ended with {ended['exitCode']}: {last_lines(printed)}"


def waits(pod: Values) -> Iterator[tuple[str, str]]:
    """What a pod waits for: the reason, and the message that Kubernetes has for it."""
    state = pod["status"]
    for container in [*state.get("initContainerStatuses", []), *state.get("containerStatuses", [])]:
        waiting = container["state"].get("waiting", {})
        if waiting.get("message"):
            yield waiting["reason"], waiting["message"]
    for condition in state.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield condition.get("reason", "Unscheduled"), condition.get("message", "not scheduled")


def given_values() -> dict[str, Any]:
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


def _laid_over(values: Values, over: Values) -> dict[str, Any]:
    merged = dict(values)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def make_namespace() -> None:
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(), "labels": RESTRICTED}}
    run("kubectl", "apply", "--filename", "-", stdin=json.dumps(made))


def credentials(role: str) -> str:
    """The Secret that has the password of a role."""
    return f"{release_name(role)}-credentials"


def make_passwords() -> None:
    """Makes the Secrets with the passwords that are not there; no argument and no file has one."""
    there = set(kubectl("get", "secrets", "--output", "name").split())
    for name in map(credentials, (POSTGRES, "dagster", "door", *LOCATIONS)):
        if f"secret/{name}" not in there:
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "labels": dict([PART_OF.split("=")])},
                "stringData": {"password": secrets.token_hex(24)},
            }
            kubectl("create", "--filename", "-", stdin=json.dumps(secret))
