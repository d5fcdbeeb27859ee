"""dagster-dbt without dbt-core in its process: whatever this location uses of dagster-dbt is imported from here.

Where dbt-core is installed, dagster-dbt loads it to evaluate which nodes a definition selects: 1.6 s of CPU and 40 MB
in every run and in the code server, more than all the rest of the start. dbt itself is a process of its own in any
case, and the one kind of selection that there is here is a walk along the manifest's ``child_map``.
"""

import sys
from collections.abc import Mapping, Set
from typing import Any

# None makes `import dbt` fail as where it is not installed, which dagster-dbt is made for (dbt Fusion has no Python).
_loaded = sys.modules.get("dbt")
sys.modules["dbt"] = None  # type: ignore[assignment]
try:
    from dagster_dbt import (
        DagsterDbtTranslator,
        DbtCliInvocation,
        DbtCliResource,
        DbtProject,
        asset_utils,
        dbt_assets,
    )
finally:
    del sys.modules["dbt"]
    if _loaded is not None:
        sys.modules["dbt"] = _loaded

__all__ = ["DagsterDbtTranslator", "DbtCliInvocation", "DbtCliResource", "DbtProject", "dbt_assets"]


def select_unique_ids(
    select: str, exclude: str, selector: str, project: DbtProject | None, manifest_json: Mapping[str, Any]
) -> Set[str]:
    """Unique ids of the nodes that a selection names, in place of dagster-dbt's function of this name.

    Args:
        select: dbt's ``--select``: all nodes, ``fqn:*``, or all that hang on a source, ``source:raw_taxis.trips+``.
        exclude: likewise, or empty.
        selector: empty.
        project: not used.
        manifest_json: dbt's manifest.

    Raises:
        ValueError: a selection of another form.
    """
    if selector:
        raise ValueError(f"The dbt selector {selector} cannot be evaluated here. Write source:SOURCE.TABLE+.")
    nodes = set(manifest_json["nodes"])
    chosen = nodes if select == "fqn:*" else _downstream(select, manifest_json)
    return chosen - _downstream(exclude, manifest_json) if exclude else chosen


def _downstream(selection: str, manifest: Mapping[str, Any]) -> Set[str]:
    source = selection.removeprefix("source:").removesuffix("+")
    todo = [f"source.{manifest['metadata']['project_name']}.{source}"]
    if selection != f"source:{source}+" or todo[0] not in manifest["sources"]:
        raise ValueError(f"The dbt selection {selection!r} cannot be evaluated here. Write source:SOURCE.TABLE+.")
    found = set[str]()
    while todo:
        children = set(manifest["child_map"][todo.pop()]) - found
        found |= children
        todo += children
    return found & set(manifest["nodes"])


asset_utils.select_unique_ids = select_unique_ids  # type: ignore[attr-defined]
