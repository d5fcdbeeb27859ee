"""The report of a month: its numbers, its page, and the folder that the pages are in."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
from dbt_location.defs.dbt_models import get_dbt_monthly_models
from dbt_location.defs.metrics.monthly_report import monthly_report
from dbt_location.defs.metrics.report_page import render_index
from dbt_location.report_folder import Reports, ReportsError
from integration.conftest import failure

Materialize = Callable[..., dg.ExecuteInProcessResult]
JANUARY = [f"2023-01-{day:02}" for day in range(1, 32)]
FEBRUARY = [f"2023-02-{day:02}" for day in range(1, 29)]


@pytest.fixture(autouse=True)
def mart(location_metrics: Callable[[str], None]) -> None:
    """A location_metrics with trips in January and in February, and zones."""
    location_metrics(
        """
        (date '2023-01-01', 7, 'Queens', 'Queens', false, 62, 60, 600::numeric, 1000::numeric, 0),
        (date '2023-02-01', 4, 'Manhattan', 'Queens', false, 40, 40, 800::numeric, 600::numeric, 10),
        (date '2023-02-28', 1, 'EWR', 'Manhattan', true, 10, 10, 200::numeric, 400::numeric, 0)
        """
    )


@pytest.fixture
def build_page(
    instance: dg.DagsterInstance, materialize: Materialize, reports: Reports, build_month: Callable[[str, str], None]
) -> Callable[..., str]:
    """Builds the tables of January and February, or of February alone, and February's report; returns its page."""

    def run(first: str = "2023-01-01") -> str:
        report_days(instance, FEBRUARY)
        build_month(first, "2023-03-01")
        for model in ("zone_pickups", "borough_flows", "monthly_totals"):
            instance.report_runless_asset_event(dg.AssetMaterialization(model, partition="2023-02-01"))
        assert materialize(monthly_report, month="2023-02-01").success
        return (Path(reports.folder) / "2023-02.html").read_text()

    return run


def report_days(instance: dg.DagsterInstance, days: Sequence[str]) -> None:
    """Tells the instance that days of the models by day are built."""
    for model in ("stg_trips", "location_metrics"):
        for day in days:
            instance.report_runless_asset_event(dg.AssetMaterialization(model, partition=day))


class Links(HTMLParser):
    """What a page asks a browser to load or offers to go to, as far as it is not part of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"src", "srcset", "href", "data", "poster", "action"}
        self.found += [value or "" for name, value in attrs if name in names and not (value or "").startswith("data:")]


def words(page: str) -> str:
    """The text of a page, without its tags and its styles, a space between two pieces and minus signs as hyphens."""

    class Text(HTMLParser):
        pieces: list[str] = []

        def handle_data(self, data: str) -> None:
            self.pieces += data.split()

    text = Text()
    text.feed(page.partition("</head>")[2])
    return " ".join(text.pieces).replace("\N{MINUS SIGN}", "-")


def test_a_month_is_a_row_of_headline_numbers(build_page: Callable[..., str], query: Any) -> None:
    build_page()
    assert query("select * from metrics.monthly_totals where month = '2023-02-01'") == [
        (
            *query("select date '2023-02-01'")[0],
            *(50, 1000, 20),
            *(Decimal("0.2"), Decimal("0.8"), Decimal("0.2")),
        )
    ]


def test_one_run_builds_a_months_tables_and_its_page_and_no_other_month(
    instance: dg.DagsterInstance, materialize: Materialize, query: Any
) -> None:
    report_days(instance, (*JANUARY, *FEBRUARY))
    result = materialize(get_dbt_monthly_models(), monthly_report, month="2023-02-01")
    assert result.success
    (report,) = result.asset_materializations_for_node("monthly_report")
    assert report.metadata["compared_with"].value == "no month before"
    assert query("select to_char(month, 'MM') from metrics.monthly_totals") == [("02",)]
    materialized = {(event.asset_key.to_user_string(), event.partition) for event in materializations(result)}
    assert materialized == {
        (asset, "2023-02-01") for asset in ("zone_pickups", "borough_flows", "monthly_totals", "monthly_report")
    }


def materializations(result: dg.ExecuteInProcessResult) -> list[Any]:
    return [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]


def test_a_page_compares_its_month_with_the_one_before(build_page: Callable[..., str]) -> None:
    said = words(build_page())
    assert "Compared with January 2023." in said
    assert "Trips 50 62 -19.4% per day 2 2 -10.7%" in said
    assert "Average duration 20.0 min 10.0 min +10.0 min" in said
    assert "Trips over 30 minutes 20.0% 0.0% +20.0 points" in said


def test_a_page_says_that_there_is_no_month_before_where_that_is_not_built(build_page: Callable[..., str]) -> None:
    said = words(build_page(first="2023-02-01"))
    assert "No month before to compare with: it is not built." in said
    assert "-19.4%" not in said


def test_a_page_needs_nothing_from_outside_and_leads_only_to_the_index(build_page: Callable[..., str]) -> None:
    page = build_page()
    assert set(Links(page).found) == {"index.html"}
    assert ("url(" in page, "@import" in page, "<script" in page) == (False, False, False)


def test_a_page_has_a_picture_per_measure_and_the_map_for_both_widths(build_page: Callable[..., str]) -> None:
    assert build_page().count("data:image/png;base64,") == 4 + 2


def test_the_same_rows_give_the_same_page(build_page: Callable[..., str]) -> None:
    assert build_page() == build_page()


def test_a_name_from_the_source_is_text_on_the_page(build_page: Callable[..., str], query: Any) -> None:
    query("update raw_taxis.zones set zone = '<b>Alphabet</b>' where zone_id = 4")
    assert "&lt;b&gt;Alphabet&lt;/b&gt;" in build_page()


def test_a_month_without_trips_has_a_row_and_a_page(build_page: Callable[..., str], query: Any) -> None:
    query("delete from analytics.location_metrics")
    assert "Trips 0" in words(build_page())
    assert query(
        "select trips, revenue, average_duration, pct_over_30_min from metrics.monthly_totals"
        " where month = '2023-02-01'"
    ) == [(0, 0, None, None)]


def test_the_asset_links_to_the_page(
    instance: dg.DagsterInstance, materialize: Materialize, reports: Reports, build_page: Callable[..., str]
) -> None:
    build_page()
    event = instance.get_latest_materialization_event(dg.AssetKey("monthly_report"))
    assert event
    assert event.asset_materialization
    said = event.asset_materialization.metadata
    assert said["report"] == dg.MetadataValue.url("http://127.0.0.1:3001/2023-02.html")
    assert said["compared_with"].value == "2023-01"


WRITERS = {
    "metrics.monthly_totals": "2023-01-01",
    "metrics.zone_pickups": "2023-01-01",
    "metrics.borough_flows": "2023-02-01",
    "analytics.location_metrics": "2023-02-01",
}


def test_a_table_that_is_written_while_a_report_is_drawn_has_its_event_after_the_reports(
    instance: dg.DagsterInstance,
    materialize: Materialize,
    build_page: Callable[..., str],
    query: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_page()
    waiting = "select count(*) from pg_locks where locktype = 'relation' and not granted"
    waited_at_event: list[int] = []

    def write(table: str) -> None:
        query(f"delete from {table}")
        asset = table.partition(".")[2]
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=WRITERS[table]))

    def publish_late(reports: Reports, *arguments: Any) -> Path:
        # All of it is read by now.
        started.extend(pool.submit(write, table) for table in WRITERS)
        while query(waiting) != [(len(WRITERS),)] and not any(writer.done() for writer in started):
            time.sleep(0.05)
        return publish(reports, *arguments)

    def store(event: dg.EventLogEntry) -> None:
        if event.is_dagster_event and event.get_dagster_event().is_step_materialization:
            waited_at_event.append(query(waiting)[0][0])
        store_event(event)

    publish, store_event = Reports.publish, instance.event_log_storage.store_event
    started: list[Future[None]] = []
    with ThreadPoolExecutor(len(WRITERS)) as pool:
        monkeypatch.setattr(Reports, "publish", publish_late)
        monkeypatch.setattr(instance.event_log_storage, "store_event", store)
        assert materialize(monthly_report, month="2023-02-01").success
    for writer in started:
        writer.result()
    # The first event is the report's.
    assert waited_at_event[0] == len(WRITERS)
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    ids = {
        asset: instance.get_latest_storage_id_by_partition(dg.AssetKey(asset), event, {partition})[partition]
        for asset, partition in [
            ("monthly_report", "2023-02-01"),
            *((t.partition(".")[2], p) for t, p in WRITERS.items()),
        ]
    }
    assert min(ids, key=ids.__getitem__) == "monthly_report"


def test_a_folder_that_cannot_be_written_to_is_named(
    build_page: Callable[..., str], materialize: Materialize, reports: Reports
) -> None:
    build_page()
    page = Path(reports.folder) / "2023-02.html"
    page.unlink()
    page.mkdir()
    said = failure(materialize(monthly_report, month="2023-02-01"))
    assert said.startswith(f"{page}: the report cannot be written (Is a directory). Set REPORTS_DIR to a folder")


def names(pages: Sequence[str]) -> str:
    return "\n".join(pages)


def test_the_index_lists_the_pages_that_are_there_newest_first(reports: Reports) -> None:
    folder = Path(reports.folder)
    for name in ("2023-01.html", "2022-12.html", "2023-02.html"):
        reports.publish(name, name, names)
    (folder / "notes.html").touch()
    reports.publish("2023-02.html", "again", names)
    assert (folder / "index.html").read_text() == "2023-02.html\n2023-01.html\n2022-12.html"


def test_pages_published_at_once_are_all_in_the_index(reports: Reports) -> None:
    pages = [f"20{year:02}-01.html" for year in range(40)]
    together = threading.Barrier(8)

    def publish(some: Sequence[str]) -> None:
        together.wait(timeout=30)
        for name in some:
            reports.publish(name, name, names)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, [pages[start::8] for start in range(8)]))
    assert (Path(reports.folder) / "index.html").read_text() == names(sorted(pages, reverse=True))


def test_a_page_is_replaced_as_a_whole_whatever_a_killed_run_left(reports: Reports) -> None:
    folder = Path(reports.folder)
    old = reports.publish("2023-01.html", "old", names)
    (folder / ".2023-01.html.part").write_text("half of a much longer page")
    with old.open() as reader:
        reports.publish("2023-01.html", "new", names)
        assert (reader.read(), old.read_text()) == ("old", "new")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "2023-01.html", "index.html"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reports = Reports(folder=str(tmp_path / "file/reports"), url="http://127.0.0.1:3001")
    with pytest.raises(ReportsError, match=r"/file/reports: the report cannot be written \(Not a directory\)"):
        reports.publish("2023-01.html", "page", names)


class Totals(NamedTuple):
    """What the index shows of a row of `monthly_totals`."""

    trips: int
    revenue: float


NUMBERS = {
    date(2022, 11, 1): Totals(100, 1000),
    date(2022, 12, 1): Totals(150, 900),
    date(2023, 1, 1): Totals(150, 1800),
    date(2023, 3, 1): Totals(300, 3600),
}


def index(*months: str) -> str:
    return words(render_index([f"{month}.html" for month in months], NUMBERS))


def test_the_index_has_each_month_with_its_change_and_the_months_of_a_year_together() -> None:
    assert index("2023-01", "2022-12", "2022-11").partition("Revenue change ")[2].partition(" The change")[0] == (
        "2023 January 2023 150 unchanged $1,800 +100.0% "
        "2022 December 2022 150 +50.0% $900 -10.0% November 2022 100 $1,000"
    )


def test_the_index_shows_a_gap_as_a_gap_and_compares_nothing_across_it() -> None:
    assert index("2023-03", "2022-12").partition("Revenue change ")[2].partition(" The change")[0] == (
        "2023 March 2023 300 $3,600 January 2023 to February 2023: no report 2022 December 2022 150 $900"
    )


def test_the_index_says_which_months_it_spans_and_draws_trips_and_revenue() -> None:
    page = render_index(["2023-01.html", "2022-11.html"], NUMBERS)
    assert "month by month November 2022 to January 2023" in words(page)
    assert page.count("data:image/png;base64,") == 2


def test_the_index_has_the_month_that_was_just_published_with_its_numbers(
    build_page: Callable[..., str], reports: Reports
) -> None:
    build_page()
    said = words((Path(reports.folder) / "index.html").read_text())
    assert "2023 February 2023 50 $1,000" in said
