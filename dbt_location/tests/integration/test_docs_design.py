"""What the design that this one comes from, that of Dagster's documentation, got wrong on 9.4 million real trips."""

from datetime import date
from typing import Any

JANUARY, FEBRUARY, MARCH = ("2023-01-01", "2023-02-01"), ("2023-02-01", "2023-03-01"), ("2023-03-01", "2023-04-01")


def trips_per_day(query: Any) -> dict[str, int]:
    return dict(query("select to_char(date_of_business, 'MM-DD'), trip_count from analytics.daily_metrics order by 1"))


def test_no_trip_is_lost_when_months_come_one_after_the_other(add_trips: Any, build: Any, query: Any) -> None:
    # It lost 46 trips: those of a day that an earlier month's run had already written.
    for month in (JANUARY, FEBRUARY, MARCH):
        add_trips(f"{month[0]} 00:00", f"{month[0]} 12:00")
        build(*month)
    assert trips_per_day(query) == {"01-01": 2, "02-01": 2, "03-01": 2}


def test_no_trip_is_kept_of_a_day_that_a_reloaded_month_no_longer_has(add_trips: Any, build: Any, query: Any) -> None:
    # It kept 729,130 of them.
    add_trips("2023-01-01 12:00", "2023-01-02 12:00")
    build(*JANUARY)
    query("delete from raw_taxis.trips where pickup_datetime < '2023-01-02'")
    build(*JANUARY)
    assert trips_per_day(query) == {"01-02": 1}


def test_the_first_run_writes_the_one_day_that_was_asked_for(add_trips: Any, build: Any, query: Any) -> None:
    # It wrote 34 days.
    add_trips("2022-12-31 12:00", "2023-01-01 12:00", "2023-01-02 00:00", "2023-01-31 12:00")
    build("2023-01-01", "2023-01-02")
    assert query("select date_of_business from analytics.daily_metrics") == [(date(2023, 1, 1),)]
    assert query("select distinct date_of_business from analytics.location_metrics") == [(date(2023, 1, 1),)]


def test_a_trip_over_30_minutes_is_long_however_few_minute_boundaries_it_crosses(
    add_trips: Any, build: Any, query: Any
) -> None:
    # It missed 5.5 % of the long trips: this one crosses thirty boundaries in almost 31 minutes.
    add_trips("2023-01-01 12:00:01", minutes=30 + 58 / 60)
    build("2023-01-01", "2023-01-02")
    assert query("select pct_over_30_min from analytics.daily_metrics") == [(1,)]
    assert query("select trips_over_30_min from analytics.location_metrics") == [(1,)]
