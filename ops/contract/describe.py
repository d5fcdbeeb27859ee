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

    Returns:
        One object per asset: ``key``, ``location``, ``materializable``, ``partitions`` (``monthly``, ``daily``, …) and
        ``partition_keys`` (both None where it has none), ``columns`` (name to type) and ``upstream`` (keys).
    """
    graph = defs.resolve_asset_graph()
    assets = []
    for node in sorted(graph.asset_nodes, key=lambda node: node.key.to_user_string()):
        schema = node.metadata.get("dagster/column_schema")
        schema = getattr(schema, "schema", schema)  # a TableColumnSchemaMetadataValue wraps it
        assets.append(
            {
                "key": node.key.to_user_string(),
                "location": location,
                "materializable": node.is_materializable,
                "partitions": type(node.partitions_def).__name__.removesuffix("PartitionsDefinition").lower()
                if node.partitions_def
                else None,
                "partition_keys": list(node.partitions_def.get_partition_keys()) if node.partitions_def else None,
                "columns": {column.name: column.type for column in schema.columns} if schema else {},
                "upstream": sorted(key.to_user_string() for key in node.parent_keys),
            }
        )
    return assets


if __name__ == "__main__":
    package = sys.argv[1]
    json.dump(describe(package, importlib.import_module(f"{package}.definitions").defs), sys.stdout)
