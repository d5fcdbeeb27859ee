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

    ``partitions`` is ``monthly``, ``daily``, …; it and ``partition_keys`` are None where an asset has none.
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
                "columns": {column.name: column.type for column in schema.columns} if schema else {},
                "upstream": sorted(key.to_user_string() for key in node.parent_keys),
            }
        )
    return assets


if __name__ == "__main__":
    package = sys.argv[1]
    json.dump(describe(package, importlib.import_module(f"{package}.definitions").defs), sys.stdout)
