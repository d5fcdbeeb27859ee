"""What the models say about a few trips."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

DAY = ("2023-01-02", "2023-01-03")


def test_a_duration_is_the_exact_elapsed_minutes(add_trips: Any, build: Any, table: Any) -> None:
    add_trips("2023-01-02 10:00:59", minutes=1.5)
    build(*DAY)
    assert table("daily_metrics")[0][2] == Decimal("1.5")


def test_a_trip_whose_dropoff_precedes_its_pickup_has_no_duration(add_trips: Any, build: Any, query: Any) -> None:
    add_trips("2023-01-02 10:00", minutes=-5)
    add_trips("2023-01-02 11:00", minutes=20)
    build(*DAY)
    assert query("select trip_count, total_duration, average_duration from analytics.daily_metrics") == [(2, 20, 20)]


@pytest.mark.parametrize(("minutes", "share"), [(30, 0), (30 + 1 / 60, Decimal("0.25")), (31, Decimal("0.25"))])
def test_the_share_of_long_trips_is_a_fraction_and_thirty_minutes_are_not_long(
    add_trips: Any, build: Any, query: Any, minutes: float, share: Decimal
) -> None:
    add_trips("2023-01-02 10:00", minutes=minutes)
    add_trips("2023-01-02 10:00", "2023-01-02 10:00", "2023-01-02 10:00", minutes=5)
    build(*DAY)
    assert query("select pct_over_30_min from analytics.daily_metrics") == [(share,)]


def test_a_reversal_nets_out(add_trips: Any, build: Any, query: Any) -> None:
    add_trips("2023-01-02 10:00", amount=10.1)
    add_trips("2023-01-02 10:00", amount=-10.1)
    add_trips("2023-01-02 11:00", amount=0.2)
    build(*DAY)
    assert query("select total_amount from analytics.daily_metrics") == [(Decimal("0.2"),)]


def test_a_trip_belongs_to_the_day_of_its_pickup_to_the_microsecond(add_trips: Any, build: Any, query: Any) -> None:
    add_trips("2023-01-02 00:00:00", "2023-01-02 23:59:59.999999", "2023-01-03 00:00:00")
    build("2023-01-01", "2023-01-05")
    assert query("select date_of_business, trip_count from analytics.daily_metrics order by 1") == [
        (date(2023, 1, 2), 2),
        (date(2023, 1, 3), 1),
    ]


def test_trips_are_counted_by_pickup_zone_and_destination_borough(add_trips: Any, build: Any, query: Any) -> None:
    add_trips("2023-01-02 10:00", "2023-01-02 11:00", zone=1, to=4, amount=50, minutes=40)
    add_trips("2023-01-02 10:00", zone=4, to=265)
    build(*DAY)
    assert query(
        "select pickup_zone_id, pickup_borough, destination_borough, from_airport, trips, total_distance,"
        " total_duration, fare, trips_over_30_min from analytics.location_metrics order by 1"
    ) == [
        (1, "EWR", "Manhattan", True, 2, 5, 80, 100, 2),
        (4, "Manhattan", "N/A", False, 1, Decimal("2.5"), 10, 10, 0),
    ]


def test_a_zone_that_the_lookup_lacks_is_unknown_and_its_trips_are_counted(
    add_trips: Any, build: Any, query: Any
) -> None:
    add_trips("2023-01-02 10:00", zone=900, to=901)
    build(*DAY)
    assert query("select pickup_zone, pickup_borough, destination_borough, trips from analytics.location_metrics") == [
        ("Unknown", "Unknown", "Unknown", 1)
    ]
