"""The locations that the webserver has loaded, and their assets, described as describe.py describes them."""

import time
from collections.abc import Mapping
from typing import Any

from ops.contract.compare import Asset
from ops.graphql import Webserver, WebserverError, webserver

# The fields of an asset node that describe_node reads; the columns are read where the query has metadataEntries, too.
NODE = """
assetKey { path } isMaterializable
dependencies { asset { assetKey { path } } partitionMapping { className description } }
partitionDefinition { type description fmt } partitionKeys
"""
ENTRIES = f"""
query {{ workspaceOrError {{ __typename ... on PythonError {{ message }} ... on Workspace {{ locationEntries {{
  name displayMetadata {{ key value }}
  locationOrLoadError {{ __typename
    ... on PythonError {{ message }}
    ... on RepositoryLocation {{ repositories {{ assetNodes {{ {NODE}
      metadataEntries {{ label ... on TableSchemaMetadataEntry {{ schema {{ columns {{ name type }} }} }} }}
    }} }} }} }} }} }} }} }}
"""
_WINDOWS = ("hourly", "daily", "weekly", "monthly")
Entry = dict[str, Any]


def read_entries(asked: Webserver | None = None) -> dict[str, Entry]:
    """The WorkspaceLocationEntry of each location that the webserver knows, by name."""
    workspace = (asked or webserver()).ask(ENTRIES)["workspaceOrError"]
    return {entry["name"]: entry for entry in workspace["locationEntries"]}


def reload_workspace(asked: Webserver | None = None) -> set[str]:
    """Makes the webserver read its workspace file again, and returns the names of the locations in it."""
    mutation = "mutation { reloadWorkspace { __typename ... on UnauthorizedError { message } } }"
    (asked or webserver()).ask(mutation)
    return set(read_entries(asked))


def reload_location(name: str, image: str, keys: set[str] | None, asked: Webserver | None = None) -> None:
    """Makes the webserver load a location again, and checks that it has this image and assets of these keys.

    None accepts any assets. Raises WebserverError if that fails, or something else is loaded, for half a minute.
    """
    deadline = time.monotonic() + 30
    mutation = "mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename"
    mutation += " ... on UnauthorizedError { message } } }"
    while True:
        try:
            (asked or webserver()).ask(mutation, name=name)
            wrong = what_is_wrong(read_entries(asked)[name], image, keys)
            if not wrong:
                return
            error = WebserverError(f"The webserver {wrong}")
        except WebserverError as failure:
            error = failure
        if time.monotonic() > deadline:
            raise error
        # A load that began before the gateway switched may have ended after it.
        time.sleep(0.5)


def what_is_wrong(entry: Entry, image: str, keys: set[str] | None) -> str:
    """Compares a location that the webserver has loaded with the expected one; empty if they agree."""
    if not _is_loaded(entry):
        reason = (entry["locationOrLoadError"] or {}).get("message", "it gives no reason")
        return f"could not load {entry['name']}: {reason}"
    # What the code server reports here is also the image of its runs.
    has = next((item["value"] for item in entry["displayMetadata"] if item["key"] == "image"), None)
    if has != image:
        return f"has {entry['name']} of the image {has}, not of {image}."
    assets = {asset["key"] for asset in describe_served({entry["name"]: entry})}
    if keys is not None and assets != keys:
        return f"has other assets of {entry['name']} than its image: {', '.join(sorted(assets ^ keys))}"
    return ""


def not_loaded(entries: Mapping[str, Entry]) -> list[str]:
    return [name for name, entry in entries.items() if not _is_loaded(entry)]


def _is_loaded(entry: Entry) -> bool:
    return (entry["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"


def describe_served(entries: Mapping[str, Entry]) -> list[Asset]:
    """Describes every asset in what ``read_entries`` returns; a location that could not be loaded has none."""
    assets: list[Asset] = []
    for location, entry in entries.items():
        repositories = (entry["locationOrLoadError"] or {}).get("repositories", ())
        nodes = [describe_node(location, node) for repository in repositories for node in repository["assetNodes"]]
        assets += sorted(nodes, key=lambda asset: str(asset["key"]))
    return assets


def describe_node(location: str, node: Mapping[str, Any]) -> Asset:
    """Describes an asset node of the webserver as describe.py describes an asset."""
    partitions = node["partitionDefinition"]
    mappings = {"/".join(one["asset"]["assetKey"]["path"]): one["partitionMapping"] for one in node["dependencies"]}
    entries = node.get("metadataEntries", ())
    schemas = [entry["schema"] for entry in entries if entry["label"] == "dagster/column_schema"]
    return {
        "key": "/".join(node["assetKey"]["path"]),
        "location": location,
        "materializable": node["isMaterializable"],
        "partitions": _kind(partitions) if partitions else None,
        "partition_keys": node["partitionKeys"] if partitions else None,
        "format": (partitions or {}).get("fmt"),
        "columns": {column["name"]: column["type"] for schema in schemas for column in schema["columns"]},
        "upstream": sorted(mappings),
        "mappings": {key: [one["className"], one["description"]] for key, one in mappings.items() if one},
    }


def _kind(partitions: Mapping[str, Any]) -> str:
    if partitions["type"] != "TIME_WINDOW":
        return str(partitions["type"]).removesuffix("PARTITIONED").lower()
    # "Monthly, starting 2023-01-01 UTC."
    word = str(partitions["description"]).split(",")[0].lower()
    return word if word in _WINDOWS else "timewindow"
