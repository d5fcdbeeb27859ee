"""The rules that dbt's own project evaluator checks, and this project's own, hold for every model by its manifest."""

from pathlib import PurePosixPath
from typing import Any

import pytest
from dbt_location.project import manifest

MODELS = {node["name"]: node for node in manifest()["nodes"].values() if node["resource_type"] == "model"}
SOURCES = {source["name"]: source for source in manifest()["sources"].values()}
TESTS = [node for node in manifest()["nodes"].values() if node["resource_type"] == "test"]
MARTS = {name: model for name, model in MODELS.items() if model["fqn"][1] == "marts"}
STAGING = {name: model for name, model in MODELS.items() if model["fqn"][1] == "staging"}
METRICS = {name: model for name, model in MODELS.items() if model["fqn"][1] == "metrics"}


def parents(model: dict[str, Any], kind: str) -> list[str]:
    return [parent for parent in model["depends_on"]["nodes"] if parent.startswith(f"{kind}.")]


def test_every_model_is_in_a_layer() -> None:
    assert {*MARTS, *STAGING, *METRICS} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_models_yaml_lies_beside_its_sql(name: str) -> None:
    sql = PurePosixPath(MODELS[name]["original_file_path"])
    assert MODELS[name]["patch_path"] == f"analytics://{sql.with_suffix('.yml')}"


@pytest.mark.parametrize("name", MODELS)
def test_a_models_description_ends_with_its_grain(name: str) -> None:
    *_, last = MODELS[name]["description"].strip().rstrip(".").split(". ")
    assert last.startswith("Grain is one ")


@pytest.mark.parametrize("name", [*MODELS, *SOURCES])
def test_every_column_has_a_type_and_a_description(name: str) -> None:
    columns = {**MODELS, **SOURCES}[name]["columns"]
    assert columns
    assert [column for column, said in columns.items() if not said["data_type"] or not said["description"]] == []


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_described(name: str) -> None:
    assert SOURCES[name]["description"]
    assert SOURCES[name]["source_description"]


@pytest.mark.parametrize("name", STAGING)
def test_a_staging_model_is_named_after_its_one_source_and_reads_nothing_else(name: str) -> None:
    (source,) = parents(STAGING[name], "source")
    assert name == f"stg_{source.rpartition('.')[2]}"
    assert parents(STAGING[name], "model") == []


def test_every_source_has_its_staging_model() -> None:
    assert {f"stg_{source}" for source in SOURCES} == set(STAGING)


@pytest.mark.parametrize("name", [*MARTS, *METRICS])
def test_a_mart_or_metric_reads_models_and_no_source(name: str) -> None:
    assert parents(MODELS[name], "model")
    assert parents(MODELS[name], "source") == []


@pytest.mark.parametrize("name", MODELS)
def test_a_model_names_no_table_itself(name: str) -> None:
    assert [schema for schema in ("raw_taxis.", "analytics.", "metrics.") if schema in MODELS[name]["raw_code"]] == []


@pytest.mark.parametrize("name", [*MARTS, *METRICS])
def test_a_mart_or_metric_has_an_enforced_contract_with_a_primary_key(name: str) -> None:
    mart = MODELS[name]
    kinds = [constraint["type"] for constraint in mart["constraints"]]
    kinds += [constraint["type"] for column in mart["columns"].values() for constraint in column["constraints"]]
    assert mart["contract"]["enforced"]
    assert kinds.count("primary_key") == 1


@pytest.mark.parametrize("name", [*MARTS, *METRICS, "stg_zones"])
def test_the_grain_is_tested(name: str) -> None:
    tested = {test["test_metadata"]["name"] for test in TESTS if test["attached_node"] == MODELS[name]["unique_id"]}
    assert tested & {"unique", "unique_combination"}


@pytest.mark.parametrize("name", MARTS)
def test_a_mart_is_reconciled_with_the_source(name: str) -> None:
    tested = {test["test_metadata"]["name"] for test in TESTS if test["attached_node"] == MODELS[name]["unique_id"]}
    assert "trips_as_in_source" in tested


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_monthly_in_its_own_schema_and_reconciled_with_the_days(name: str) -> None:
    tested = {test["test_metadata"]["name"] for test in TESTS if test["attached_node"] == MODELS[name]["unique_id"]}
    assert "trips_as_in_days" in tested
    assert (METRICS[name]["schema"], METRICS[name]["tags"]) == ("metrics", ["monthly"])
    assert METRICS[name]["config"]["meta"]["window_column"] == "month"


def on_the_trips(model: dict[str, Any]) -> bool:
    """Whether the trips are among a model's ancestors."""
    return "source.analytics.raw_taxis.trips" in parents(model, "source") or any(
        on_the_trips(manifest()["nodes"][parent]) for parent in parents(model, "model")
    )


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if on_the_trips(model)])
def test_a_model_on_the_trips_has_a_window(name: str) -> None:
    assert MODELS[name]["config"]["meta"]["window_column"]
