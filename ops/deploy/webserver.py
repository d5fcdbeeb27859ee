"""The running webserver, asked from within its container: that works for an engine elsewhere and without its port."""

import json
import time
from typing import Any

from ops.command import CommandError, run
from ops.contract.compare import Asset
from ops.contract.served import describe_served

_ASK = """
import sys, urllib.error, urllib.request
headers = {"Content-Type": "application/json"}
request = urllib.request.Request("http://127.0.0.1:3000/graphql", sys.stdin.buffer.read(), headers)
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
sys.stdout.write(answer.read().decode())
"""

ENTRIES = """
query { workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  name displayMetadata { key value }
  locationOrLoadError { __typename
    ... on PythonError { message }
    ... on RepositoryLocation { repositories { assetNodes {
      assetKey { path } isMaterializable dependencyKeys { path }
      partitionDefinition { type description } partitionKeys
      metadataEntries { label ... on TableSchemaMetadataEntry { schema { columns { name type } } } } } } } } } } } }
"""


class WebserverError(RuntimeError):
    """The webserver does not answer, or not with what is wanted."""


def ask(query: str, **variables: Any) -> dict[str, Any]:
    """Sends a query or mutation and returns its data.

    Raises:
        WebserverError: it does not answer, or with an error.
    """
    body = json.dumps({"query": query, "variables": variables})
    try:
        answer = json.loads(run("docker", "compose", "exec", "-T", "webserver", "python", "-c", _ASK, stdin=body))
    except (CommandError, ValueError) as error:
        raise WebserverError(
            f"The webserver does not answer; `docker compose ps webserver` tells more. {error}"
        ) from error
    if answer.get("errors") or "data" not in answer:
        raise WebserverError(f"The webserver answers with an error: {answer.get('errors', answer)}")
    return dict(answer["data"])


def entries() -> dict[str, dict[str, Any]]:
    """Every location that the webserver knows, as it has it loaded.

    Raises:
        WebserverError: see ask().
    """
    workspace = ask(ENTRIES)["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        raise WebserverError(f"The webserver cannot load its workspace: {workspace.get('message')}")
    return {entry["name"]: entry for entry in workspace["locationEntries"]}


def reload_workspace() -> set[str]:
    """Makes the webserver read its workspace file again, and returns the names of the locations that it knows then.

    Raises:
        WebserverError: see ask().
    """
    ask("mutation { reloadWorkspace { __typename } }")
    return set(entries())


def reload(location: str, image: str, keys: set[str] | None, seconds: float = 30) -> None:
    """Makes the webserver load a location anew, and checks that it has the right one.

    Args:
        location: name of the location.
        image: the image that it must be of.
        keys: keys of the assets that it must have; None takes any.
        seconds: how long to wait for it.

    Raises:
        WebserverError: it could not load it, or what it loaded is something else.
    """
    deadline = time.monotonic() + seconds
    while True:
        ask(
            "mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }",
            name=location,
        )
        wrong = what_is_wrong(entries()[location], image, keys)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise WebserverError(f"The webserver {wrong}")
        # What passes by itself: the name still leads to the container that is gone.
        time.sleep(0.5)


def what_is_wrong(entry: dict[str, Any], image: str, keys: set[str] | None) -> str:
    """Compares a location that the webserver has loaded with what it should be; empty where nothing is wrong."""
    loaded = entry["locationOrLoadError"]
    if loaded is None or loaded["__typename"] != "RepositoryLocation":
        return f"could not load {entry['name']}: {(loaded or {}).get('message', 'it says no reason')}"
    has = image_of(entry)
    if has != image:
        return f"has {entry['name']} of the image {has}, not of {image}."
    assets = {asset["key"] for asset in describe_served({entry["name"]: entry})}
    if keys is not None and assets != keys:
        return f"has other assets of {entry['name']} than its image: {', '.join(sorted(assets ^ keys))}"
    return ""


def image_of(entry: dict[str, Any]) -> str | None:
    """The image that a location's code server says it runs on, which is the one that its runs get."""
    return next((item["value"] for item in entry["displayMetadata"] if item["key"] == "image"), None)


def served(known: dict[str, dict[str, Any]]) -> tuple[list[Asset], list[str]]:
    """Describes what the webserver has loaded, and names the locations that it could not load."""
    broken = [
        name
        for name, entry in known.items()
        if (entry["locationOrLoadError"] or {}).get("__typename") != "RepositoryLocation"
    ]
    return describe_served(known), broken


def key_of(asset: Asset) -> str:
    """The key of an asset's description."""
    return str(asset["key"])
