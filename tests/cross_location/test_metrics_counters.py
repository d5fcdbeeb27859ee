"""Runs and materializations are counted once each, by the role of the alerts, and however long the history is."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry
from psycopg2.extras import execute_values

from ops.alerts.store import Store
from ops.metrics import counters
from ops.metrics.counters import BUILT, MOST, RUNS, Counters
from ops.metrics.export import Export
from ops.status.facts import Workspace
from ops.status.judge import judge
from tests.cross_location.instance_roles import Instance
from tests.ops.stack_facts import HEALTHY

FACTS = replace(HEALTHY, assets=(), workspace=Workspace())
HISTORY = 10_000


class Counting:
    """The counters of a process whose state is in a folder; they begin with the first evaluation."""

    def __init__(self, folder: Path) -> None:
        self.registry, self.store = CollectorRegistry(), Store(folder)
        self._counters = Counters(self.registry)
        self.evaluate()

    def evaluate(self) -> None:
        self._counters.count(self.store, FACTS)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def counting(instance: Instance, tmp_path: Path) -> Counting:
    return Counting(tmp_path)


def build(instance: Instance, location: str = "ingestion_location", asset: str = "trips") -> dg.DagsterRun:
    run = instance.launch(location, asset, None if asset.endswith("_fails") else "first")
    instance.execute(location, asset, run)
    return run


def test_each_run_and_each_materialization_is_counted_once_in_however_many_evaluations(
    instance: Instance, counting: Counting
) -> None:
    build(instance)
    build(instance, asset="trips_fails")
    instance.host.report_run_canceled(instance.launch("dbt_location", "metrics"))
    for _ in range(3):
        counting.evaluate()
    results = [("ingestion_location", "success"), ("ingestion_location", "failure"), ("dbt_location", "canceled")]
    assert [counting.value("dagster_runs_total", location=at, result=how) for at, how in results] == [1, 1, 1]
    assert counting.value("dagster_asset_materializations_total", location="ingestion_location", asset="trips") == 1


def test_durations_and_queue_times_are_those_of_the_run(instance: Instance, counting: Counting) -> None:
    run = build(instance)
    record = instance.host.get_run_record_by_id(run.run_id)
    assert record is not None
    assert record.start_time
    assert record.end_time
    counting.evaluate()
    of_location = {"location": "ingestion_location"}
    took = counting.value("dagster_run_duration_seconds_sum", **of_location)
    waited = counting.value("dagster_run_queue_seconds_sum", **of_location)
    assert took == pytest.approx(record.end_time - record.start_time, abs=0.5)
    assert waited == pytest.approx(record.start_time - record.create_timestamp.timestamp(), abs=0.5)


def test_the_first_evaluation_ignores_the_past(instance: Instance, tmp_path: Path) -> None:
    build(instance)
    counting = Counting(tmp_path)
    counting.evaluate()
    assert counting.value("dagster_runs_total", location="ingestion_location", result="success") is None


def test_a_restart_counts_what_happened_meanwhile_and_nothing_twice(
    instance: Instance, counting: Counting, tmp_path: Path
) -> None:
    build(instance)
    counting.evaluate()
    build(instance)
    after = Counting(tmp_path)
    after.evaluate()
    assert after.value("dagster_runs_total", location="ingestion_location", result="success") == 1


def test_an_event_that_becomes_visible_after_a_later_one_is_counted(instance: Instance, counting: Counting) -> None:
    columns = "run_id, event, dagster_event_type, timestamp, asset_key"
    insert = f"insert into event_logs ({columns}) values ('', '{{}}', 'ASSET_MATERIALIZATION', now(), '[\"late\"]')"
    with instance.connect("postgres") as slow:
        slow.autocommit = False
        slow.cursor().execute(insert)
        build(instance)
        counting.evaluate()
        slow.commit()
    counting.evaluate()
    assert counting.value("dagster_asset_materializations_total", location="", asset="late") == 1
    assert counting.value("dagster_asset_materializations_total", location="ingestion_location", asset="trips") == 1


def report(instance: Instance, asset: str, **metadata: Any) -> None:
    """Stores a materialization as a run does, without its run."""
    instance.host.report_runless_asset_event(dg.AssetMaterialization(asset, metadata=metadata))


def test_a_load_counts_its_rows_and_the_seconds_of_its_phases(instance: Instance, counting: Counting) -> None:
    seconds = dg.MetadataValue.json({"copy": 4.0, "download": 1.5, "another": 9})
    report(instance, "taxi_trips", rows=1000, bytes=5000, seconds=seconds)
    counting.evaluate()
    assert (counting.value("taxi_load_rows_total"), counting.value("taxi_load_bytes_total")) == (1000, 5000)
    phases = ("copy", "download", "index", "another")
    assert [counting.value("taxi_load_seconds_total", phase=phase) for phase in phases] == [4, 1.5, 0, None]


def test_a_model_of_dbt_counts_what_dbt_took(instance: Instance, counting: Counting) -> None:
    report(instance, "daily_metrics", **{"Execution Duration": 2.5})
    report(instance, "daily_metrics", **{"Execution Duration": 0.5})
    counting.evaluate()
    labels = {"location": "", "asset": "daily_metrics"}
    found = [counting.value(f"taxi_dbt_model_seconds_{part}", **labels) for part in ("count", "sum")]
    assert found == [2, 3]


def test_hostile_metadata_and_a_long_event_count_as_materializations_only(
    instance: Instance, counting: Counting
) -> None:
    worst = dg.MetadataValue.json({"copy": "soon"})
    report(instance, "worst", rows=-5, seconds=worst, **{"Execution Duration": float("nan")})
    report(instance, "worst", **{"Execution Duration": 1.0, "text": "x" * counters.LONGEST})
    counting.evaluate()
    assert counting.value("dagster_asset_materializations_total", location="", asset="worst") == 2
    assert counting.value("taxi_dbt_model_seconds_count", location="", asset="worst") is None
    assert counting.value("taxi_load_rows_total") == 0


def test_more_events_than_an_evaluation_reads_are_counted_by_the_next_ones(
    instance: Instance, counting: Counting
) -> None:
    insert_history(instance, MOST + 500)
    counting.evaluate()
    counting.evaluate()
    assert counting.value("dagster_runs_total", location="", result="success") == MOST + 500


def insert_history(instance: Instance, runs: int) -> None:
    """Adds runs that ended, each with ten events, two of them materializations."""
    begun = f"history {time.time_ns()}"
    kinds = ["PIPELINE_START", *["STEP_SUCCESS"] * 6, *["ASSET_MATERIALIZATION"] * 2, "PIPELINE_SUCCESS"]
    with instance.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        execute_values(
            cursor,
            "insert into runs (run_id, pipeline_name, status, run_body, start_time, end_time) values %s",
            [(f"{begun} {number}", "job", "SUCCESS", "{}", 1.0, 2.0) for number in range(runs)],
            page_size=1000,
        )
        cursor.execute(
            "insert into event_logs (run_id, event, dagster_event_type, timestamp, asset_key) "
            "select %s || ' ' || number, '{}', kind, now(), case kind when 'ASSET_MATERIALIZATION' then %s end "
            "from generate_series(0, %s) as number, unnest(%s) with ordinality as kinds (kind, place) "
            "order by number, place",
            [begun, '["history"]', runs - 1, kinds],
        )
        cursor.execute("analyze")


def scans(node: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The type and the table of each node of a plan."""
    yield node["Node Type"], node.get("Relation Name")
    for below in node.get("Plans", ()):
        yield from scans(below)


def test_an_evaluation_reads_new_events_by_their_index_however_long_the_history_is(
    instance: Instance, tmp_path: Path
) -> None:
    insert_history(instance, HISTORY)
    counting = Counting(tmp_path)
    with instance.connect("alerts") as connection, connection.cursor() as cursor:
        cursor.execute("select max(id) from event_logs")
        ((newest,),) = cursor.fetchall()
        for query in (RUNS, BUILT):
            cursor.execute(f"explain (format json, analyze) {query}", [newest - 1000, [], MOST])
            ((plan,),) = cursor.fetchall()
            read = list(scans(plan[0]["Plan"]))
            assert [node for node, table in read if table == "event_logs" and node == "Seq Scan"] == [], plan
    began = time.perf_counter()
    counting.evaluate()
    print(f"counting with {HISTORY} runs of history takes {(time.perf_counter() - began) * 1000:.0f} ms")


def test_a_file_is_written_even_while_postgres_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", str(tmp_path))
    Export(tmp_path / "metrics.prom").write(Store(tmp_path), HEALTHY, judge(HEALTHY), time.monotonic())
    assert "taxi_evaluation_timestamp_seconds 1.7e+09" in (tmp_path / "metrics.prom").read_text()
