"""`make bench-windows`: building a window of days, with different lengths of history and in different ways.

Everything runs on one server, as processes of dbt_location's own Python, and in turns where figures are compared.
"""

import statistics
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks import counters, dbt_location, docs_design, histories, server
from benchmarks.dbt_location import DAILY_ASSETS, DBT_ASSETS
from benchmarks.histories import History
from benchmarks.measuring import in_turns, log, median, medians, save

# Months of history that a day is built with; all histories end on the same day.
HISTORIES = (3, 36, 120)
END = date(2023, 4, 1)
TRIPS = 100_000
DAY = date(2023, 3, 15)
ROUNDS = 5

# Rounds of the ninety days.
RANGE_ROUNDS = 3
# Days of the ninety that are run one by one; their seconds are scaled up.
SINGLE_DAYS = 9

YELLOW_START = date(2023, 1, 1)
YELLOW_MONTHS = 3
YELLOW_TRIPS = 3_000_000
DOCS_DAYS = 3


def sample(history: History, count: int) -> list[date]:
    """``count`` days of a history, evenly spread."""
    days = (history.end - history.start).days
    return [history.start + timedelta(days=round((position + 0.5) * days / count)) for position in range(count)]


# --- ten years --------------------------------------------------------------------------------------------------------


def trips(history: History, first: date, last: date) -> int:
    """Trips of the days that are built; also vacuums, because autovacuum is off."""
    with server.connect(history.socket, history.name) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select sum(trip_count)::bigint from analytics.daily_metrics where date_of_business between %s and %s",
            (first, last),
        )
        ((count,),) = cursor.fetchall()
        cursor.execute("vacuum analyze analytics.daily_metrics, analytics.location_metrics, metrics.manhattan_stats")
    return int(count)


def build_all(history: History) -> None:
    """Builds all days of a history in one run."""
    first, last = history.start, history.end - timedelta(days=1)
    dbt_location.dbt_build(history, first, last)
    dbt_location.run_range(history, first, last, "manhattan_stats")
    log(f"{history.name}: built {trips(history, first, last):,} trips")


def ten_years(history: History) -> dict[str, Any]:
    """Builds all days of a history in the ranges of a backfill's runs; per range its rows, seconds and peak memory."""
    ranges: list[dict[str, Any]] = []
    first = history.start
    longest = timedelta(days=dbt_location.constants()["max_days_per_run"])
    while first < history.end:
        last = min(first + longest, history.end) - timedelta(days=1)
        seconds, peak_mb = dbt_location.run_range(history, first, last, *DAILY_ASSETS)
        rows = trips(history, first, last)
        ranges.append(
            {
                "days": (last - first).days + 1,
                "first": f"{first}",
                "peak_mb": round(peak_mb),
                "rows": rows,
                "rows_per_second": round(rows / seconds),
                "seconds": round(seconds, 2),
            }
        )
        log(f"{history.name}: {first}...{last} {seconds:.1f} s, {rows / seconds:,.0f} rows/s, peak {peak_mb:.0f} MB")
        first = last + timedelta(days=1)
    return {
        "days": sum(range_["days"] for range_ in ranges),
        "max_days_per_run": longest.days,
        "last_over_first_peak": round(ranges[-1]["peak_mb"] / ranges[0]["peak_mb"], 3),
        "last_over_first_rows_per_second": round(ranges[-1]["rows_per_second"] / ranges[0]["rows_per_second"], 3),
        "ranges": ranges,
        "seconds": round(sum(range_["seconds"] for range_ in ranges), 1),
    }


# --- one day with more and more history -------------------------------------------------------------------------------


def one_day(several: Mapping[int, History]) -> dict[str, Any]:
    """One daily run with each history, in turns; the first round is a warm-up."""
    measured: dict[int, list[dict[str, float]]] = {months: [] for months in several}
    for round_ in range(ROUNDS + 1):
        for months, history in several.items():
            with counters.counting(history.socket, history.name) as counted:
                process = dbt_location.materialize(history, *DAILY_ASSETS, first=DAY)
            dbt = dbt_location.dbt_results(history)
            if round_:
                measured[months].append({"process_seconds": process, **dbt, **counted})
            log(f"day, {months} months: process {process:.2f} s, {dbt}, {counted}")
    figures = {months: medians(rounds) for months, rounds in measured.items()}
    shortest, longest = figures[min(figures)], figures[max(figures)]
    return {
        "by_months": {str(months): values for months, values in figures.items()},
        "day": f"{DAY}",
        "longest_over_shortest": {name: round(longest[name] / shortest[name], 3) for name in longest},
        "rounds": ROUNDS,
        "trips_per_month": TRIPS,
    }


# --- ninety days ------------------------------------------------------------------------------------------------------


def ninety_days(history: History) -> dict[str, Any]:
    """All days of a history as one run and by dbt alone, in turns; seconds of whole processes."""
    first, last = history.start, history.end - timedelta(days=1)
    seconds = in_turns(
        {
            "one_run": lambda: dbt_location.materialize(history, *DBT_ASSETS, first=first, last=last),
            "bare_dbt": lambda: dbt_location.dbt_build(history, first, last),
            "one_run_with_metrics": lambda: dbt_location.materialize(history, *DAILY_ASSETS, first=first, last=last),
        },
        RANGE_ROUNDS,
    )
    middle = {way: median(values) for way, values in seconds.items()}
    return {
        "days": (history.end - history.start).days,
        "one_run_over_bare_dbt": round(middle["one_run"] / middle["bare_dbt"], 3),
        "rounds": RANGE_ROUNDS,
        "seconds": middle,
        "trips_per_month": history.trips,
    }


def ninety_single_days(history: History) -> dict[str, Any]:
    """One run per day of a history; seconds of whole processes, scaled up from a sample."""
    days = (history.end - history.start).days
    single = [dbt_location.materialize(history, *DBT_ASSETS, first=day) for day in sample(history, SINGLE_DAYS)]
    log(f"single days: {', '.join(f'{value:.2f}' for value in single)} s")
    return {
        "sampled": SINGLE_DAYS,
        "seconds_scaled": round(statistics.mean(single) * days, 1),
        "trips_per_month": history.trips,
    }


# --- beside the docs' design ------------------------------------------------------------------------------------------


def beside_docs_design(history: History) -> dict[str, Any]:
    """The SQL work of a day and of all days, in our design and in that of the docs, on the same trips.

    Ours are the seconds that dbt reports for its models, with one thread; theirs the seconds of the statements alone.
    """
    days = (history.end - history.start).days
    each_day = iter(sample(history, DOCS_DAYS))
    day = history.start

    def ours(first: date, last: date) -> float:
        dbt_location.dbt_build(history, first, last, "--threads", "1")
        return dbt_location.dbt_results(history)["models_seconds"]

    def theirs(first: date, last: date) -> float:
        return docs_design.run(history.socket, history.name, first, last + timedelta(days=1))

    def our_next_day() -> float:
        nonlocal day
        day = next(each_day)
        return ours(day, day)

    last = history.end - timedelta(days=1)
    # The first build of each design creates the tables; neither is measured.
    ours(history.start, last)
    theirs(history.start, last)
    seconds = in_turns(
        {
            "our_day": our_next_day,
            "docs_day": lambda: theirs(day, day),
            "our_range": lambda: ours(history.start, last),
            "docs_range": lambda: theirs(history.start, last),
        },
        DOCS_DAYS,
    )
    middle = {name: median(values) for name, values in seconds.items()}
    return {
        "days": days,
        "day_over_docs_day": round(middle["our_day"] / middle["docs_day"], 4),
        "range_over_docs_range": round(middle["our_range"] / middle["docs_range"], 3),
        "rounds": DOCS_DAYS,
        "seconds": middle
        | {f"{who}_single_days_scaled": round(days * middle[f"{who}_day"], 1) for who in ("our", "docs")},
        "trips_per_month": history.trips,
    }


# --- all of it --------------------------------------------------------------------------------------------------------


def measure(root: Path, socket: str) -> dict[str, Any]:
    """Measures everything on one server."""
    site = root / "site"
    site.mkdir()
    start = time.perf_counter()

    def history(name: str, first: date, end: date, trips: int) -> History:
        return History(name, first, end, trips, socket, root / name)

    yellow_end = histories.month_start(YELLOW_START, YELLOW_MONTHS)
    yellow = history("yellow", YELLOW_START, yellow_end, YELLOW_TRIPS)
    histories.load([yellow], site)
    docs_design.load(yellow.socket, yellow.name)
    several = {
        months: history(f"months_{months}", histories.month_start(END, -months), END, TRIPS) for months in HISTORIES
    }
    histories.load(list(several.values()), site)
    for each in (yellow, *several.values()):
        dbt_location.prepare(each)
    log(f"loaded and prepared in {time.perf_counter() - start:.0f} s")

    ten = ten_years(several[max(several)])
    for shorter in sorted(several)[:-1]:
        build_all(several[shorter])
    figures: dict[str, Any] = {
        "one_day": one_day(several),
        "ninety_short_days": ninety_days(several[min(several)]),
        "ninety_single_days": ninety_single_days(several[min(several)]),
        "docs_design": beside_docs_design(yellow),
        "ninety_days": ninety_days(yellow),
        "ten_years": ten,
        "machine": server.machine(socket),
        "total_seconds": round(time.perf_counter() - start),
    }
    return figures | {
        "day_120_over_3_months": figures["one_day"]["longest_over_shortest"]["dbt_seconds"],
        "ninety_days_over_bare_dbt": figures["ninety_days"]["one_run_over_bare_dbt"],
        "ninety_short_days_over_bare_dbt": figures["ninety_short_days"]["one_run_over_bare_dbt"],
        "ninety_days_over_docs_design": figures["docs_design"]["range_over_docs_range"],
    }


def main() -> None:
    with server.running() as (root, socket):
        figures = measure(root, socket)
    save("windows", figures)


if __name__ == "__main__":
    main()
