"""Copies what the locations' releases say to the folders that webserver and daemon read, as it changes.

The release of a location has one ConfigMap with the location's run policy. This process runs beside webserver and
daemon, and writes ``run_policies/<location>.json`` and ``workspace/workspace.yaml``. So a location that comes or goes
changes nothing of the platform's release.

A policy has the images that were deployed before, too: those of the code server's ReplicaSets, which Kubernetes keeps
through upgrades and rollbacks. So a queued run keeps its image, whichever way its location goes.

usage: python -m platform_host.kubernetes_locations [--once | --reload-webserver]
"""

import json
import logging
import re
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from dagster_k8s.utils import detect_current_namespace, load_kubernetes_config
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from platform_host.door import read_key
from platform_host.run_policy import LOCATION, resource_name

PART_OF = "app.kubernetes.io/part-of=dagster-taxi"
SELECTOR = f"app.kubernetes.io/component=run-policy,{PART_OF}"
CODE_SERVERS = f"app.kubernetes.io/component=code-server,{PART_OF}"
REVISION = "deployment.kubernetes.io/revision"
POLICY = "policy.json"
FOLDER = Path("/opt/dagster")
RELOAD = json.dumps({"query": "mutation { reloadWorkspace { __typename } }"}).encode()
WATCH_SECONDS = 300
PAUSE_SECONDS = 2
logger = logging.getLogger("locations")


def policies(found: client.V1ConfigMapList, deployed: client.V1ReplicaSetList) -> dict[str, str]:
    """The run policy of each location, by its name. A ConfigMap that does not have a location's name is left out."""
    images = _images(deployed)
    given = {}
    for config_map in found.items:
        location = (config_map.metadata.annotations or {}).get("dagster/location", "")
        # A name is there once, so a location cannot have two ConfigMaps.
        if re.fullmatch(LOCATION, location) and config_map.metadata.name == f"{resource_name(location)}-run-policy":
            policy = (config_map.data or {}).get(POLICY, "")
            given[location] = _with_images(policy, images.get(resource_name(location), ()))
        else:
            logger.warning("The ConfigMap %s is not that of a location.", config_map.metadata.name)
    return given


def _images(deployed: client.V1ReplicaSetList) -> dict[str, list[str]]:
    """The images of each location's code servers, the newest first, by the name of its resources."""
    images: dict[str, list[str]] = {}
    for one in sorted(deployed.items, key=lambda one: -int((one.metadata.annotations or {}).get(REVISION, 0))):
        location = one.metadata.labels.get("app.kubernetes.io/name", "")
        images.setdefault(location, []).append(one.spec.template.spec.containers[0].image)
    return images


def _with_images(policy: str, images: Iterable[str]) -> str:
    """A policy that has these images, too, after its own."""
    try:
        content = json.loads(policy)
        content["images"] = list(dict.fromkeys((*content["images"], *images)))
    except (ValueError, TypeError, KeyError):
        # Whoever launches a run says what is wrong with it.
        return policy
    return json.dumps(content, indent=2)


def write(given: Mapping[str, str], folder: Path = FOLDER) -> bool:
    """Writes the policies and the workspace; returns whether the list of locations has changed."""
    for old in (folder / "run_policies").glob("*.json"):
        if old.stem not in given:
            old.unlink()
    for location, policy in given.items():
        _replace(folder / "run_policies" / f"{location}.json", policy)
    servers = [
        {"grpc_server": {"host": resource_name(location), "port": 4000, "location_name": location}}
        for location in sorted(given)
    ]
    return _replace(folder / "workspace" / "workspace.yaml", yaml.safe_dump({"load_from": servers}))


def _replace(path: Path, text: str) -> bool:
    """Writes a file so that a reader sees the old one or the new one; returns whether they differ."""
    if path.exists() and path.read_text() == text:
        return False
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)
    return True


def _reload_webserver() -> None:
    headers = {"content-type": "application/json", "x-door-key": read_key()}
    request = urllib.request.Request("http://127.0.0.1:3000/graphql", RELOAD, headers)
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except OSError as error:
        logger.warning("The webserver does not read the workspace again: %s", error)


def main(option: str) -> None:
    load_kubernetes_config(load_incluster_config=True)
    namespace = detect_current_namespace(None)
    api, apps = client.CoreV1Api(), client.AppsV1Api()
    pending = False
    while True:
        try:
            found = api.list_namespaced_config_map(namespace, label_selector=SELECTOR, _request_timeout=10)
            # After the policies: what was deployed before a policy is among them.
            deployed = apps.list_namespaced_replica_set(namespace, label_selector=CODE_SERVERS, _request_timeout=10)
            pending |= write(policies(found, deployed))
            if option == "--once":
                return
            if pending and option == "--reload-webserver":
                _reload_webserver()
            pending = False
            events = watch.Watch().stream(
                api.list_namespaced_config_map,
                namespace,
                label_selector=SELECTOR,
                resource_version=found.metadata.resource_version,
                timeout_seconds=WATCH_SECONDS,
                _request_timeout=WATCH_SECONDS + 30,
            )
            # Whatever has changed, the list is read again.
            next(iter(events), None)
        except (ApiException, HTTPError) as error:
            logger.warning("The locations cannot be read, and stay as they are: %s", error)
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(sys.argv[1] if len(sys.argv) > 1 else "")
