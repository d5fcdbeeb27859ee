"""The report of a month: its numbers, its page, and the folder that the pages are in."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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
def mart(query: Any) -> None:
    """A location_metrics with trips in January and in February, and zones."""
    query(
        """
        create table analytics.location_metrics as
        select * from (values
            (date '2023-01-01', 7, 'Queens', 'Queens', false, 62, 60, 600::numeric, 1000::numeric, 0),
            (date '2023-02-01', 4, 'Manhattan', 'Queens', false, 40, 40, 800::numeric, 600::numeric, 10),
            (date '2023-02-28', 1, 'EWR', 'Manhattan', true, 10, 10, 200::numeric, 400::numeric, 0)
        ) as rows (
            date_of_business, pickup_zone_id, pickup_borough, destination_borough, from_airport, trips, timed_trips,
            total_duration, fare, trips_over_30_min
        );
        alter table analytics.location_metrics alter pickup_zone_id type smallint;
        create view analytics.stg_zones as
        select zone_id, zone as zone_name, borough, service_zone, geometry, zone like '%Airport' as is_airport
        from raw_taxis.zones;
        grant select on analytics.location_metrics, analytics.stg_zones to dbt_location
        """
    )


@pytest.fixture
def build_page(
    instance: dg.DagsterInstance, materialize: Materialize, reports: Reports, build_month: Callable[[str, str], None]
) -> Callable[..., str]:
    """Builds the tables of January and February, then the report of February once some days are built; its page."""

    def run(*days: str) -> str:
        for day in days:
            instance.report_runless_asset_event(dg.AssetMaterialization("location_metrics", partition=day))
        build_month("2023-01-01", "2023-03-01")
        for model in ("zone_pickups", "borough_flows", "monthly_totals"):
            instance.report_runless_asset_event(dg.AssetMaterialization(model, partition="2023-02-01"))
        assert materialize(monthly_report, month="2023-02-01").success
        return (Path(reports.folder) / "2023-02.html").read_text()

    return run


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
    build_page(*FEBRUARY)
    assert query("select * from metrics.monthly_totals where month = '2023-02-01'") == [
        (
            *query("select date '2023-02-01'")[0],
            *(50, 1000, 20),
            *(Decimal("0.2"), Decimal("0.8"), Decimal("0.2")),
        )
    ]


def test_one_run_builds_a_months_tables_and_its_page_and_compares_with_a_month_before_that_was_never_built(
    instance: dg.DagsterInstance, materialize: Materialize, query: Any
) -> None:
    for day in (*JANUARY, *FEBRUARY):
        instance.report_runless_asset_event(dg.AssetMaterialization("location_metrics", partition=day))
    result = materialize(get_dbt_monthly_models(), monthly_report, month="2023-02-01")
    assert result.success
    (report,) = result.asset_materializations_for_node("monthly_report")
    assert report.metadata["compared_with"].value == "2023-01"
    materialized = {(event.asset_key.to_user_string(), event.partition) for event in materializations(result)}
    assert materialized == {
        (asset, "2023-02-01") for asset in ("zone_pickups", "borough_flows", "monthly_totals", "monthly_report")
    }


def materializations(result: dg.ExecuteInProcessResult) -> list[Any]:
    return [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]


def test_a_page_compares_its_month_with_the_one_before(build_page: Callable[..., str]) -> None:
    said = words(build_page(*JANUARY, *FEBRUARY))
    assert "Compared with January 2023." in said
    assert "Trips 50 62 -19.4% per day 2 2 -10.7%" in said
    assert "Average duration 20.0 min 10.0 min +10.0 min" in said
    assert "Trips over 30 minutes 20.0% 0.0% +20.0 points" in said


def test_a_page_says_that_there_is_no_month_before_where_a_day_of_it_is_not_built(
    build_page: Callable[..., str],
) -> None:
    said = words(build_page(*JANUARY[1:], *FEBRUARY))
    assert "No month before to compare with" in said
    assert "-19.4%" not in said


def test_a_page_needs_nothing_from_outside_and_leads_only_to_the_index(build_page: Callable[..., str]) -> None:
    page = build_page(*FEBRUARY)
    assert set(Links(page).found) == {"index.html"}
    assert ("url(" in page, "@import" in page, "<script" in page) == (False, False, False)


def test_a_page_has_a_picture_per_measure_and_the_map_for_both_widths(build_page: Callable[..., str]) -> None:
    assert build_page(*FEBRUARY).count("data:image/png;base64,") == 4 + 2


def test_the_same_rows_give_the_same_page(build_page: Callable[..., str]) -> None:
    assert build_page(*FEBRUARY) == build_page()


def test_a_name_from_the_source_is_text_on_the_page(build_page: Callable[..., str], query: Any) -> None:
    query("update raw_taxis.zones set zone = '<b>Alphabet</b>' where zone_id = 4")
    assert "&lt;b&gt;Alphabet&lt;/b&gt;" in build_page(*FEBRUARY)


def test_a_month_without_trips_has_a_row_and_a_page(build_page: Callable[..., str], query: Any) -> None:
    query("delete from analytics.location_metrics")
    assert "Trips 0" in words(build_page(*JANUARY, *FEBRUARY))
    assert query(
        "select trips, revenue, average_duration, pct_over_30_min from metrics.monthly_totals"
        " where month = '2023-02-01'"
    ) == [(0, 0, None, None)]


def test_the_asset_links_to_the_page(
    instance: dg.DagsterInstance, materialize: Materialize, reports: Reports, build_page: Callable[..., str]
) -> None:
    build_page(*FEBRUARY)
    event = instance.get_latest_materialization_event(dg.AssetKey("monthly_report"))
    assert event
    assert event.asset_materialization
    said = event.asset_materialization.metadata
    assert said["report"] == dg.MetadataValue.url("http://127.0.0.1:3001/2023-02.html")
    assert said["compared_with"].value == "no month before"


def test_a_folder_that_cannot_be_written_to_is_named(
    build_page: Callable[..., str], materialize: Materialize, reports: Reports
) -> None:
    build_page(*FEBRUARY)
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


def test_the_index_has_the_months_of_a_year_together() -> None:
    said = words(render_index(["2023-01.html", "2022-12.html", "2022-11.html"]))
    assert said == "Taxi trips, month by month 2023 January 2023 2022 December 2022 November 2022"
