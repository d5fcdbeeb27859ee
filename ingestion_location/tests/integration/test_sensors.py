"""The sensors request what is new at the source, on a real server and the ledger in a real Postgres."""

import os
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from helpers.misbehaving_server import Act, Site, send, serving, status
from helpers.zone_files import HEADER
from ingestion_location.definitions import defs
from ingestion_location.defs.trips import new_trip_files as trips_sensor
from ingestion_location.defs.trips import trip_ledger
from ingestion_location.defs.trips.new_trip_files import MOST_LOOKS, MOST_REQUESTS, look_for_months, new_trip_files
from ingestion_location.defs.trips.taxi_trips import TripsConfig, taxi_trips
from ingestion_location.defs.trips.trip_ledger import TRIP_FILES, LoadedTripFile
from ingestion_location.defs.zones.new_zone_files import look_for_zones, new_zone_files
from ingestion_location.defs.zones.taxi_zones import create_tables, replace_ledger, taxi_zones
from ingestion_location.download import FileVersion
from ingestion_location.load_errors import TRANSIENT_FAILURE
from ingestion_location.source import Published, TlcSource
from ingestion_location.source_sensor import DEFAULT_STATUS, INTERVAL_SECONDS, SensorState
from ingestion_location.warehouse import Warehouse

NOON = datetime(2023, 6, 15, 12, tzinfo=UTC)
JANUARY, FEBRUARY, MARCH = "2023-01-01", "2023-02-01", "2023-03-01"
PUBLISHED = Published("http://a/b", '"1"', "Tue, 03 Jan 2023 00:00:00 GMT", 4)
LOADED = LoadedTripFile(
    month=date(2023, 1, 1),
    url=PUBLISHED.url,
    etag=PUBLISHED.etag,
    last_modified=PUBLISHED.last_modified,
    bytes=4,
    sha256="0",
    run_id="run",
    rows=1,
    strays=0,
    unknown_columns=[],
    missing_columns=[],
)
LOOKUP, SHAPES = "/misc/taxi_zone_lookup.csv", "/misc/taxi_zones.zip"


def path(month: str) -> str:
    return f"/trip-data/yellow_tripdata_{month[:7]}.parquet"


class Files(dict[str, Act]):
    """The files of the server, by path; any other path is 404."""

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.get(request.path, status(404))(request)

    def publish(self, *months: str, etag: str = '"1"') -> None:
        for month in months:
            self[path(month)] = send(b"PAR1", ETag=etag)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def site(files: Files) -> Iterator[Site]:
    with serving(files) as site:
        yield site


class Sensor:
    """A sensor and what it keeps between ticks, on an ephemeral instance."""

    def __init__(self, look: Callable[..., dg.SensorResult], name: str, warehouse: Warehouse, root: str) -> None:
        self.look = look
        self.name = name
        self.warehouse = warehouse
        self.tlc = TlcSource(base_url=root, taxi_type="yellow")
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.requests: list[dg.RunRequest] = []
        self.found = ""

    def tick(self, now: datetime = NOON) -> list[str | None]:
        """The partitions that the next tick requests; what it found is in ``found``."""
        context = dg.build_sensor_context(self.instance, self.cursor, sensor_name=self.name)
        result = self.look(context, self.tlc, self.warehouse, now)
        self.cursor = result.cursor
        self.requests = list(result.run_requests or [])
        assert all(len(request.asset_selection or ()) == 1 for request in self.requests)
        self.found = self.state.found
        assert bool(self.requests) != bool(result.skip_reason)
        if result.skip_reason:
            assert result.skip_reason.skip_message == self.found
        return [request.partition_key for request in self.requests]

    @property
    def state(self) -> SensorState:
        return SensorState.from_cursor(self.cursor, self.tlc.name)

    def record(self, *partitions: str | None) -> None:
        """Records materializations, as loads do."""
        asset = "taxi_trips" if self.name == "new_trip_files" else "taxi_zones"
        for partition in partitions:
            event = dg.AssetMaterialization(asset, partition=partition)
            self.instance.report_runless_asset_event(event)

    def runs(self, run_status: dg.DagsterRunStatus) -> None:
        """Makes the runs that the last tick requested, as the daemon does, and leaves them in a state."""
        for request in self.requests:
            tags = {"dagster/run_key": str(request.run_key), "dagster/sensor_name": self.name, **request.tags}
            self.make_run(request.partition_key, run_status, tags)

    def fail_transiently(self) -> datetime:
        """Makes the runs that the last tick requested, failed as by a source that throttles; returns when that was."""
        self.runs(dg.DagsterRunStatus.FAILURE)
        for run in self.instance.get_runs(limit=len(self.requests)):
            self.instance.add_run_tags(run.run_id, {TRANSIENT_FAILURE: run.run_id})
        return self.instance.get_run_records(limit=1)[0].update_timestamp

    def make_run(self, partition: str | None, run_status: dg.DagsterRunStatus, tags: dict[str, str]) -> dg.DagsterRun:
        asset = "taxi_trips" if partition else "taxi_zones"
        return self.instance.create_run_for_job(
            defs.resolve_implicit_global_asset_job_def(),
            status=run_status,
            tags=tags | ({"dagster/partition": partition} if partition else {}),
            asset_selection=frozenset([dg.AssetKey(asset)]),
        )

    def load(self, *months: str, etag: str | None = '"1"', last_modified: str | None = None, size: int = 4) -> None:
        """Writes into the ledger and records in Dagster that months were loaded from the site."""
        self.record(*months)
        with self.warehouse.transaction() as connection, connection.cursor() as cursor:
            TRIP_FILES.create(cursor)
            for month in months:
                url = self.tlc.trips_url(date.fromisoformat(month))
                version = replace(LOADED, url=url, etag=etag, last_modified=last_modified, bytes=size)
                trip_ledger.write(cursor, replace(version, month=date.fromisoformat(month)))


@pytest.fixture
def sensor(warehouse: Warehouse, site: Site) -> Sensor:
    return Sensor(look_for_months, "new_trip_files", warehouse, site.root)


def test_where_nothing_is_published_nothing_is_requested(sensor: Sensor) -> None:
    assert sensor.tick() == []
    assert sensor.found == "0 of 3 months loaded, 3 not published yet (2023-01, 2023-02, 2023-03)"


def test_published_months_are_requested_the_oldest_first(sensor: Sensor, files: Files) -> None:
    files.publish(MARCH, JANUARY)
    assert sensor.tick() == [JANUARY, MARCH]
    assert sensor.found == (
        "0 of 3 months loaded, 2 published and requested (2023-01, 2023-03), 1 not published yet (2023-02)"
    )


def test_a_month_that_is_loaded_and_unchanged_is_not_requested(sensor: Sensor, files: Files) -> None:
    files.publish(JANUARY, FEBRUARY, MARCH)
    sensor.load(JANUARY, FEBRUARY, MARCH)
    assert sensor.tick() == []
    assert sensor.found == "3 of 3 months loaded"


def test_a_month_whose_etag_changed_is_requested(sensor: Sensor, files: Files) -> None:
    files.publish(JANUARY, MARCH)
    files.publish(FEBRUARY, etag='"2"')
    sensor.load(JANUARY, FEBRUARY)
    assert sensor.tick() == [FEBRUARY, MARCH]
    assert sensor.found == (
        "2 of 3 months loaded, 1 published and requested (2023-03), 1 changed and requested (2023-02)"
    )


def test_a_source_without_etags_is_compared_by_its_last_modified(sensor: Sensor, files: Files) -> None:
    old, new = "Tue, 03 Jan 2023 00:00:00 GMT", "Wed, 04 Jan 2023 00:00:00 GMT"
    files[path(JANUARY)] = send(b"PAR1", Last_Modified=old)
    files[path(FEBRUARY)] = send(b"PAR1", Last_Modified=new)
    sensor.load(JANUARY, FEBRUARY, etag=None, last_modified=old)
    assert sensor.tick() == [FEBRUARY]


@pytest.mark.parametrize("run_status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_month_whose_run_is_unfinished_is_not_requested_again(
    sensor: Sensor, files: Files, run_status: dg.DagsterRunStatus
) -> None:
    files.publish(JANUARY)
    sensor.tick()
    sensor.runs(run_status)
    assert sensor.tick() == []
    assert "1 being loaded (2023-01)" in sensor.found


def test_a_month_that_someone_loads_by_hand_is_not_requested(sensor: Sensor, files: Files) -> None:
    files.publish(JANUARY, FEBRUARY)
    sensor.make_run(JANUARY, dg.DagsterRunStatus.STARTED, {})
    assert sensor.tick() == [FEBRUARY]


def test_a_month_whose_run_failed_is_requested_again_when_its_file_changes_and_not_before(
    sensor: Sensor, files: Files
) -> None:
    files.publish(JANUARY)
    sensor.tick()
    sensor.runs(dg.DagsterRunStatus.FAILURE)
    assert sensor.tick() == []
    assert "1 requested before and not loaded, launch by hand (last run FAILURE) (2023-01)" in sensor.found
    files.publish(JANUARY, etag='"2"')
    assert sensor.tick() == [JANUARY]


def test_a_month_whose_run_failed_transiently_is_requested_again_with_exponential_backoff(
    sensor: Sensor, files: Files
) -> None:
    files.publish(JANUARY)
    sensor.tick()
    for tries in (1, 2, 3):
        due = sensor.fail_transiently() + timedelta(seconds=INTERVAL_SECONDS * 2**tries)
        assert sensor.tick(due - timedelta(seconds=1)) == []
        assert (
            f"1 failed transiently, to be requested again after {due:%Y-%m-%d %H:%M:%S} UTC (2023-01)" in sensor.found
        )
        assert sensor.tick(due) == [JANUARY]


def test_a_run_that_was_launched_again_by_hand_and_found_bad_data_is_not_requested_again(
    sensor: Sensor, files: Files
) -> None:
    files.publish(JANUARY)
    sensor.tick()
    failed = sensor.fail_transiently()
    # Launched from the page of the run before, with its tags.
    (before,) = sensor.instance.get_runs()
    sensor.make_run(JANUARY, dg.DagsterRunStatus.FAILURE, dict(before.tags))
    assert sensor.tick(failed + timedelta(days=1)) == []
    assert "1 requested before and not loaded, launch by hand (last run FAILURE) (2023-01)" in sensor.found


def test_a_failed_month_does_not_keep_the_others_from_being_requested(
    sensor: Sensor, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trips_sensor, "MOST_REQUESTS", 1)
    files.publish(JANUARY, FEBRUARY)
    assert sensor.tick() == [JANUARY]
    sensor.runs(dg.DagsterRunStatus.FAILURE)
    assert sensor.tick() == [FEBRUARY]


@pytest.mark.parametrize("code", [401, 429, 500, 503])
def test_a_source_that_throttles_is_not_asked_again_in_the_same_tick(
    sensor: Sensor, files: Files, site: Site, code: int
) -> None:
    files.publish(JANUARY)
    files[path(FEBRUARY)] = status(code)
    assert sensor.tick() == [JANUARY]
    assert [asked for _, asked, _ in site.requests] == [path(JANUARY), path(FEBRUARY)]
    assert f"then stopped: {site.root}{path(FEBRUARY)}: the source answered HTTP {code}" in sensor.found


def test_a_source_that_forbids_a_published_month_too_is_throttling(sensor: Sensor, files: Files) -> None:
    # 2023-01 is the month that every source has.
    files |= {path(month): status(403) for month in (JANUARY, FEBRUARY, MARCH)}
    assert sensor.tick() == []
    assert "the source refuses every file for now (HTTP 403), as it does when throttling" in sensor.found


def test_a_source_that_forbids_only_what_it_lacks_has_not_published_it(
    sensor: Sensor, files: Files, site: Site
) -> None:
    files.publish(JANUARY)
    sensor.load(JANUARY)
    files |= {path(month): status(403) for month in (FEBRUARY, MARCH)}
    assert sensor.tick() == []
    assert sensor.found == "1 of 3 months loaded, 2 not published yet (2023-02, 2023-03)"
    # February, the published month that tells the two cases apart, March, and January in its turn.
    assert [asked for _, asked, _ in site.requests] == [path(m) for m in (FEBRUARY, JANUARY, MARCH, JANUARY)]


def test_a_source_that_keeps_refusing_is_asked_with_exponential_backoff(
    sensor: Sensor, files: Files, site: Site
) -> None:
    files[path(JANUARY)] = status(429)
    now, waits = NOON, []
    for _ in range(3):
        sensor.tick(now)
        next_look = sensor.state.next_look
        assert next_look is not None
        asked = len(site.requests)
        assert sensor.tick(next_look - timedelta(seconds=1)) == []
        assert len(site.requests) == asked
        waits.append((next_look - now).total_seconds() / INTERVAL_SECONDS)
        now = next_look
    assert waits == [2, 4, 8]


def test_a_source_that_asks_for_a_wait_is_not_asked_before_it_is_over(sensor: Sensor, files: Files) -> None:
    files[path(JANUARY)] = status(503, Retry_After="7200")
    sensor.tick()
    assert "Next look at 2023-06-15 14:00:00 UTC" in sensor.found


def test_after_its_wait_the_sensor_goes_on_with_the_next_month_and_resets_the_backoff(
    sensor: Sensor, files: Files
) -> None:
    files.publish(FEBRUARY)
    files[path(JANUARY)] = status(429)
    sensor.tick()
    files.publish(JANUARY)
    assert sensor.tick(NOON + timedelta(hours=1)) == [JANUARY, FEBRUARY]
    assert sensor.state.failures == 0


def test_a_file_that_is_always_refused_does_not_keep_the_sensor_from_the_others(sensor: Sensor, files: Files) -> None:
    files.publish(FEBRUARY)
    files[path(JANUARY)] = status(401)
    assert sensor.tick() == []
    assert sensor.tick(NOON + timedelta(hours=1)) == [FEBRUARY]


def test_a_source_that_cannot_be_reached_is_named(warehouse: Warehouse) -> None:
    with serving(status(200)) as gone:
        root = gone.root
    sensor = Sensor(look_for_months, "new_trip_files", warehouse, root)
    assert sensor.tick() == []
    assert f"then stopped: {root}{path(JANUARY)}: the source cannot be reached" in sensor.found


def ten_years(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    partitions = dg.MonthlyPartitionsDefinition("2013-01-01", end_date="2023-01-01")
    monkeypatch.setattr(trips_sensor, "monthly_partition", partitions)
    return list(partitions.get_partition_keys())


def test_a_first_start_on_ten_years_requests_them_in_portions_the_oldest_first(
    sensor: Sensor, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    months = ten_years(monkeypatch)
    files.publish(*months)
    requested = []
    for _ in range(10):
        requested.append(sensor.tick())
        sensor.runs(dg.DagsterRunStatus.STARTED)
    assert [len(portion) for portion in requested] == [MOST_REQUESTS] * 10
    assert [month for portion in requested for month in portion] == months
    assert sensor.tick() == []


def test_loaded_months_are_looked_at_in_turn(
    sensor: Sensor, files: Files, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    months = ten_years(monkeypatch)
    files.publish(*months)
    sensor.load(*months)
    for _ in range(15):
        assert sensor.tick() == []
    assert len(site.requests) == 15 * MOST_LOOKS["loaded"] == len(months)
    assert sorted(asked for _, asked, _ in site.requests) == sorted(map(path, months))


def test_months_that_are_not_published_are_looked_at_in_turn(
    sensor: Sensor, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    months = ten_years(monkeypatch)
    for _ in range(8):
        assert sensor.tick() == []
    assert len(site.requests) == 8 * MOST_LOOKS["waiting"]
    assert {asked for _, asked, _ in site.requests} == set(map(path, months))


def test_an_open_range_ends_with_the_last_month_that_is_over(
    sensor: Sensor, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trips_sensor, "monthly_partition", dg.MonthlyPartitionsDefinition("2023-04-01"))
    sensor.tick()
    assert [asked for _, asked, _ in site.requests] == [path("2023-04"), path("2023-05")]


def test_a_tick_asks_without_fetching(sensor: Sensor, files: Files, site: Site) -> None:
    files.publish(JANUARY, FEBRUARY, MARCH)
    sensor.tick()
    assert {method for method, _, _ in site.requests} == {"HEAD"}


def test_a_cursor_that_cannot_be_read_is_a_fresh_start(sensor: Sensor, files: Files) -> None:
    files.publish(JANUARY)
    sensor.cursor = "2023-01"
    assert sensor.tick() == [JANUARY]


def test_a_warehouse_that_does_not_answer_fails_the_tick_with_its_name(site: Site) -> None:
    nowhere = Warehouse(host="127.0.0.1", port=1, database="warehouse", user="ingestion_location", password="")
    sensor = Sensor(look_for_months, "new_trip_files", nowhere, site.root)
    with pytest.raises(RuntimeError, match=r"The ledger in the warehouse 127\.0\.0\.1:1 cannot be read .*next tick"):
        sensor.tick()


def test_a_month_of_another_source_is_loaded_from_this_one(sensor: Sensor, files: Files) -> None:
    files.publish(JANUARY)
    sensor.load(JANUARY)
    sensor.tlc = TlcSource(base_url=sensor.tlc.base_url, taxi_type="green")
    files["/trip-data/green_tripdata_2023-01.parquet"] = send(b"PAR1", ETag='"1"')
    assert sensor.tick() == [JANUARY]


class Location:
    """A sensor of the definitions and the runs that it requests, as the daemon executes them one after the other."""

    def __init__(self, sensor: dg.SensorDefinition, asset: Any, warehouse: Warehouse, root: str) -> None:
        self.sensor, self.asset, self.warehouse = sensor, asset, warehouse
        self.root = root
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.found = ""
        self.keys: set[str] = set()

    @property
    def resources(self) -> dict[str, Any]:
        return {"tlc": TlcSource(base_url=self.root, taxi_type="yellow"), "warehouse": self.warehouse}

    def tick(self) -> Any:
        """The runs that the next tick requests."""
        context = dg.build_sensor_context(
            self.instance, self.cursor, definitions=defs, resources=self.resources, sensor_name=self.sensor.name
        )
        ticked = self.sensor.evaluate_tick(context)
        self.cursor = ticked.cursor
        self.found = str(ticked.skip_message)
        return ticked.run_requests

    def run(self, request: Any) -> dg.ExecuteInProcessResult:
        # The daemon launches no second run for a key.
        assert request.run_key not in self.keys
        self.keys.add(request.run_key)
        key = {"dagster/run_key": request.run_key, "dagster/sensor_name": self.sensor.name}
        return dg.materialize(
            [self.asset],
            partition_key=request.partition_key,
            resources=self.resources,
            tags=request.tags | key,
            run_config=request.run_config,
            instance=self.instance,
            raise_on_error=False,
        )

    def turn(self) -> bool:
        """A tick that requests one run, and the run; returns whether it succeeded."""
        (request,) = self.tick()
        return self.run(request).success


TRIP = {
    **{"tpep_pickup_datetime": datetime(2023, 1, 5), "tpep_dropoff_datetime": datetime(2023, 1, 5, 1)},
    **{"VendorID": 1, "PULocationID": 1, "DOLocationID": 2, "total_amount": 10.0},
}
OTHER_MONTH = TRIP | {"tpep_pickup_datetime": datetime(2023, 2, 5)}
ONE_LOADED = "1 of 3 months loaded, 2 not published yet (2023-02, 2023-03)"


@pytest.fixture
def trips(warehouse: Warehouse, write_trips: Callable[..., Path]) -> Location:
    return Location(new_trip_files, taxi_trips, warehouse, write_trips("2023-01", TRIP).as_uri())


@pytest.fixture
def loaded_zones(warehouse: Warehouse, tmp_path: Path) -> Location:
    (tmp_path / "misc").mkdir()
    (tmp_path / "misc/taxi_zone_lookup.csv").write_text(HEADER + "1,a,b,c\n")
    location = Location(new_zone_files, taxi_zones, warehouse, tmp_path.as_uri())
    assert location.turn()
    return location


def test_a_tick_is_a_run_that_loads_the_month_and_the_next_tick_is_quiet(trips: Location, query: Any) -> None:
    assert trips.turn()
    assert query("select month::text from raw_taxis.trip_files") == [(JANUARY,)]
    assert (trips.tick(), trips.found) == ([], ONE_LOADED)


def test_a_month_that_was_wiped_in_dagster_is_recorded_from_the_ledger_as_often_as_it_is_wiped(
    trips: Location, query: Any
) -> None:
    assert trips.turn()
    ledger = query("select * from raw_taxis.trip_files")
    for _ in range(3):
        trips.instance.wipe_assets([dg.AssetKey("taxi_trips")])
        assert trips.turn()
        assert trips.instance.get_materialized_partitions(dg.AssetKey("taxi_trips")) == {JANUARY}
        assert (trips.tick(), trips.found) == ([], ONE_LOADED)
    assert query("select * from raw_taxis.trip_files") == ledger


def test_a_month_that_the_warehouse_lost_is_loaded_again(trips: Location, query: Any) -> None:
    assert trips.turn()
    query("drop table raw_taxis.trips, raw_taxis.stray_trips, raw_taxis.trip_files; select 1")
    assert trips.turn()
    assert query("select count(*) from raw_taxis.trips") == [(1,)]
    assert (trips.tick(), trips.found) == ([], ONE_LOADED)


def test_a_changed_file_that_is_refused_is_requested_once_and_the_month_stays(
    trips: Location, write_trips: Callable[..., Path], query: Any
) -> None:
    def publish(second: int, *content: dict[str, Any]) -> None:
        # A file of a folder has its time, in seconds, as its version.
        os.utime(write_trips("2023-01", *content) / path(JANUARY)[1:], (second, second))

    assert trips.turn()
    publish(1, *[OTHER_MONTH] * 9, TRIP)
    assert not trips.turn()
    assert query("select count(*) from raw_taxis.trips") == [(1,)]
    assert trips.tick() == []
    assert "1 requested before and not loaded, launch by hand (last run FAILURE) (2023-01)" in trips.found
    publish(2, *[TRIP] * 30)
    assert trips.turn()
    assert query("select count(*) from raw_taxis.trips") == [(30,)]


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_the_source_puts_back_after_another_one_is_loaded_again(
    trips: Location, write_trips: Callable[..., Path], query: Any, times: int
) -> None:
    for second in [*[1, 2] * times, 1]:
        os.utime(write_trips("2023-01", *[TRIP] * second) / path(JANUARY)[1:], (second, second))
        assert trips.turn()
        assert query("select count(*) from raw_taxis.trips") == [(second,)]
        assert (trips.tick(), trips.found) == ([], ONE_LOADED)


def test_a_file_of_which_the_source_says_one_version_and_sends_another_is_requested_once(
    trips: Location, write_trips: Callable[..., Path]
) -> None:
    content = (write_trips("2023-01", TRIP) / path(JANUARY)[1:]).read_bytes()

    def disagree(request: BaseHTTPRequestHandler) -> None:
        send(content, ETag=f'"{request.command}"')(request)

    with serving(Files({path(JANUARY): disagree})) as site:
        trips.root = site.root
        assert trips.turn()
        assert trips.tick() == []


def test_a_file_that_was_refused_and_then_accepted_by_hand_is_recorded_again_if_it_is_wiped(
    trips: Location, write_trips: Callable[..., Path]
) -> None:
    write_trips("2023-01", OTHER_MONTH, TRIP)
    (request,) = trips.tick()
    assert not trips.run(request).success
    config = dg.RunConfig({"taxi_trips": TripsConfig(accept_strays=True)})
    assert dg.materialize(
        [taxi_trips],
        partition_key=JANUARY,
        resources=trips.resources,
        instance=trips.instance,
        run_config=config,
    ).success
    trips.instance.wipe_assets([dg.AssetKey("taxi_trips")])
    assert trips.turn()
    assert (trips.tick(), trips.found) == ([], ONE_LOADED)


def test_zones_that_were_wiped_in_dagster_are_loaded_again_as_often_as_they_are_wiped(loaded_zones: Location) -> None:
    for _ in range(3):
        loaded_zones.instance.wipe_assets([dg.AssetKey("taxi_zones")])
        assert loaded_zones.turn()
        assert (loaded_zones.tick(), loaded_zones.found) == ([], "zones loaded, nothing new")


def test_zones_that_the_source_puts_back_after_others_are_loaded_again(
    loaded_zones: Location, query: Any, tmp_path: Path
) -> None:
    lookup = tmp_path / LOOKUP[1:]
    first = lookup.stat().st_mtime
    for borough, second in (("b", 1.0), ("a", first), ("b", 1.0)):
        lookup.write_text(f"{HEADER}1,{borough},b,c\n")
        os.utime(lookup, (second, second))
        assert loaded_zones.turn()
        assert query("select borough from raw_taxis.zones") == [(borough,)]
        assert (loaded_zones.tick(), loaded_zones.found) == ([], "zones loaded, nothing new")


def test_zones_that_the_warehouse_lost_are_loaded_again(loaded_zones: Location, query: Any) -> None:
    query("drop table raw_taxis.zones, raw_taxis.zone_files; select 1")
    assert loaded_zones.turn()
    assert query("select count(*) from raw_taxis.zones") == [(1,)]


@pytest.mark.parametrize(("sensor", "asset"), [(new_trip_files, taxi_trips), (new_zone_files, taxi_zones)])
def test_the_wait_for_one_source_is_not_one_for_another(
    warehouse: Warehouse, sensor: dg.SensorDefinition, asset: Any
) -> None:
    right = Files({LOOKUP: send(b"1", ETag='"1"')})
    right.publish(JANUARY)
    with serving(status(503, Retry_After="21600")) as wrong_site, serving(right) as right_site:
        location = Location(sensor, asset, warehouse, wrong_site.root)
        assert location.tick() == []
        assert (location.tick(), len(wrong_site.requests)) == ([], 1)
        location.root = right_site.root
        assert len(location.tick()) == 1


def test_a_wrong_password_that_is_corrected_is_used_at_once(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(request: BaseHTTPRequestHandler) -> None:
        (status(404) if request.headers["Authorization"] == "Basic dXNlcjpyaWdodA==" else status(401))(request)

    with serving(guarded) as site:
        sensor = Sensor(look_for_months, "new_trip_files", warehouse, site.root)
        for password, asked in (("wrong", 1), ("wrong", 1), ("right", 4)):
            monkeypatch.setenv("TLC_BASE_URL", site.root)
            monkeypatch.setenv("TLC_LOGIN", f"user:{password}")
            sensor.tick()
            assert len(site.requests) == asked
            assert password not in str(sensor.cursor)


def test_a_wait_in_a_cursor_of_an_earlier_version_is_kept(sensor: Sensor, files: Files) -> None:
    files.publish(JANUARY)
    sensor.cursor = '{"found":"","after":{},"failures":1,"next_look":"2023-06-15T13:00:00Z"}'
    assert sensor.tick() == []
    assert sensor.tick(NOON + timedelta(hours=1)) == [JANUARY]


def test_a_file_of_a_folder_that_was_written_again_is_requested(
    warehouse: Warehouse, write_trips: Callable[..., Path]
) -> None:
    site = write_trips("2023-01", {"VendorID": 1})
    sensor = Sensor(look_for_months, "new_trip_files", warehouse, site.as_uri())
    size = (site / path(JANUARY)[1:]).stat().st_size
    sensor.load(JANUARY, etag=None, last_modified="Tue, 03 Jan 2023 00:00:00 GMT", size=size)
    assert sensor.tick() == [JANUARY]


@pytest.mark.parametrize(
    ("published", "same"),
    [
        ({}, True),
        ({"etag": 'W/"1"'}, True),
        ({"etag": '"2"'}, False),
        ({"url": "http://c/b"}, False),
        # The ETag decides: a copy may carry another time.
        ({"last_modified": "Wed, 04 Jan 2023 00:00:00 GMT"}, True),
        ({"etag": None}, True),
        ({"etag": None, "last_modified": "Wed, 04 Jan 2023 00:00:00 GMT"}, False),
        ({"etag": None, "bytes": 5}, False),
        ({"etag": None, "last_modified": None}, True),
        ({"etag": None, "last_modified": None, "bytes": None}, True),
    ],
)
def test_a_file_is_another_one_where_something_that_both_sides_know_says_so(
    published: dict[str, Any], same: bool
) -> None:
    assert replace(PUBLISHED, **published).is_version(LOADED) is same


@pytest.fixture
def zones(warehouse: Warehouse, site: Site, files: Files) -> Sensor:
    files |= {LOOKUP: send(b"1", ETag='"1"'), SHAPES: send(b"1", ETag='"1"')}
    return Sensor(look_for_zones, "new_zone_files", warehouse, site.root)


def load_zones(zones: Sensor, *paths: str) -> None:
    """Writes into the ledger and records in Dagster that the zones were loaded from these files of the site."""
    zones.record(None)
    with zones.warehouse.transaction() as connection, connection.cursor() as cursor:
        loaded = [
            FileVersion(url=f"{zones.tlc.base_url}{path}", etag='"1"', last_modified=None, bytes=1, sha256="0")
            for path in paths
        ]
        create_tables(cursor)
        replace_ledger(cursor, loaded, "run")


def test_zones_that_were_never_loaded_are_requested_once(zones: Sensor) -> None:
    assert zones.tick() == [None]
    assert zones.found == "no zones loaded, published and requested (taxi_zone_lookup.csv, taxi_zones.zip)"
    zones.runs(dg.DagsterRunStatus.STARTED)
    assert zones.tick() == []
    assert zones.found == "no zones loaded, being loaded (taxi_zone_lookup.csv, taxi_zones.zip)"


def test_zones_that_are_loaded_and_unchanged_are_not_requested(zones: Sensor) -> None:
    load_zones(zones, LOOKUP, SHAPES)
    assert zones.tick() == []
    assert zones.found == "zones loaded, nothing new"


@pytest.mark.parametrize("changed", [LOOKUP, SHAPES])
def test_zones_of_which_a_file_changed_are_requested(zones: Sensor, files: Files, changed: str) -> None:
    load_zones(zones, LOOKUP, SHAPES)
    files[changed] = send(b"1", ETag='"2"')
    assert zones.tick() == [None]
    assert zones.found == f"zones loaded, published and requested ({changed.rpartition('/')[2]})"


def test_shapes_that_appear_are_requested_and_shapes_that_vanish_are_kept(zones: Sensor, files: Files) -> None:
    load_zones(zones, LOOKUP)
    assert zones.tick() == [None]
    load_zones(zones, LOOKUP, SHAPES)
    del files[SHAPES]
    assert zones.tick() == []


def test_zones_whose_run_failed_are_requested_again_when_a_file_changes_and_not_before(
    zones: Sensor, files: Files
) -> None:
    zones.tick()
    zones.runs(dg.DagsterRunStatus.FAILURE)
    assert zones.tick() == []
    assert "requested before and not loaded, launch by hand (last run FAILURE)" in zones.found
    files[LOOKUP] = send(b"1", ETag='"2"')
    assert zones.tick() == [None]


def test_a_source_without_zones_is_named(zones: Sensor, files: Files) -> None:
    del files[LOOKUP]
    assert zones.tick() == []
    assert zones.found == f"no zones loaded, {zones.tlc.zones_url} not published"


def test_a_source_that_throttles_is_not_asked_for_the_zones_before_the_wait_is_over(
    zones: Sensor, files: Files, site: Site
) -> None:
    files[LOOKUP] = status(429)
    assert zones.tick() == []
    assert (zones.tick(NOON + timedelta(seconds=INTERVAL_SECONDS)), len(site.requests)) == ([], 1)
    assert (zones.tick(NOON + timedelta(seconds=2 * INTERVAL_SECONDS)), len(site.requests)) == ([], 2)


@pytest.mark.parametrize("sensor_definition", [new_trip_files, new_zone_files])
def test_the_sensors_run_from_the_start(sensor_definition: dg.SensorDefinition) -> None:
    assert (sensor_definition.default_status, DEFAULT_STATUS) == (dg.DefaultSensorStatus.RUNNING,) * 2


@pytest.mark.filterwarnings("ignore:'ingestion_location.source_sensor' found in sys.modules")
def test_sensors_that_are_switched_off_can_still_be_started_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_AUTOMATION", "off")
    status = runpy.run_module("ingestion_location.source_sensor")["DEFAULT_STATUS"]
    assert status == dg.DefaultSensorStatus.STOPPED
