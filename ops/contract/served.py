"""The assets of the locations that a webserver has loaded, described as describe.py describes them."""

from collections.abc import Mapping
from typing import Any

from ops.contract.compare import Asset

_WINDOWS = ("hourly", "daily", "weekly", "monthly")


def describe_served(entries: Mapping[str, Mapping[str, Any]]) -> list[Asset]:
    """Describes every asset that the locations name, in the order of the locations and keys.

    Args:
        entries: per location its WorkspaceLocationEntry from the GraphQL API, with the fields that
            ``deployment/webserver.py`` asks for; one that could not be loaded has no assets.
    """
    assets: list[Asset] = []
    for location, entry in entries.items():
        repositories = (entry["locationOrLoadError"] or {}).get("repositories", ())
        nodes = [_describe(location, node) for repository in repositories for node in repository["assetNodes"]]
        assets += sorted(nodes, key=lambda asset: str(asset["key"]))
    return assets


def _describe(location: str, node: Mapping[str, Any]) -> Asset:
    partitions = node["partitionDefinition"]
    schemas = [entry["schema"] for entry in node["metadataEntries"] if entry["label"] == "dagster/column_schema"]
    return {
        "key": "/".join(node["assetKey"]["path"]),
        "location": location,
        "materializable": node["isMaterializable"],
        "partitions": _kind(partitions) if partitions else None,
        "partition_keys": node["partitionKeys"] if partitions else None,
        "columns": {column["name"]: column["type"] for schema in schemas for column in schema["columns"]},
        "upstream": sorted("/".join(key["path"]) for key in node["dependencyKeys"]),
    }


def _kind(partitions: Mapping[str, Any]) -> str:
    if partitions["type"] != "TIME_WINDOW":
        return str(partitions["type"]).removesuffix("PARTITIONED").lower()
    # "Monthly, starting 2023-01-01 UTC."
    word = str(partitions["description"]).split(",")[0].lower()
    return word if word in _WINDOWS else "timewindow"
