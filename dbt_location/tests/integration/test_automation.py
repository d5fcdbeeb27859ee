"""When days and months are built automatically: the real definitions, tick by tick, on an instance in memory.

What runs do to the warehouse is tested elsewhere; here a run only leaves in the instance what a real one does.
"""

import runpy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import permutations
from typing import Any

import dagster as dg
import pytest
from dbt_location.automation_conditions import (
    ZONES,
    build_when_days_are_current,
    build_when_month_is_loaded,
    build_when_upstream_is_loaded,
)
from dbt_location.definitions import defs
from dbt_location.defs.automation import automatic_builds
from dbt_location.partitions import daily_partition, monthly_partition

# Of Dagster's own function for tests; and of runpy, which is used to load a module twice.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),
    pytest.mark.filterwarnings("ignore:'dbt_location.defs.automation' found in sys.modules"),
]

DAILY = ("stg_trips", "daily_metrics", "location_metrics", "manhattan_stats")
# In the order in which a run builds them.
MONTHLY = ("zone_pickups", "borough_flows", "monthly_totals", "zone_map", "borough_flows_chart", "monthly_report")
JANUARY, FEBRUARY, MARCH = "2023-01-01", "2023-02-01", "2023-03-01"
DAYS = {JANUARY: 31, FEBRUARY: 28, MARCH: 31}
NOTHING: dict[str, int] = {}


def first_and_last(assets: Sequence[str]) -> list[Any]:
    """Parameters of a test: the first and the last asset of a run; those between them are drills."""
    return [
        pytest.param(asset, marks=() if asset in (assets[0], assets[-1]) else pytest.mark.drill) for asset in assets
    ]


def days(count: int) -> dict[str, int]:
    """That many days of every daily asset."""
    return dict.fromkeys(DAILY, count)


def months_of(count: int) -> dict[str, int]:
    """That many months of every monthly asset."""
    return dict.fromkeys(MONTHLY, count)


class Platform:
    """Stands in for the daemon and for all runs: ticks, and records the events of runs."""

    def __init__(self, definitions: dg.Definitions = defs, assets: Sequence[str] = ("stg_zones", *DAILY)) -> None:
        self.definitions = definitions
        self.assets = assets
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None
        self.result: Any = None

    def copy(self) -> "Platform":
        """Another platform that went through the same."""
        other = Platform(self.definitions, self.assets)
        other.cursor, other.result = self.cursor, self.result
        # An instance in memory holds two databases of SQLite, and offers no way to copy them.
        for name in ("run_storage", "event_log_storage"):
            source, target = (getattr(each.instance, name)._held_conn.connection for each in (self, other))
            source.backup(target.driver_connection)
        return other

    def tick(self, now: datetime | None = None) -> dict[str, int]:
        """How many partitions of each asset the next tick requests, those without any left out."""
        self.result = dg.evaluate_automation_conditions(
            defs=self.definitions,
            instance=self.instance,
            asset_selection=dg.AssetSelection.assets(*self.assets),
            cursor=self.cursor,
            evaluation_time=now,
        )
        self.cursor = self.result.cursor
        requested = {asset: self.result.get_num_requested(dg.AssetKey(asset)) for asset in self.assets}
        return {asset: count for asset, count in requested.items() if count}

    def requested(self, asset: str) -> list[str]:
        """The partitions of an asset that the last tick requested."""
        return sorted(self.result.get_requested_partitions(dg.AssetKey(asset)))

    def runs(self) -> list[tuple[list[str], str]]:
        """The runs that come of the last tick at once: their assets, and their partition or range of partitions."""
        # Dagster offers no public way from a tick to its runs.
        from dagster._core.definitions.automation_tick_evaluation_context import (
            build_run_requests,
            build_run_requests_with_backfill_policies,
        )

        graph = self.definitions.resolve_asset_graph()
        runs: list[dg.RunRequest] = []
        for request in build_run_requests(self.result._requested_subsets, graph, None, emit_backfills=True):
            subset = request.asset_graph_subset
            runs += (
                build_run_requests_with_backfill_policies(list(subset.iterate_asset_partitions()), graph, self.instance)
                if subset
                else [request]
            )
        start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
        return sorted(
            (
                sorted(key.to_user_string() for key in run.asset_selection or ()),
                f"{run.tags[start]} to {run.tags[end]}"
                if start in run.tags and run.tags[start] != run.tags[end]
                else run.partition_key or run.tags.get(start, ""),
            )
            for run in runs
        )

    def materialize(self, asset: str, partition: str | None = None) -> None:
        """Records that an asset was materialized in a run of another location, or by hand."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))

    def build(
        self,
        first: str,
        last: str,
        assets: Sequence[str] = DAILY,
        fails_at: str = "",
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Runs a range of partitions of assets, one asset after another, up to the one that it fails at."""
        partitions = daily_partition if assets[0] in DAILY else monthly_partition

        @dg.multi_asset(
            specs=[dg.AssetSpec(asset, partitions_def=partitions, skippable=True) for asset in assets],
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        def work() -> Iterator[Any]:
            for asset in assets:
                meanwhile()
                if asset == fails_at:
                    raise dg.Failure("a model does not build")
                yield dg.MaterializeResult(asset_key=asset)

        job = dg.Definitions([work]).resolve_implicit_global_asset_job_def()
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        job.execute_in_process(
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            tags=tags,
            instance=self.instance,
            raise_on_error=False,
        )

    def cancel(self, first: str, last: str, at: str) -> list[dict[str, int]]:
        """Runs a range of days that a person launched, and cancels it at an asset; what the ticks meanwhile request."""
        requested: list[dict[str, int]] = []
        self.build(first, last, fails_at=at, meanwhile=lambda: requested.append(self.tick()))
        self.instance.report_run_canceled(self.instance.get_runs(limit=1)[0])
        return requested

    def build_requested(self, reverse: bool = False) -> None:
        """Builds what the last tick requested, the months in order or in reverse."""
        for assets, partitions in sorted(self.runs(), reverse=reverse):
            if " to " in partitions:
                first, last = partitions.split(" to ")
                self.build(first, last, assets)
            else:
                for asset in sorted(assets, key=self.assets.index):
                    self.materialize(asset, partitions or None)

    def settle(self, reverse: bool = False) -> list[dict[str, int]]:
        """Ticks, and builds what is requested, until two ticks request nothing; what was requested."""
        requested: list[dict[str, int]] = []
        while not requested or any(requested[-2:]):
            requested.append(self.tick())
            self.build_requested(reverse)
        return [ticked for ticked in requested if ticked]

    def built(self, asset: str, partition: str) -> int:
        """When a partition was built: later is larger, and 0 is never."""
        event = dg.DagsterEventType.ASSET_MATERIALIZATION
        return self.instance.get_latest_storage_id_by_partition(dg.AssetKey(asset), event, {partition}).get(
            partition, 0
        )


@pytest.fixture(scope="module")
def with_zones() -> Platform:
    """What ``platform`` copies."""
    platform = Platform()
    platform.materialize("taxi_zones")
    platform.materialize("stg_zones")
    platform.tick()
    return platform


@pytest.fixture(scope="module")
def with_january(with_zones: Platform) -> Platform:
    """What ``january`` copies."""
    platform = with_zones.copy()
    platform.materialize("taxi_trips", JANUARY)
    platform.tick()
    platform.build_requested()
    assert platform.tick() == NOTHING
    return platform


@pytest.fixture(scope="module")
def with_months(with_january: Platform) -> Platform:
    """What ``months`` copies."""
    platform = with_january.copy()
    platform.assets = ("stg_zones", *DAILY, *MONTHLY)
    assert platform.tick() == months_of(1)
    platform.build_requested()
    assert platform.tick() == NOTHING
    return platform


@pytest.fixture
def platform(with_zones: Platform) -> Platform:
    """A platform whose zones are loaded and built, and which has ticked once."""
    return with_zones.copy()


@pytest.fixture
def january(with_january: Platform) -> Platform:
    """The platform with January built."""
    return with_january.copy()


@pytest.mark.parametrize("month", [JANUARY, FEBRUARY, MARCH])
def test_a_month_that_lands_requests_its_days_in_one_run(platform: Platform, month: str) -> None:
    platform.materialize("taxi_trips", month)
    assert platform.tick() == days(DAYS[month])
    assert platform.runs() == [(sorted(DAILY), f"{month} to {month[:8]}{DAYS[month]}")]


def test_two_months_that_land_at_once_are_one_run_of_all_their_days(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.materialize("taxi_trips", FEBRUARY)
    assert platform.tick() == days(59)
    assert platform.runs() == [(sorted(DAILY), "2023-01-01 to 2023-02-28")]


def test_two_months_with_a_gap_between_them_are_two_runs(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.materialize("taxi_trips", MARCH)
    assert platform.tick() == days(62)
    ranges = [partitions for _, partitions in platform.runs()]
    assert ranges == ["2023-01-01 to 2023-01-31", "2023-03-01 to 2023-03-31"]


def test_a_month_loaded_before_the_first_tick_is_found_by_it() -> None:
    platform = Platform()
    platform.materialize("taxi_zones")
    platform.materialize("stg_zones")
    platform.materialize("taxi_trips", FEBRUARY)
    assert platform.tick() == days(28)


def test_a_day_of_a_month_that_is_not_loaded_is_not_requested(platform: Platform) -> None:
    platform.materialize("taxi_trips", FEBRUARY)
    platform.tick()
    assert {day[:7] for asset in DAILY for day in platform.requested(asset)} == {"2023-02"}


def test_today_of_an_open_range_whose_month_does_not_exist_yet_is_not_requested() -> None:
    trips = dg.AssetSpec("taxi_trips", partitions_def=dg.MonthlyPartitionsDefinition("2023-01-01"))

    @dg.asset(
        deps=[trips],
        partitions_def=dg.DailyPartitionsDefinition("2023-01-01"),
        automation_condition=build_when_month_is_loaded,
    )
    def model() -> None: ...

    platform = Platform(dg.Definitions([trips, model]), ["model"])
    platform.materialize("taxi_trips", JANUARY)
    assert platform.tick(datetime(2023, 2, 10)) == {"model": 31}
    platform.build_requested()
    assert platform.tick(datetime(2023, 2, 11)) == NOTHING


def test_a_month_in_loading_makes_its_days_wait(january: Platform) -> None:
    seen: list[dict[str, int]] = []

    @dg.asset(partitions_def=monthly_partition)
    def taxi_trips() -> None:
        seen.append(january.tick())

    dg.materialize([taxi_trips], partition_key=FEBRUARY, instance=january.instance)
    assert seen == [NOTHING]
    assert january.tick() == days(28)


def test_days_are_requested_once_while_their_run_is_going_on(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.tick()
    seen: list[dict[str, int]] = []
    platform.build("2023-01-01", "2023-01-31", meanwhile=lambda: seen.append(platform.tick()))
    assert seen == [NOTHING] * 4
    assert platform.tick() == NOTHING


@pytest.fixture
def in_the_middle_of_a_tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Makes the next tick do something after it has read what was updated, and before it reads what is in progress."""
    from dagster._core.definitions.declarative_automation.automation_condition_evaluator import (
        AutomationConditionEvaluator,
    )

    prefetch = AutomationConditionEvaluator.prefetch

    def once(act: Callable[[], None]) -> None:
        def read(evaluator: AutomationConditionEvaluator) -> None:
            monkeypatch.setattr(AutomationConditionEvaluator, "prefetch", prefetch)
            prefetch(evaluator)
            act()

        monkeypatch.setattr(AutomationConditionEvaluator, "prefetch", read)

    return once


def test_a_month_and_its_days_that_end_in_the_middle_of_a_tick_have_the_days_built_once(
    platform: Platform, in_the_middle_of_a_tick: Callable[[Callable[[], None]], None]
) -> None:
    in_the_middle_of_a_tick(lambda: platform.materialize("taxi_trips", JANUARY))
    assert platform.tick() == days(31)
    started, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        go_on.wait(60)

    with ThreadPoolExecutor() as runs:
        run = runs.submit(platform.build, "2023-01-01", "2023-01-31", meanwhile=wait)
        started.wait(60)
        assert platform.tick() == NOTHING

        def end() -> None:
            go_on.set()
            run.result()

        in_the_middle_of_a_tick(end)
        assert [platform.tick() for _ in range(3)] == [NOTHING] * 3


def test_nothing_is_requested_where_nothing_changes(january: Platform) -> None:
    assert [january.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_republished_month_has_its_days_built_once(january: Platform) -> None:
    january.materialize("taxi_trips", JANUARY)
    assert january.tick() == days(31)
    assert january.tick() == NOTHING
    january.build_requested()
    assert [january.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_month_republished_while_its_days_are_being_built_has_them_built_again(january: Platform) -> None:
    january.materialize("taxi_trips", JANUARY)
    january.tick()
    # When the first model was built from the old month, and no tick in between.
    steps = iter(["", JANUARY, "", ""])

    def republish() -> None:
        if month := next(steps):
            january.materialize("taxi_trips", month)

    january.build("2023-01-01", "2023-01-31", meanwhile=republish)
    # This tick cannot tell whether the build that the last one requested ended while it was evaluated.
    assert january.tick() == NOTHING
    assert january.tick() == days(31)
    january.build_requested()
    assert [january.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_month_that_lands_while_the_cursor_is_lost_is_found(january: Platform) -> None:
    january.materialize("taxi_trips", MARCH)
    january.cursor = None
    assert january.tick() == days(31)
    assert {day[:7] for day in january.requested("daily_metrics")} == {"2023-03"}


def test_a_range_that_failed_is_not_requested_again_even_where_the_cursor_is_lost(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.tick()
    platform.build("2023-01-01", "2023-01-31", fails_at="daily_metrics")
    assert [platform.tick() for _ in range(3)] == [NOTHING] * 3
    platform.cursor = None
    assert [platform.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_range_that_fails_after_a_tick_saw_its_first_models_is_not_requested_again(january: Platform) -> None:
    january.materialize("taxi_trips", JANUARY)
    january.tick()
    seen: list[dict[str, int]] = []
    january.build(
        "2023-01-01", "2023-01-31", fails_at="location_metrics", meanwhile=lambda: seen.append(january.tick())
    )
    assert seen == [NOTHING] * 3
    assert [january.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_range_that_failed_is_requested_once_more_when_its_month_is_loaded_again(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.tick()
    platform.build("2023-01-01", "2023-01-31", fails_at="daily_metrics")
    platform.tick()
    platform.materialize("taxi_trips", JANUARY)
    assert platform.tick() == days(31)
    platform.build_requested()
    assert platform.tick() == NOTHING


def test_a_range_that_failed_is_done_when_a_person_has_run_it_again(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.tick()
    platform.build("2023-01-01", "2023-01-31", fails_at="stg_trips")
    platform.tick()
    platform.build("2023-01-01", "2023-01-31")
    assert [platform.tick() for _ in range(2)] == [NOTHING] * 2


def test_a_range_that_a_person_cancelled_is_not_requested_again(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.tick()
    platform.build("2023-01-01", "2023-01-31", fails_at="stg_trips")
    (run,) = platform.instance.get_runs()
    platform.instance.report_run_canceled(run)
    assert [platform.tick() for _ in range(3)] == [NOTHING] * 3


@pytest.mark.parametrize("at", first_and_last(DAILY))
def test_a_range_that_a_person_launched_and_cancelled_is_left_alone(january: Platform, at: str) -> None:
    assert set(map(str, january.cancel("2023-01-01", "2023-01-31", at))) == {"{}"}
    assert [january.tick() for _ in range(3)] == [NOTHING] * 3


@pytest.mark.parametrize("at", first_and_last(DAILY))
def test_days_that_were_never_built_are_left_alone_where_a_person_launched_and_cancelled_them(
    platform: Platform, at: str
) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.cancel("2023-01-01", "2023-01-31", at)
    assert [platform.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_run_that_a_person_cancelled_before_it_started_is_left_alone(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    run = platform.instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset(map(dg.AssetKey, DAILY)),
        tags={
            "dagster/asset_partition_range_start": "2023-01-01",
            "dagster/asset_partition_range_end": "2023-01-31",
        },
    )
    assert platform.tick() == NOTHING
    platform.instance.report_run_canceled(run)
    assert platform.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED  # type: ignore[union-attr]
    assert [platform.tick() for _ in range(3)] == [NOTHING] * 3


def backfill_by_hand(platform: Platform, first: str, last: str) -> Callable[[str], None]:
    """Records that a person launched a backfill of days of all daily assets; returns what sets its status."""
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    backfill: Any = PartitionBackfill.from_asset_partitions(
        backfill_id="by_hand",
        asset_graph=defs.resolve_asset_graph(),
        partition_names=daily_partition.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)),
        asset_selection=[dg.AssetKey(asset) for asset in DAILY],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=platform.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    platform.instance.add_backfill(backfill)
    return lambda status: platform.instance.update_backfill(backfill.with_status(BulkActionStatus[status]))


def test_a_backfill_that_a_person_cancelled_before_its_runs_began_is_left_alone(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    set_status = backfill_by_hand(platform, "2023-01-01", "2023-01-31")
    assert platform.tick() == NOTHING
    set_status("CANCELED")
    assert [platform.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_backfill_that_ends_later_than_its_runs_holds_nothing_back(january: Platform) -> None:
    set_status = backfill_by_hand(january, "2023-01-01", "2023-01-31")
    january.tick()
    january.build("2023-01-01", "2023-01-31", meanwhile=january.tick)
    assert [january.tick() for _ in range(2)] == [NOTHING] * 2
    set_status("COMPLETED_SUCCESS")
    assert [january.tick() for _ in range(2)] == [NOTHING] * 2
    january.build("2023-01-05", "2023-01-05", assets=["location_metrics"])
    assert january.tick() == {"manhattan_stats": 1}


@pytest.fixture(scope="module")
def with_cancelled(with_january: Platform) -> Platform:
    """What ``cancelled`` copies."""
    platform = with_january.copy()
    platform.cancel("2023-01-01", "2023-01-31", "location_metrics")
    assert platform.tick() == NOTHING
    return platform


@pytest.fixture
def cancelled(with_cancelled: Platform) -> Platform:
    """The platform with January built, and a build of it that a person launched and cancelled halfway."""
    return with_cancelled.copy()


def test_a_range_that_a_person_cancelled_is_built_when_its_month_is_loaded_again(cancelled: Platform) -> None:
    cancelled.materialize("taxi_trips", JANUARY)
    assert cancelled.settle() == [days(31)]


def test_a_month_that_nobody_launched_is_built_beside_one_that_a_person_cancelled(cancelled: Platform) -> None:
    cancelled.materialize("taxi_trips", FEBRUARY)
    assert cancelled.settle() == [days(28)]


def test_a_day_that_a_person_builds_is_no_longer_held_and_the_others_of_the_cancelled_range_are(
    cancelled: Platform,
) -> None:
    cancelled.build("2023-01-05", "2023-01-05")
    assert cancelled.tick() == NOTHING
    cancelled.build("2023-01-05", "2023-01-06", assets=["location_metrics"])
    assert cancelled.tick() == {"manhattan_stats": 1}
    assert cancelled.requested("manhattan_stats") == ["2023-01-05"]


def test_a_month_that_is_loaded_again_while_a_person_builds_it_is_built_again_though_that_is_cancelled(
    january: Platform,
) -> None:
    ticks: list[dict[str, int]] = []

    def load_again_once_seen() -> None:
        ticks.append(january.tick())
        if len(ticks) == 2:
            january.materialize("taxi_trips", JANUARY)

    january.build("2023-01-01", "2023-01-31", fails_at="manhattan_stats", meanwhile=load_again_once_seen)
    january.instance.report_run_canceled(january.instance.get_runs(limit=1)[0])
    january.tick()
    assert "manhattan_stats" in january.tick()


def test_a_day_of_the_zones_metrics_built_by_hand_is_followed_by_what_hangs_on_it(january: Platform) -> None:
    january.build("2023-01-05", "2023-01-05", assets=["location_metrics"])
    assert january.tick() == {"manhattan_stats": 1}
    assert january.requested("manhattan_stats") == ["2023-01-05"]


def test_a_day_built_by_hand_as_a_whole_is_followed_by_nothing(january: Platform) -> None:
    january.build("2023-01-05", "2023-01-05")
    assert january.tick() == NOTHING


def test_a_day_of_a_month_that_is_loaded_and_built_by_hand_is_not_built_again(platform: Platform) -> None:
    platform.materialize("taxi_trips", JANUARY)
    platform.build("2023-01-05", "2023-01-05")
    assert platform.tick() == days(30)


def test_loaded_zones_build_their_model_and_rebuild_no_day(january: Platform) -> None:
    january.materialize("taxi_zones")
    assert january.tick() == {"stg_zones": 1}
    january.build_requested()
    assert [january.tick() for _ in range(3)] == [NOTHING] * 3


def test_days_that_need_the_zones_wait_for_them() -> None:
    platform = Platform()
    platform.materialize("taxi_trips", JANUARY)
    assert platform.tick() == {"stg_trips": 31, "daily_metrics": 31}
    platform.build_requested()
    platform.materialize("taxi_zones")
    assert platform.tick() == {"stg_zones": 1}
    platform.build_requested()
    assert platform.tick() == {"location_metrics": 31, "manhattan_stats": 31}


def test_no_run_mixes_zones_days_and_months(january: Platform) -> None:
    january.assets = ("stg_zones", *DAILY, *MONTHLY)
    january.materialize("taxi_zones")
    january.materialize("taxi_trips", FEBRUARY)
    assert january.tick() == {"stg_zones": 1, **days(28), **months_of(1)}
    assert january.runs() == [
        (sorted(MONTHLY), JANUARY),
        (sorted(DAILY), "2023-02-01 to 2023-02-28"),
        (["stg_zones"], ""),
    ]


@pytest.fixture
def months(with_months: Platform) -> Platform:
    """The platform with January built, the metrics of the month too."""
    return with_months.copy()


def test_a_month_is_built_once_after_all_of_its_days(months: Platform) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    assert months.tick() == days(28)
    months.build_requested()
    assert months.tick() == months_of(1)
    assert months.runs() == [(sorted(MONTHLY), FEBRUARY)]
    months.build_requested()
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_month_whose_last_metrics_are_built_in_the_middle_of_the_next_tick_is_built_once(
    months: Platform, in_the_middle_of_a_tick: Callable[[Callable[[], None]], None]
) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build_requested()
    assert months.tick() == months_of(1)

    def build(*assets: str) -> None:
        for asset in assets:
            months.materialize(asset, FEBRUARY)

    build(*MONTHLY[:3])
    in_the_middle_of_a_tick(lambda: build(*MONTHLY[3:]))
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_month_of_which_a_day_is_missing_waits(months: Platform) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build("2023-02-01", "2023-02-27")
    assert months.tick() == NOTHING
    months.build("2023-02-28", "2023-02-28")
    assert months.tick() == months_of(1)


def test_a_month_waits_while_its_days_are_being_built(months: Platform) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    seen: list[dict[str, int]] = []
    months.build("2023-02-01", "2023-02-28", DAILY[:3], meanwhile=lambda: seen.append(months.tick()))
    assert seen == [NOTHING] * 3


def test_a_republished_months_metric_is_built_once_its_days_are_and_not_between_them(months: Platform) -> None:
    months.materialize("taxi_trips", JANUARY)
    assert months.tick() == days(31)
    # Half of the days come in a run of their own.
    months.build("2023-01-01", "2023-01-15")
    assert months.tick() == NOTHING
    months.build("2023-01-16", "2023-01-31")
    assert months.tick() == months_of(1)
    months.build_requested()
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_month_that_is_republished_when_its_last_day_comes_waits_for_the_new_days(months: Platform) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build("2023-02-01", "2023-02-27")
    months.tick()
    months.build("2023-02-28", "2023-02-28")
    months.materialize("taxi_trips", FEBRUARY)
    assert months.tick() == days(28)
    months.build_requested()
    assert months.tick() == months_of(1)


def test_a_month_of_which_the_build_of_a_day_failed_waits_until_it_is_built(months: Platform) -> None:
    months.materialize("taxi_trips", JANUARY)
    months.tick()
    months.build("2023-01-01", "2023-01-15")
    months.build("2023-01-16", "2023-01-31", fails_at="location_metrics")
    months.cursor = None
    assert [months.tick() for _ in range(2)] == [NOTHING] * 2
    months.build("2023-01-16", "2023-01-31")
    assert months.tick() == months_of(1)


def test_a_table_of_a_month_that_is_built_by_hand_is_followed_by_what_shows_it(months: Platform) -> None:
    months.materialize("zone_pickups", JANUARY)
    assert months.tick() == {"zone_map": 1, "monthly_report": 1}
    months.build_requested()
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3


def test_a_month_whose_tables_failed_is_not_requested_again_until_a_day_is_built(months: Platform) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build_requested()
    assert months.tick() == months_of(1)
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3
    months.build("2023-02-05", "2023-02-05")
    assert months.tick() == months_of(1)


@pytest.fixture
def empty(platform: Platform) -> Platform:
    """The platform without any month, with the monthly assets looked at, too."""
    platform.assets = ("stg_zones", *DAILY, *MONTHLY)
    return platform


def months_that_are_outdated(platform: Platform) -> list[str]:
    """The months whose report is older than a table that it compares with, of the month before."""
    tables = ("monthly_totals", "zone_pickups")
    return [
        month
        for before, month in ((JANUARY, FEBRUARY), (FEBRUARY, MARCH))
        if 0 < platform.built("monthly_report", month) < max(platform.built(table, before) for table in tables)
    ]


@pytest.mark.drill
@pytest.mark.parametrize(
    "order",
    # In CI those that do not begin with January, all before a release.
    [pytest.param(order, marks=pytest.mark.release if order[0] == JANUARY else ()) for order in permutations(DAYS)],
    ids=lambda order: "-".join(month[5:7] for month in order),
)
def test_months_that_land_in_any_order_end_with_reports_that_are_newer_than_the_month_before(
    empty: Platform, order: Sequence[str]
) -> None:
    for month in order:
        empty.materialize("taxi_trips", month)
        empty.settle()
        assert months_that_are_outdated(empty) == []
    assert all(empty.built("monthly_report", month) for month in order)


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "in reverse"])
def test_months_that_land_at_once_end_with_reports_that_are_newer_than_the_month_before(
    empty: Platform, reverse: bool
) -> None:
    for month in DAYS:
        empty.materialize("taxi_trips", month)
    requested = empty.settle(reverse)
    assert requested == [days(90), months_of(3), *([{"monthly_report": 2}] if reverse else [])]
    assert months_that_are_outdated(empty) == []


def test_february_that_lands_after_march_has_marchs_report_built_again_once(months: Platform) -> None:
    months.materialize("taxi_trips", MARCH)
    assert months.settle() == [days(31), months_of(1)]
    months.materialize("taxi_trips", FEBRUARY)
    assert months.settle() == [days(28), months_of(1), {"monthly_report": 1}]
    assert months_that_are_outdated(months) == []


@pytest.mark.drill
def test_a_reload_of_a_month_has_the_report_of_the_next_month_built_again_and_no_other(months: Platform) -> None:
    for month in (FEBRUARY, MARCH):
        months.materialize("taxi_trips", month)
    months.settle()
    before = {month: months.built("monthly_report", month) for month in DAYS}
    months.materialize("taxi_trips", JANUARY)
    assert months.settle() == [days(31), months_of(1), {"monthly_report": 1}]
    assert {month for month in DAYS if months.built("monthly_report", month) > before[month]} == {JANUARY, FEBRUARY}


def test_a_table_of_the_month_before_that_is_committed_while_a_report_is_drawn_has_it_drawn_again(
    months: Platform,
) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.settle()
    months.materialize("monthly_report", FEBRUARY)
    months.materialize("monthly_totals", JANUARY)
    assert "monthly_report" in months.tick()
    assert FEBRUARY in months.requested("monthly_report")


@pytest.mark.drill
def test_a_month_before_that_fails_for_ever_holds_nothing_up(months: Platform) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build("2023-02-01", "2023-02-28", fails_at="location_metrics")
    months.materialize("taxi_trips", MARCH)
    assert months.settle() == [days(31), months_of(1)]
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build("2023-02-01", "2023-02-28")
    assert months.tick() == months_of(1)
    months.build(FEBRUARY, FEBRUARY, MONTHLY, fails_at="zone_pickups")
    months.materialize("taxi_trips", MARCH)
    assert months.settle() == [days(31), months_of(1)]


@pytest.mark.parametrize("at", first_and_last(MONTHLY))
def test_a_month_that_a_person_launched_and_cancelled_is_left_alone(months: Platform, at: str) -> None:
    months.build(JANUARY, JANUARY, MONTHLY, fails_at=at, meanwhile=months.tick)
    months.instance.report_run_canceled(months.instance.get_runs(limit=1)[0])
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3


@pytest.mark.parametrize("table", ["zone_pickups", "monthly_totals"])
def test_a_report_waits_for_a_table_of_its_own_month_that_failed(months: Platform, table: str) -> None:
    months.materialize("taxi_trips", FEBRUARY)
    months.tick()
    months.build("2023-02-01", "2023-02-28")
    assert months.tick() == months_of(1)
    others = [asset for asset in MONTHLY[:3] if asset != table]
    months.build(FEBRUARY, FEBRUARY, [*others, table], fails_at=table)
    assert "monthly_report" not in months.tick()


def test_loaded_zones_rebuild_no_month(months: Platform) -> None:
    months.materialize("taxi_zones")
    months.tick()
    months.build_requested()
    assert [months.tick() for _ in range(3)] == [NOTHING] * 3


@pytest.mark.parametrize(
    "condition",
    [
        build_when_upstream_is_loaded,
        build_when_month_is_loaded,
        build_when_days_are_current(),
        build_when_days_are_current(["monthly_totals"]),
    ],
)
def test_every_part_of_a_condition_says_in_words_what_it_asks(condition: Any) -> None:
    def in_words(part: Any) -> bool:
        # A label covers what is below it; not and since only turn or join what they are made of.
        return bool(part.get_label()) or (bool(part.children) and all(map(in_words, part.children)))

    assert [part for part in condition.children if not in_words(part)] == []


@pytest.mark.parametrize("asset", ["stg_zones", "daily_metrics", "monthly_totals", "monthly_report"])
def test_no_two_parts_of_a_condition_share_a_memory(asset: str) -> None:
    memories: dict[str, set[str]] = {}

    def collect(part: Any) -> None:
        if part.name == "SINCE":
            memory = part.get_node_unique_id(parent_unique_id=None, index=None, target_key=None)
            memories.setdefault(memory, set()).add(part.get_unique_id())
        for child in part.children:
            collect(child)

    collect(defs.resolve_asset_graph().get(dg.AssetKey(asset)).automation_condition)
    assert [parts for parts in memories.values() if len(parts) > 1] == []


@pytest.mark.parametrize("asset", DAILY)
def test_every_daily_asset_builds_itself_when_its_month_is_loaded(asset: str) -> None:
    assert defs.resolve_asset_graph().get(dg.AssetKey(asset)).automation_condition == build_when_month_is_loaded


@pytest.mark.parametrize("asset", MONTHLY)
def test_every_monthly_asset_builds_itself_when_its_days_are_current(asset: str) -> None:
    lookback = ["monthly_totals", "zone_pickups"] if asset == "monthly_report" else []
    condition = defs.resolve_asset_graph().get(dg.AssetKey(asset)).automation_condition
    assert condition == build_when_days_are_current(lookback)


def test_what_has_no_partitions_is_what_no_update_of_rebuilds_anything() -> None:
    graph = defs.resolve_asset_graph()
    unpartitioned = {key for key in graph.get_all_asset_keys() if graph.get(key).partitions_def is None}
    assert ZONES.resolve(graph) == unpartitioned


def test_automation_runs_from_the_start() -> None:
    assert automatic_builds.default_status == dg.DefaultSensorStatus.RUNNING


def test_automation_that_is_switched_off_can_still_be_started_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_AUTOMATION", "off")
    sensor = runpy.run_module("dbt_location.defs.automation")["automatic_builds"]
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
