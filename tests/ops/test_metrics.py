"""The metrics: what each evaluation exports, and that rules, dashboard and docs/monitoring.md name what is exported."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Metric, write_to_textfile

from ops.alerts.store import Store
from ops.command import ROOT
from ops.metrics.counters import Counters, metadata, number
from ops.metrics.gauges import gauges
from ops.status.facts import Backfill, Events, Facts, Instigator, Unknown, Workspace
from ops.status.judge import judge
from tests.docs.pages import section_blocks
from tests.ops.stack_facts import DAILY, EXAMPLE_NO_ENGINE, HEALTHY, HOUR, NOW, TRIPS, failed_run, newest

PAGE = ROOT / "docs/monitoring.md"
RULES = ROOT / "monitoring/rules.yml"
DASHBOARD = ROOT / "monitoring/dashboard.json"

needs_promtool = pytest.mark.skipif(
    not os.environ.get("REQUIRE_DOCKER") and not shutil.which("promtool"),
    reason="there is no promtool, which is in Debian's package prometheus",
)


def busy() -> Facts:
    """A stack in which every gauge has a sample."""
    assert not isinstance(HEALTHY.runs, Unknown)
    assert not isinstance(HEALTHY.backups, Unknown)
    run = failed_run(status="STARTED", ended=None)
    backfill = Backfill("one", "REQUESTED", ("taxi_trips",), 2, NOW)
    month_failed = replace(TRIPS, materialized=frozenset(), failed=frozenset(TRIPS.keys))
    return replace(
        HEALTHY,
        assets=(month_failed, DAILY),
        runs=replace(HEALTHY.runs, unfinished=(run,), failed=(failed_run(),), backfills=(backfill,)),
        backups=replace(HEALTHY.backups, rehearsal={"started": NOW - HOUR, "ended": NOW - HOUR, "found": ["a page"]}),
    )


class Exported:
    """What an evaluation exports."""

    def __init__(self, facts: Facts, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.counters = Counters(self.registry)
        self.counters._start_at_zero(facts)
        self.counters._count_deploys(Store(folder), facts)
        self.counters._count_metadata(("dbt_location", "daily_metrics"), {"Execution Duration": 1.5})
        self._gauges = [*gauges(facts, judge(facts), 0.5)]

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges
        yield from self.registry.collect()

    def labels(self) -> dict[str, set[str]]:
        """The labels of each metric that has a sample, by the name that Prometheus gives it."""
        return {
            f"{each.name}_total" if each.type == "counter" else each.name: {
                label for sample in each.samples for label in sample.labels
            }
            - {"le"}
            for each in self.collect()
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The value of a series; None where it has no sample."""
        found = {(one.name, *sorted(one.labels.items())): one.value for each in self.collect() for one in each.samples}
        return found.get((name, *sorted(labels.items())))


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return Exported(busy(), tmp_path)


def named(text: str) -> set[str]:
    """The metrics that an expression of PromQL names."""
    return set(re.findall(r"\b(?:dagster|taxi)_[a-z_]+\b", text))


def queries() -> list[str]:
    """The dashboard's queries, with a value in place of Grafana's variables."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def test_the_page_has_every_metric_with_its_labels_and_no_other(exported: Exported) -> None:
    rows = re.findall(r"^\| `((?:dagster|taxi)_[a-z_]+)` \| ([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == exported.labels()


def test_rules_and_dashboard_ask_for_what_is_exported(exported: Exported) -> None:
    series = {sample.name for each in exported.collect() for sample in each.samples}
    asked = {name for text in [*queries(), *(rule["expr"] for rule in rules())] for name in named(text)}
    assert asked
    assert asked - series == set()


def test_the_page_has_every_alert_and_no_other() -> None:
    assert re.findall(r"^\| `(Taxi\w+)` \|", PAGE.read_text(), re.MULTILINE) == [rule["alert"] for rule in rules()]


@needs_promtool
def test_prometheus_accepts_the_rules_and_each_alert_begins_when_it_should() -> None:
    blocks = [block for block in section_blocks(PAGE, "Alerts") if block.startswith("promtool")]
    assert len(blocks) == 1
    ended = subprocess.run(["bash", "-euc", blocks[0]], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_promtool
def test_prometheus_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    records = [{"record": f"query_{place}", "expr": query} for place, query in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    ended = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_promtool
def test_names_and_units_are_as_prometheus_wants_them(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    write_to_textfile(str(path), exported)
    ended = subprocess.run(["promtool", "check", "metrics"], input=path.read_text(), capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_series_is_of_a_run_or_a_partition(exported: Exported) -> None:
    values = {value for each in exported.collect() for sample in each.samples for value in sample.labels.values()}
    assert values & {"0a1b", *TRIPS.keys, *DAILY.keys} == set()


def test_more_runs_and_partitions_make_no_more_series(exported: Exported, tmp_path: Path) -> None:
    few = busy()
    assert not isinstance(few.runs, Unknown)
    keys = tuple(f"2024-01-{day:02}" for day in range(1, 29))
    failed = tuple(failed_run(id=f"run {number}") for number in range(100))
    many = replace(few, assets=(TRIPS, replace(DAILY, keys=keys)), runs=replace(few.runs, failed=failed))
    (tmp_path / "many").mkdir()
    count = [sum(len(each.samples) for each in one.collect()) for one in (exported, Exported(many, tmp_path / "many"))]
    assert count[0] >= count[1] > 0


def test_what_is_not_known_has_no_sample_and_is_named(tmp_path: Path) -> None:
    found = Exported(EXAMPLE_NO_ENGINE, tmp_path)
    assert found.value("taxi_part_known", part="storage") == 0
    assert found.value("taxi_problems", kind="engine", location="") == 1
    for name in ("taxi_connections_max", "taxi_wal_waiting_segments", "dagster_asset_partitions", "taxi_service_up"):
        assert name not in {sample.name for each in found.collect() for sample in each.samples}


def test_the_problems_are_those_of_the_judge(exported: Exported) -> None:
    kinds = [(problem.kind, problem.location) for problem in judge(busy()).problems]
    assert kinds
    for kind, location in set(kinds):
        assert exported.value("taxi_problems", kind=kind, location=location) == kinds.count((kind, location))


def test_late_partitions_are_those_that_the_judge_calls_overdue(tmp_path: Path) -> None:
    stale = replace(HEALTHY, events=Events(newest(taxi_trips=[("2023-01-01", 50)]), {}))
    found = Exported(stale, tmp_path)
    assert found.value("dagster_asset_partitions_late", location="dbt_location", asset="daily_metrics") == 2
    assert found.value("dagster_asset_partitions_late", location="ingestion_location", asset="taxi_trips") == 0


def test_lateness_is_not_known_while_the_automation_has_a_problem(tmp_path: Path) -> None:
    off = Instigator("automatic_builds", "dbt_location", "sensor", False, True, True)
    workspace = Workspace(instigators=(off,))
    found = Exported(replace(HEALTHY, workspace=workspace), tmp_path)
    assert found.value("dagster_asset_partitions_late", location="dbt_location", asset="daily_metrics") is None


def test_a_location_that_gets_another_image_is_counted_as_a_deploy_also_over_a_restart(tmp_path: Path) -> None:
    assert not isinstance(HEALTHY.services, Unknown)
    assert Exported(HEALTHY, tmp_path).value("taxi_deploys_total", location="dbt_location") == 0
    other = [replace(one, image="dbt_location:2") if one.name == "dbt_location" else one for one in HEALTHY.services]
    found = Exported(replace(HEALTHY, services=tuple(other)), tmp_path)
    assert found.value("taxi_deploys_total", location="dbt_location") == 1
    assert found.value("taxi_deploys_total", location="ingestion_location") == 0


def test_a_name_that_is_no_utf8_holds_up_nothing(tmp_path: Path) -> None:
    found = Exported(replace(HEALTHY, assets=(replace(TRIPS, key="half \udc80\n"), DAILY)), tmp_path)
    write_to_textfile(str(tmp_path / "metrics.prom"), found)
    assert 'asset="half ?\\n"' in (tmp_path / "metrics.prom").read_text()


@pytest.mark.parametrize("value", [None, "7", -1, float("nan"), float("inf"), 1e308, [1]])
def test_a_number_that_would_spoil_a_counter_is_not_counted(value: Any) -> None:
    assert number(value) is None


@pytest.mark.parametrize("event", [None, "", "no JSON", "[]", '{"dagster_event": null}', "[" * 100_000])
def test_an_event_that_cannot_be_read_has_no_metadata(event: str | None) -> None:
    assert metadata(event) == {}
