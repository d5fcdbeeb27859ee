"""Whatever builds and reloads came before, a day built after its last reload is exactly what its trips say."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.drill

BOROUGHS = {1: "EWR", 4: "Manhattan", 7: "Queens", 265: "N/A"}
FIRST, LAST = date(2024, 2, 1), date(2024, 3, 31)
# The ends of both months, a leap year's own day, and the day on which a clock on the wall skips the hour from two to
# three. The hour from one to two of LATER it repeats.
DAYS = [FIRST, date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 10), LAST]
LATER = date(2024, 11, 3)
MONTHS = {2: DAYS[:3], 3: DAYS[3:], 11: [LATER]}
TIMES = [time(), time(1, 30), time(2, 30), time(23, 59, 59, 999_999)]


class Trip(NamedTuple):
    """A trip; ``seconds`` is None where it has no dropoff."""

    pickup: datetime
    seconds: int | None
    amount: Decimal
    zone: int | None
    to: int


class Reload(NamedTuple):
    """Another version of a month."""

    month: int
    trips: list[Trip]


class Build(NamedTuple):
    """A build of the days from ``start`` to before ``end``."""

    start: date
    end: date


def trips(month: int) -> st.SearchStrategy[Trip]:
    """Trips of a month, at the moments and with the values where something could go wrong."""
    return st.builds(
        Trip,
        st.builds(datetime.combine, st.sampled_from(MONTHS[month]), st.sampled_from(TIMES)),
        st.sampled_from([None, -1, 0, 61, 1_799, 1_800, 1_801, 90_000]),
        st.sampled_from([Decimal("12.34"), Decimal("-12.34"), Decimal("0.1"), Decimal("0.2")]),
        st.sampled_from([1, 4, 7, 999, None]),
        st.sampled_from([4, 7, 265, 999]),
    )


reloads = st.sampled_from(list(MONTHS)).flatmap(lambda month: st.builds(Reload, st.just(month), st.lists(trips(month))))
single_days = st.sampled_from([*DAYS, LATER]).map(lambda day: Build(day, day + timedelta(days=1)))
ranges = st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map(
    lambda ends: Build(min(ends), max(ends) + timedelta(days=1))
)


def minutes(trip: Trip) -> Decimal | None:
    """Elapsed minutes; None where the dropoff is missing or precedes the pickup."""
    return Decimal(trip.seconds) / 60 if trip.seconds is not None and trip.seconds >= 0 else None


def daily_metrics(trips: Iterable[Trip]) -> dict[Any, tuple[Any, ...]]:
    """Per day: trips, trips with a duration, minutes, amount, long trips, worked out anew."""
    return _grouped(trips, lambda trip: trip.pickup.date())


def location_metrics(trips: Iterable[Trip]) -> dict[Any, tuple[Any, ...]]:
    """The same per day, pickup zone and destination borough."""
    return _grouped(
        trips,
        lambda trip: (
            trip.pickup.date(),
            264 if trip.zone is None else trip.zone,
            BOROUGHS.get(trip.to, "Unknown"),
        ),
    )


def _grouped(trips: Iterable[Trip], key: Any) -> dict[Any, tuple[Any, ...]]:
    groups: dict[Any, list[Trip]] = defaultdict(list)
    for trip in trips:
        groups[key(trip)].append(trip)
    answers = {}
    for name, group in groups.items():
        timed = [value for value in map(minutes, group) if value is not None]
        answers[name] = (
            len(group),
            round(sum(timed), 6) if timed else None,
            sum(trip.amount for trip in group),
            sum(value > 30 for value in timed),
        )
    return answers


def rounded(rows: list[tuple[Any, ...]], key: int) -> dict[Any, tuple[Any, ...]]:
    """Rows of the warehouse by their first columns, minutes as in the answers above."""
    return {
        row[0] if key == 1 else row[:key]: (
            row[key],
            None if row[key + 1] is None else round(row[key + 1], 6),
            row[key + 2],
            row[key + 3],
        )
        for row in rows
    }


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    # A sequence is short as it is, and every smaller one that is tried costs seconds.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.one_of(reloads, single_days, ranges), min_size=2, max_size=8))
def test_any_sequence_of_builds_and_reloads_leaves_every_built_day_as_its_trips_say(
    query: Any, dbt: Any, steps: list[Reload | Build]
) -> None:
    query("truncate raw_taxis.trips")
    query("drop table if exists analytics.daily_metrics, analytics.location_metrics")
    query(
        "insert into raw_taxis.trip_files values ('2024-02-01'), ('2024-03-01'), ('2024-11-01') on conflict do nothing"
    )
    loaded: dict[int, list[Trip]] = {month: [] for month in MONTHS}
    current: set[date] = set()
    # What a build that never came after a reload has left may be anything; here it is what a day without trips leaves.
    first = [Build(FIRST, LAST + timedelta(days=1)), Build(LATER, LATER + timedelta(days=1))]
    for step in [*first, *steps]:
        if isinstance(step, Reload):
            reload(query, step)
            loaded[step.month] = step.trips
            current = {day for day in current if day.month != step.month}
        else:
            window = ("--event-time-start", f"{step.start}", "--event-time-end", f"{step.end}")
            assert dbt("run", "--exclude", "tag:monthly", *window).success
            current |= {step.start + timedelta(days=day) for day in range((step.end - step.start).days)}
    expected = [trip for trips in loaded.values() for trip in trips if trip.pickup.date() in current]
    days = ", ".join(f"date '{day}'" for day in current) or "null"
    assert rounded(
        query(
            "select date_of_business, trip_count, total_duration, total_amount, round(pct_over_30_min * trip_count)"
            f" from analytics.daily_metrics where date_of_business in ({days})"
        ),
        1,
    ) == daily_metrics(expected)
    assert rounded(
        query(
            "select date_of_business, pickup_zone_id, destination_borough, trips, total_duration, fare,"
            f" trips_over_30_min from analytics.location_metrics where date_of_business in ({days})"
        ),
        3,
    ) == location_metrics(expected)


def reload(query: Any, step: Reload) -> None:
    """Replaces a month's trips."""
    query(f"delete from raw_taxis.trips where extract(month from pickup_datetime) = {step.month}")
    for trip in step.trips:
        dropoff = (
            f"timestamp '{trip.pickup}' + interval '{trip.seconds} seconds'" if trip.seconds is not None else "null"
        )
        zone = "null" if trip.zone is None else trip.zone
        query(
            "insert into raw_taxis.trips (pickup_datetime, dropoff_datetime, trip_distance, pickup_zone_id,"
            f" dropoff_zone_id, total_amount) values ('{trip.pickup}', {dropoff}, 1, {zone}, {trip.to}, {trip.amount})"
        )
