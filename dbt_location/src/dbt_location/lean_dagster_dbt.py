"""dagster-dbt without dbt-core in its process: whatever this location uses of dagster-dbt is imported from here.

Where dbt-core can be imported, dagster-dbt loads it to evaluate which nodes a definition selects: 1.6 s of CPU and 40
MB in every run and in the code server, more than all the rest of the start. dbt itself is a process of its own in any
case. The selections of this location are evaluated here, from the manifest; dagster-dbt evaluates every other one, with
dbt-core.
"""

import subprocess
import sys
from collections.abc import Mapping, Set
from importlib import metadata
from types import SimpleNamespace
from typing import Any

from packaging import version

from dbt_location import ready_dbt

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
        dbt_manifest_asset_selection,
        utils,
    )
    from dagster_dbt.core import dbt_cli_invocation
    from dagster_dbt.errors import DagsterDbtCliRuntimeError
finally:
    del sys.modules["dbt"]
    if _loaded is not None:
        sys.modules["dbt"] = _loaded

__all__ = [
    "DagsterDbtCliRuntimeError",
    "DagsterDbtTranslator",
    "DbtCliInvocation",
    "DbtCliResource",
    "DbtProject",
    "dbt_assets",
]


def select_unique_ids(
    select: str, exclude: str, selector: str, project: DbtProject | None, manifest_json: Mapping[str, Any]
) -> Set[str]:
    """Unique ids of the nodes that a selection names, in place of dagster-dbt's function of this name."""
    chosen = _nodes(select, manifest_json)
    excluded = _nodes(exclude, manifest_json) if exclude else set[str]()
    if selector or chosen is None or excluded is None:
        # This tells dagster-dbt that dbt-core can be imported: only its module that evaluates selections, no other.
        utils.DBT_PYTHON_VERSION = version.parse(metadata.version("dbt-core"))  # type: ignore[attr-defined]
        return utils.select_unique_ids(select, exclude, selector, project, manifest_json)
    return chosen - excluded


def _nodes(selection: str, manifest: Mapping[str, Any]) -> Set[str] | None:
    """The nodes of ``fqn:*``, of one source with all that depends on it, or of one tag; None for another selection."""
    nodes, children = manifest["nodes"], manifest["child_map"]
    method, _, value = selection.partition(":")
    if selection == "fqn:*":
        return set(nodes)
    if method == "tag" and value.isidentifier():
        tagged = [id for id, node in nodes.items() if value in node["tags"]]
        tests = [child for id in tagged for child in children[id] if child.startswith("test.")]
        return {*tagged, *tests}
    source = f"source.{manifest['metadata']['project_name']}.{value.removesuffix('+')}"
    if method == "source" and value.endswith("+") and source in manifest["sources"]:
        found = [source]
        # The list grows while the loop walks over it.
        for id in found:
            found += [child for child in children[id] if child not in found]
        return set(nodes).intersection(found)
    return None


# dagster-dbt has no setting for how dbt is started.
dbt_cli_invocation.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": ready_dbt.run})  # type: ignore[assignment, attr-defined]

for _module in (asset_utils, dbt_manifest_asset_selection):
    _module.select_unique_ids = select_unique_ids  # type: ignore[attr-defined]
