"""How dbt's resources look in Dagster."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dbt_location.lean_dagster_dbt import DagsterDbtTranslator
from dbt_location.sources import source_asset_key


class AnalyticsTranslator(DagsterDbtTranslator):
    """A source is the asset that its owner made, so lineage crosses the locations; groups are the project's layers."""

    def __init__(self, automation_condition: dg.AutomationCondition[dg.AssetKey]) -> None:
        super().__init__()
        self._automation_condition = automation_condition

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The key of a dbt resource; a model's is its name, whatever its schema."""
        if dbt_resource_props["resource_type"] == "source":
            return source_asset_key(dbt_resource_props)
        return dg.AssetKey(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The folder of a model: staging, marts or metrics."""
        return str(dbt_resource_props["fqn"][1])

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """dbt's own tags, and the layer, which every location's assets have."""
        return {**super().get_tags(dbt_resource_props), "layer": self.get_group_name(dbt_resource_props)}

    def get_automation_condition(
        self, dbt_resource_props: Mapping[str, Any]
    ) -> dg.AutomationCondition[dg.AssetKey] | None:
        return self._automation_condition

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:analytics"]
