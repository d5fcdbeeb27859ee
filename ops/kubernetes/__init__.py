"""The stack in Kubernetes: releases of the charts in kubernetes/, on kubectl's current context.

Each location has a release of its own. Helm and kubectl do the work.
"""

import json
from collections.abc import Mapping
from typing import Any

import typer

from ops.command import OpsError, log, run
from ops.deploy.engine import who
from ops.kubernetes import releases
from ops.kubernetes.ledger import locked
from ops.kubernetes.releases import PART_OF, PLATFORM, POSTGRES, helm, kubectl, namespace, release_name
from ops.locations import LOCATIONS
from ops.table import print_table

kubernetes = typer.Typer(help="Install, show and remove the stack in Kubernetes.", no_args_is_help=True)


@kubernetes.command()
def up() -> None:
    """Install or upgrade the platform and every location on kubectl's current context; deployed versions are kept."""
    given = releases.given_values()
    wanted = _wanted(given)
    # Before the first one is touched: what is wrong with the last one's values is known without the cluster.
    for release, chart, values in wanted:
        releases.check(release, chart, values)
    releases.make_namespace()
    releases.make_passwords()
    for release, chart, _ in wanted:
        with locked(release, who()):
            releases.end_interrupted(release)
            # Read again, because a deploy of the location may have ended meanwhile.
            (values,) = (values for name, _, values in _wanted(given) if name == release)
            releases.install(release, chart, values)
    log(
        f"The stack runs in the namespace {namespace()}. See `make kubernetes-status`. The UI, at http://127.0.0.1:3000:"
    )
    log(f"  kubectl --namespace {namespace()} port-forward service/door 3000:80")


def _wanted(given: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Per release its name, its chart and its values, in the order in which they are installed."""
    wanted = [] if given[POSTGRES] is False else [(POSTGRES, POSTGRES, given[POSTGRES])]
    platform = {"locations": list(LOCATIONS)} | given[PLATFORM]
    if set(platform["locations"]) != set(LOCATIONS):
        here = ", ".join(LOCATIONS)
        raise OpsError(
            f"KUBERNETES_VALUES: `locations` of `platform` is not {here}, which this installs. Leave it out."
        )
    wanted.append((PLATFORM, PLATFORM, platform))
    for location in LOCATIONS:
        deployed = releases.deployed_values(location)
        tag = None if deployed is None else releases.image_of(location, deployed).rpartition(":")[2]
        wanted.append((release_name(location), "location", releases.location_values(location, {}, given, tag)))
    return wanted


@kubernetes.command()
def status() -> None:
    """Show the releases' pods and the runs' in Kubernetes; fails if something is not ready."""
    pods = json.loads(kubectl("get", "pods", "--selector", PART_OF, "--output", "json"))["items"]
    rows = [_row(pod) for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))]
    print_table(["pod", "state", "restarts", "node"], rows)
    deployed = {release["name"] for release in json.loads(helm("list", "--output", "json"))}
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
