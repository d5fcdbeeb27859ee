"""dbt's own unit tests of the models' logic, beside the models, hold."""

from typing import Any


def test_every_model_has_unit_tests_and_all_of_them_pass(query: Any, dbt: Any) -> None:
    # dbt takes the types of a unit test's input from the tables that are there.
    assert dbt("build", "--exclude-resource-type", "unit_test").success
    result = dbt("test", "--select", "test_type:unit")
    ran = [r for r in result.result.results if r.node.resource_type == "unit_test"]
    assert [f"{r.node.name}: {r.message}" for r in ran if r.status != "pass"] == []
    assert {r.node.tested_node_unique_id.rpartition(".")[2] for r in ran} == {
        "stg_trips",
        "stg_zones",
        "daily_metrics",
        "location_metrics",
        "zone_pickups",
        "borough_flows",
        "monthly_totals",
    }
