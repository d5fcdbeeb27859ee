"""Which nodes a definition selects, found out without dbt in the process."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from dbt_location.dbt_models import DAILY
from dbt_location.lean_dagster_dbt import select_unique_ids
from dbt_location.project import manifest


def select(select: str = "fqn:*", exclude: str = "", selector: str = "") -> set[str]:
    return set(select_unique_ids(select, exclude, selector, None, manifest()))


def models_and_tests(nodes: set[str]) -> set[str]:
    """What becomes an asset or a check."""
    return {node for node in nodes if node.startswith(("model.", "test."))}


@pytest.mark.parametrize(("option", "chosen"), [("--select", {"select": DAILY}), ("--exclude", {"exclude": DAILY})])
def test_the_nodes_of_a_definition_are_those_that_dbt_selects(
    dbt: Callable[..., Any], option: str, chosen: dict[str, str]
) -> None:
    # Eagerly, with every test of the models, as dagster-dbt asks dbt.
    listed = dbt(
        "list", option, DAILY, "--output", "json", "--output-keys", "unique_id", "--indirect-selection", "eager"
    )
    nodes = {json.loads(line)["unique_id"] for line in listed.result}
    assert models_and_tests(select(**chosen)) == models_and_tests(nodes)


def test_dbt_is_not_loaded_into_the_process_of_the_definitions() -> None:
    code = "import sys, dbt_location.definitions; print(sorted({'dbt', 'agate', 'networkx'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "chosen",
    [{"select": "tag:nightly"}, {"select": "source:raw_taxis.trips"}, {"exclude": "source:a.b+"}, {"selector": "days"}],
)
def test_a_selection_of_another_form_is_refused_by_its_name(chosen: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(chosen.values())).replace("+", r"\+")):
        select(**chosen)
