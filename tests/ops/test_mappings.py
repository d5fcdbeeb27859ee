"""A dependency that cannot be judged hides no other asset, and the contract refuses it.

As the webserver's own API and ops/contract/describe.py describe it.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from ops.contract.compare import breaches
from ops.contract.describe import describe
from ops.lineage import Asset
from ops.status import webserver

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `allow_nonexistent_upstream_partitions`")
LOCATION = """
import dagster as dg

months = dg.MonthlyPartitionsDefinition("2023-01-01", end_date="2023-03-01")

def monthly(name, **upstream):
    deps = [dg.AssetDep(key, partition_mapping=mapping) for key, mapping in upstream.items()]
    return dg.asset(name=name, deps=deps, partitions_def=months)(lambda: None)

defs = dg.Definitions([
    monthly("totals"),
    monthly("last", totals=dg.LastPartitionMapping()),
    monthly("everything", totals=dg.AllPartitionMapping()),
    monthly("first", totals=dg.SpecificPartitionsPartitionMapping(["2023-01-01"])),
    monthly("ahead", totals=dg.TimeWindowPartitionMapping(0, 1, allow_nonexistent_upstream_partitions=True)),
    monthly("report", totals=dg.TimeWindowPartitionMapping(-1, 0, allow_nonexistent_upstream_partitions=True)),
])
"""


class Inside:
    """Asks the API in this process, without HTTP."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def ask(self, query: str) -> Any:
        return execute_dagster_graphql(self.context, query).data


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Asset]]:
    file = tmp_path_factory.mktemp("location") / "location.py"
    file.write_text(LOCATION)
    target = PythonFileTarget(str(file), attribute=None, working_directory=None, location_name="other_location")
    with DagsterInstance.local_temp() as instance, WorkspaceProcessContext(instance, target) as process:
        found = webserver.assets(Inside(process.create_request_context()))  # type: ignore[arg-type]
        yield {asset.key: asset for asset in found}


def test_every_asset_is_read_whatever_its_dependencies_are(assets: dict[str, Asset]) -> None:
    assert set(assets) == {"totals", "last", "everything", "first", "ahead", "report"}
    assert (assets["report"].offsets, assets["report"].not_judged) == ({"totals": (-1, 0)}, {})


@pytest.mark.parametrize("name", ["first", "ahead"])
def test_a_dependency_that_cannot_be_judged_is_named(assets: dict[str, Asset], name: str) -> None:
    assert [*assets[name].not_judged] == ["totals"]


@pytest.mark.parametrize("name", ["last", "everything"])
def test_the_api_does_not_tell_a_mapping_without_fields_from_the_default(assets: dict[str, Asset], name: str) -> None:
    """The deploy's refusal is all there is. Once this fails, make status can judge them, too."""
    assert assets[name].not_judged == {}


def test_the_contract_names_every_dependency_that_cannot_be_judged() -> None:
    module: dict[str, Any] = {}
    exec(LOCATION, module)
    found = breaches(describe("other_location", module["defs"]))
    assert [breach.split(":")[0] for breach in found] == ["ahead", "everything", "first", "last"]
    assert (
        "everything: the partitions that it is made from are not known: its dependency on totals has a All" in found[1]
    )
