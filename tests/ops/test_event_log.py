"""What is read of Dagster's event log is what Dagster itself reads, on the tables of an embedded Postgres."""

from collections.abc import Iterator
from contextlib import closing

import dagster as dg
import psycopg2
import pytest
import yaml

from ops.status import postgres
from ops.status.facts import Events
from tests.embedded import temporary_databases

MONTHS = ("2023-01-01", "2023-02-01")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with temporary_databases() as host:
        yield host


@pytest.fixture(scope="module")
def instance(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("home")
    storage = {"postgres": {"postgres_url": f"postgresql+psycopg2://dagster@/dagster?host={server}"}}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"storage": storage, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def build(instance: dg.DagsterInstance, asset: str, *keys: str | None) -> None:
    for key in keys:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


def events(server: str) -> Events:
    """What the status screen's own statement finds."""
    dsn = f"host={server} user=postgres dbname=dagster"
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(postgres.EVENTS.replace(":failed_runs", "100"))
        ((found,),) = cursor.fetchall()
    return postgres.read_events(found)


def read(server: str, asset: str) -> dict[str | None, int]:
    """The ids of an asset's newest materializations by the status screen's own statement."""
    newest = events(server).newest
    return {key: materialization.id for (name, key), materialization in newest.items() if name == asset}


def in_dagster(instance: dg.DagsterInstance, asset: str) -> dict[str, int]:
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return dict(instance.get_latest_storage_id_by_partition(dg.AssetKey(asset), kind))


def test_the_newest_materialization_of_each_partition_is_the_one_that_dagster_has(
    instance: dg.DagsterInstance, server: str
) -> None:
    build(instance, "trips", *MONTHS, MONTHS[0])
    assert read(server, "trips") == in_dagster(instance, "trips")
    assert set(read(server, "trips")) == set(MONTHS)


def test_the_reason_of_a_failure_is_read_whatever_is_in_its_text(instance: dg.DagsterInstance, server: str) -> None:
    # Python writes both as what Postgres does not take for JSON. One such failure would hide those of all locations.
    @dg.asset
    def fails() -> None:
        raise dg.Failure("no \x00 rows", metadata={"mean": float("nan")})

    run_id = dg.materialize([fails], instance=instance, raise_on_error=False).run_id
    assert "rows" in events(server).reasons[run_id]


def test_what_was_wiped_is_missing_until_it_is_built_again(instance: dg.DagsterInstance, server: str) -> None:
    build(instance, "report", *MONTHS)
    build(instance, "other", *MONTHS)
    instance.wipe_assets([dg.AssetKey("report")])
    assert read(server, "report") == in_dagster(instance, "report") == {}
    assert set(read(server, "other")) == set(MONTHS)
    build(instance, "report", MONTHS[1])
    assert read(server, "report") == in_dagster(instance, "report")
    assert set(read(server, "report")) == {MONTHS[1]}


def test_an_asset_without_partitions_that_was_wiped_is_missing(instance: dg.DagsterInstance, server: str) -> None:
    build(instance, "zones", None)
    assert set(read(server, "zones")) == {None}
    instance.wipe_assets([dg.AssetKey("zones")])
    assert read(server, "zones") == {}


def test_partitions_cannot_be_wiped_one_by_one_in_postgres(instance: dg.DagsterInstance) -> None:
    # The query knows of wiped assets only. If a release of Dagster can wipe partitions, this fails: extend the query.
    with pytest.raises(NotImplementedError):
        instance.wipe_asset_partitions(dg.AssetKey("trips"), [MONTHS[0]])
