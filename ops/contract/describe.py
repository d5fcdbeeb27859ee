"""Prints the assets of a code location as JSON. Run by that location's own Python, whose packages are its own.

usage: describe.py PACKAGE
"""

import importlib
import json
import sys
from typing import Any

import dagster as dg


def describe(location: str, defs: dg.Definitions) -> list[dict[str, Any]]:
    """Describes every asset that the definitions name, their own ones and those that they need from outside.

    ``partitions`` is ``monthly``, ``daily``, …; it, ``partition_keys`` and ``format``, of keys that are times, are None
    where an asset has none. ``mappings`` has the class and the description of each partition mapping that is declared.
    """
    graph = defs.resolve_asset_graph()
    assets = []
    for node in sorted(graph.asset_nodes, key=lambda node: node.key.to_user_string()):
        schema = node.metadata.get("dagster/column_schema")
        schema = getattr(schema, "schema", schema)  # a TableColumnSchemaMetadataValue wraps it
        partitions = node.partitions_def
        kind = type(partitions).__name__.removesuffix("PartitionsDefinition").lower()
        assets.append(
            {
                "key": node.key.to_user_string(),
                "location": location,
                "materializable": node.is_materializable,
                "partitions": kind if partitions else None,
                "partition_keys": list(partitions.get_partition_keys()) if partitions else None,
                "format": getattr(partitions, "fmt", None),
                "columns": {column.name: column.type for column in schema.columns} if schema else {},
                "upstream": sorted(key.to_user_string() for key in node.parent_keys),
                "mappings": {
                    key.to_user_string(): [type(mapping).__name__, mapping.description]
                    for key, mapping in sorted(node.partition_mappings.items())
                },
            }
        )
    return assets


if __name__ == "__main__":
    package = sys.argv[1]
    json.dump(describe(package, importlib.import_module(f"{package}.definitions").defs), sys.stdout)
