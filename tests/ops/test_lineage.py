"""What a partition is made from, and when it is outdated."""

from dataclasses import replace

import dagster as dg
import pytest

from ops.lineage import Asset, Lineage, read_mappings
from tests.ops.stack_facts import DAILY, DAYS, MONTHS, REPORT, TRIPS, newest

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `allow_nonexistent_upstream_partitions`")
ZONES_MODEL = Asset("stg_zones", "dbt_location")
# Made from its own days, the month before and the zones.
COMPARING = replace(REPORT, parents=("daily_metrics", "totals", "stg_zones"), offsets={"totals": (-1, 0)})
TOTALS = replace(REPORT, key="totals")


def lineage(*assets: Asset, **changed: list[tuple[str | None, int]]) -> Lineage:
    """Of two months, four days, their totals and reports, unless other assets are given; ``changed`` as in newest()."""
    built = newest(totals=[(key, 15 + place) for place, key in enumerate(MONTHS)], stg_zones=[(None, 6)], **changed)
    return Lineage(assets or (TRIPS, DAILY, TOTALS, COMPARING, ZONES_MODEL), built)


def stale(found: Lineage, asset: str) -> list[bool]:
    return [found.is_stale(asset, key) for key in found.assets[asset].keys]


def test_a_days_month_is_required_and_not_in_its_lookback() -> None:
    found = lineage()
    assert list(found.required("daily_metrics", DAYS[1])) == [("taxi_trips", MONTHS[0])]
    assert list(found.lookback("daily_metrics", DAYS[1])) == []


def test_days_after_the_last_month_have_no_upstream_month() -> None:
    found = lineage(TRIPS, replace(DAILY, keys=("2023-02-28", "2023-03-01")))
    parents = [list(found.required("daily_metrics", key)) for key in ("2023-02-28", "2023-03-01")]
    assert parents == [[("taxi_trips", "2023-02-01")], []]


def test_the_days_of_a_month_are_required_by_its_metrics() -> None:
    found = lineage(TRIPS, DAILY, REPORT)
    assert list(found.required("monthly_report", MONTHS[0])) == [("daily_metrics", day) for day in DAYS[:2]]


def test_the_month_before_is_in_the_lookback_and_the_own_one_is_required() -> None:
    found = lineage()
    assert ("totals", MONTHS[1]) in list(found.required("monthly_report", MONTHS[1]))
    assert list(found.lookback("monthly_report", MONTHS[1])) == [("totals", MONTHS[0])]


def test_the_lookback_of_the_first_month_is_what_its_upstream_has_before_it() -> None:
    earlier = replace(TOTALS, keys=("2022-12-01", *MONTHS))
    found = lineage(DAILY, earlier, COMPARING)
    assert list(found.lookback("monthly_report", MONTHS[0])) == [("totals", "2022-12-01")]
    assert list(lineage().lookback("monthly_report", MONTHS[0])) == []


def test_the_lookback_is_counted_in_the_partitions_of_the_asset_that_has_it() -> None:
    of_months = replace(REPORT, parents=("daily_metrics",), offsets={"daily_metrics": (-1, 0)})
    of_days = replace(DAILY, parents=("daily",), offsets={"daily": (-2, -2)})
    assert list(lineage(DAILY, of_months).lookback("monthly_report", MONTHS[1])) == [
        ("daily_metrics", day) for day in DAYS[:2]
    ]
    found = lineage(of_days, replace(DAILY, key="daily"))
    assert list(found.lookback("daily_metrics", DAYS[3])) == [("daily", DAYS[1])]


def test_a_reload_makes_the_month_and_what_it_requires_stale_and_not_the_next_month_yet() -> None:
    again = lineage(taxi_trips=[(MONTHS[0], 30), (MONTHS[1], 2)])
    assert stale(again, "totals") == stale(again, "monthly_report") == [True, False]


def test_a_month_that_is_built_again_makes_the_report_of_the_next_one_stale() -> None:
    built = newest(totals=[(MONTHS[0], 40), (MONTHS[1], 16)], monthly_report=[(MONTHS[0], 41), (MONTHS[1], 22)])
    found = Lineage([TRIPS, DAILY, TOTALS, COMPARING, ZONES_MODEL], built)
    assert stale(found, "monthly_report") == [False, True]


def test_a_month_before_that_is_missing_makes_nothing_stale() -> None:
    built = newest(totals=[(MONTHS[1], 16)])
    assert stale(Lineage([TRIPS, DAILY, TOTALS, COMPARING], built), "monthly_report") == [False, False]


def test_new_zones_make_outdated_what_is_made_from_them_directly_and_nothing_stale() -> None:
    found = Lineage([TRIPS, DAILY, COMPARING, ZONES_MODEL], newest(stg_zones=[(None, 50)]))
    assert stale(found, "monthly_report") == [False, False]
    assert [found.outdated_by("monthly_report", key) for key in MONTHS] == ["stg_zones"] * 2
    assert found.outdated_by("daily_metrics", DAYS[0]) is None


def test_what_has_no_partitions_is_stale_once_what_it_is_made_from_is_loaded_again() -> None:
    zones = (Asset("taxi_zones", "ingestion_location"), replace(ZONES_MODEL, parents=("taxi_zones",)))
    assert Lineage(zones, newest(taxi_zones=[(None, 50)], stg_zones=[(None, 6)])).is_stale("stg_zones", None)


def test_due_is_what_is_missing_or_stale_with_what_follows_from_it() -> None:
    again = lineage(taxi_trips=[(MONTHS[0], 30), (MONTHS[1], 2)])
    assert again.due() == {"daily_metrics": [*DAYS[:2]], "totals": [MONTHS[0]], "monthly_report": [*MONTHS]}


def test_nothing_is_due_where_everything_is_built() -> None:
    assert lineage().due() == {}


def test_what_is_missing_is_not_due_before_what_it_requires_is_there() -> None:
    built = newest(taxi_trips=[(MONTHS[0], 1)], daily_metrics=[], monthly_report=[])
    assert Lineage([TRIPS, DAILY, REPORT], built).due() == {
        "daily_metrics": [*DAYS[:2]],
        "monthly_report": [MONTHS[0]],
    }
    without_zones = Lineage([TRIPS, DAILY, TOTALS, COMPARING, ZONES_MODEL], {**built})
    assert "monthly_report" not in without_zones.due()


def test_what_is_outdated_by_the_zones_is_due_only_where_it_is_asked_for() -> None:
    found = Lineage(
        [TRIPS, replace(DAILY, parents=("taxi_trips", "stg_zones")), REPORT, ZONES_MODEL],
        newest(stg_zones=[(None, 50)]),
    )
    assert found.due() == {}
    assert found.due(rebuild=True) == {"daily_metrics": [*DAYS], "monthly_report": [*MONTHS]}


# --- Dagster's words for a partition mapping -------------------------------------------------------------------------

BY_TIME = {"report", "totals"}


def kind(mapping: dg.PartitionMapping) -> str:
    return type(mapping).__name__


def read(mapping: dg.PartitionMapping) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    return read_mappings("report", {"totals": (kind(mapping), mapping.description)}, BY_TIME)


@pytest.mark.parametrize("offsets", [(-1, 0), (-12, -1), (-3, -3)])
def test_the_offsets_of_a_mapping_of_the_installed_dagster_are_read(offsets: tuple[int, int]) -> None:
    mapping = dg.TimeWindowPartitionMapping(*offsets, allow_nonexistent_upstream_partitions=True)
    assert read(mapping) == ({"totals": offsets}, {})


@pytest.mark.parametrize("mapping", [dg.TimeWindowPartitionMapping(), dg.IdentityPartitionMapping()])
def test_a_mapping_onto_the_own_window_has_no_offsets(mapping: dg.PartitionMapping) -> None:
    assert read(mapping) == ({}, {})


@pytest.mark.parametrize(
    "mapping", [dg.LastPartitionMapping(), dg.AllPartitionMapping(), dg.TimeWindowPartitionMapping(0, 1)]
)
def test_of_another_mapping_a_sentence_says_that_nothing_is_known(mapping: dg.PartitionMapping) -> None:
    offsets, not_judged = read(mapping)
    assert (offsets, [*not_judged]) == ({}, ["totals"])
    assert (
        f"report: the partitions that it is made from are not known: its dependency on totals has a {kind(mapping)} "
        in (not_judged["totals"])
    )


def test_words_that_dagster_did_not_use_before_are_not_understood() -> None:
    _, not_judged = read_mappings("report", {"totals": ("TimeWindowPartitionMapping", "Maps two months.")}, BY_TIME)
    assert "(Maps two months.)" in not_judged["totals"]


def test_a_mapping_between_assets_that_are_not_partitioned_by_time_has_no_offsets() -> None:
    mapping = dg.AllPartitionMapping()
    assert read_mappings("page", {"totals": (kind(mapping), mapping.description)}, BY_TIME) == ({}, {})


def test_what_is_not_judged_makes_nothing_stale_and_is_still_upstream() -> None:
    aside = replace(COMPARING, offsets={}, not_judged={"totals": "LastPartitionMapping"})
    built = newest(totals=[(key, 40) for key in MONTHS], stg_zones=[(None, 6)])
    found = Lineage([aside, TRIPS, DAILY, TOTALS, ZONES_MODEL], built)
    assert stale(found, "monthly_report") == [False, False]
    assert stale(Lineage([replace(aside, not_judged={}), TRIPS, DAILY, TOTALS], built), "monthly_report") == [
        True,
        True,
    ]
    assert found.order().index("totals") < found.order().index("monthly_report")
