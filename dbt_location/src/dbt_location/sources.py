"""What this location needs from outside, as external assets made from dbt's sources file."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from dbt_location.partitions import SOURCE_PARTITIONS


def source_asset_key(source: Mapping[str, Any]) -> dg.AssetKey:
    """The key of the asset that a dbt source is, from ``meta.dagster.asset_key`` in the sources file."""
    try:
        return dg.AssetKey(source["config"]["meta"]["dagster"]["asset_key"])
    except KeyError:
        raise ValueError(
            f"The dbt source {source['source_name']}.{source['name']} names no asset. Add meta.dagster.asset_key, "
            "the key that its owner gave it, to models/staging/_sources.yml."
        ) from None


def source_assets(manifest: Mapping[str, Any]) -> Iterator[dg.AssetSpec]:
    """Yields one external asset per dbt source: its key, the partitions and the columns that this location needs."""
    for source in manifest["sources"].values():
        partitions = source["config"]["meta"].get("dagster", {}).get("partitions")
        if partitions is not None and partitions not in SOURCE_PARTITIONS:
            raise ValueError(
                f"The dbt source {source['source_name']}.{source['name']} has partitions {partitions!r}. "
                f"Write one of {', '.join(SOURCE_PARTITIONS)}, or leave the entry out."
            )
        columns = [
            dg.TableColumn(column["name"], column["data_type"], column["description"])
            for column in source["columns"].values()
        ]
        yield dg.AssetSpec(
            key=source_asset_key(source),
            description=source["description"],
            group_name=source["source_name"],
            partitions_def=SOURCE_PARTITIONS[partitions] if partitions else None,
            metadata={"dagster/column_schema": dg.TableSchema(columns=columns)},
        )
