"""`make bench-windows`: building a window of days, with different lengths of history and in different ways.

Everything runs on one server, as processes of dbt_location's own Python, and in turns where figures are compared.
"""

import statistics
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks import dbt_location, docs_design, server
from benchmarks.histories import History
from benchmarks.measuring import DAILY_ASSETS, DBT_ASSETS, in_turns, log, median, medians, save

# Histories of so many months, all of which end on the same day.
HISTORIES = {3: date(2023, 1, 1), 36: date(2020, 4, 1), 120: date(2013, 4, 1)}
LAST = date(2023, 3, 31)
TRIPS = 100_000
YELLOW_TRIPS = 3_000_000
DAY = date(2023, 3, 15)
ROUNDS = 5
# Rounds of the ninety days.
RANGE_ROUNDS = 3
# Days of the ninety that are run one by one; their seconds are scaled up.
SINGLE_DAYS = 9
DOCS_DAYS = 3
# As in a backfill of dbt_location.
MAX_DAYS_PER_RUN = 366


def sample(history: History, count: int) -> list[date]:
    """``count`` days of a history, evenly spread."""
    return [history.start + timedelta(days=round((position + 0.5) * history.days / count)) for position in range(count)]


def count_trips(history: History, first: date, last: date) -> int:
    """Trips of the days that are built; also vacuums, because autovacuum is off."""
    query = "select sum(trip_count)::bigint from analytics.daily_metrics where date_of_business between %s and %s"
    with server.connect(history.socket, history.name) as connection, connection.cursor() as cursor:
        cursor.execute(query, (first, last))
        ((count,),) = cursor.fetchall()
        cursor.execute("vacuum analyze analytics.daily_metrics, analytics.location_metrics, metrics.manhattan_stats")
    return int(count)


def build_all(history: History) -> None:
    """Builds all days of a history in one run."""
    dbt_location.dbt_build(history, history.start, history.last)
    dbt_location.run_range(history, history.start, history.last, ["manhattan_stats"])
    log(f"{history.name}: built {count_trips(history, history.start, history.last):,} trips")


def ten_years(history: History) -> dict[str, Any]:
    """Builds all days of a history in the ranges of a backfill's runs; per range its rows, seconds and peak memory."""
    ranges: list[dict[str, Any]] = []
    for offset in range(0, history.days, MAX_DAYS_PER_RUN):
        first = history.start + timedelta(days=offset)
        last = min(first + timedelta(days=MAX_DAYS_PER_RUN - 1), history.last)
        seconds, peak_mb = dbt_location.run_range(history, first, last, DAILY_ASSETS)
        rows = count_trips(history, first, last)
        figures = {
            "days": (last - first).days + 1,
            "first": f"{first}",
            "peak_mb": round(peak_mb),
            "rows": rows,
            "rows_per_second": round(rows / seconds),
            "seconds": round(seconds, 2),
        }
        ranges.append(figures)
        log(f"{history.name}: {figures}")
    return {
        "days": history.days,
        "max_days_per_run": MAX_DAYS_PER_RUN,
        "ranges": ranges,
        "seconds": round(sum(range_["seconds"] for range_ in ranges), 1),
    }


def one_day(several: Mapping[int, History]) -> dict[str, Any]:
    """One daily run with each history, in turns; the first round is a warm-up."""
    measured: dict[int, list[dict[str, float]]] = {months: [] for months in several}
    for _ in range(ROUNDS + 1):
        for months, history in several.items():
            with server.counting(history.socket, history.name) as counted:
                process = dbt_location.materialize(history, DAILY_ASSETS, "--partition", f"{DAY}")
            figures = {"process_seconds": process, **dbt_location.dbt_results(history), **counted}
            measured[months].append(figures)
            log(f"day, {months} months: {figures}")
    return {
        "by_months": {months: medians(rounds[1:]) for months, rounds in measured.items()},
        "day": f"{DAY}",
        "rounds": ROUNDS,
        "trips_per_month": TRIPS,
    }


def ninety_days(history: History) -> dict[str, Any]:
    """All days of a history as one run and by dbt alone, in turns; seconds of whole processes."""
    first, last = history.start, history.last
    range_ = ("--partition-range", f"{first}...{last}")
    ways = {
        "one_run": lambda: dbt_location.materialize(history, DBT_ASSETS, *range_),
        "bare_dbt": lambda: dbt_location.dbt_build(history, first, last),
        "one_run_with_metrics": lambda: dbt_location.materialize(history, DAILY_ASSETS, *range_),
    }
    seconds = {way: median(values) for way, values in in_turns(ways, RANGE_ROUNDS).items()}
    return {
        "days": history.days,
        "one_run_over_bare_dbt": round(seconds["one_run"] / seconds["bare_dbt"], 3),
        "rounds": RANGE_ROUNDS,
        "seconds": seconds,
        "trips_per_month": history.trips,
    }


def ninety_single_days(history: History) -> dict[str, Any]:
    """One run per day of a history; seconds of whole processes, scaled up from a sample."""
    days = sample(history, SINGLE_DAYS)
    single = [dbt_location.materialize(history, DBT_ASSETS, "--partition", f"{day}") for day in days]
    log(f"single days: {', '.join(f'{value:.2f}' for value in single)} s")
    return {
        "sampled": SINGLE_DAYS,
        "seconds_scaled": round(statistics.mean(single) * history.days, 1),
        "trips_per_month": history.trips,
    }


def beside_docs_design(history: History) -> dict[str, Any]:
    """The SQL work of a day and of all days, in our design and in that of the docs, on the same trips.

    Ours are the seconds that dbt reports for its models, with one thread; theirs the seconds of the statements alone.
    """

    def ours(first: date, last: date) -> float:
        dbt_location.dbt_build(history, first, last, "--threads", "1")
        return dbt_location.dbt_results(history)["models_seconds"]

    # The first build of each design creates the tables; neither is measured.
    ours(history.start, history.last)
    docs_design.run(history, history.start, history.last)
    rounds = []
    for day in sample(history, DOCS_DAYS):
        figures = {
            "our_day": ours(day, day),
            "docs_day": docs_design.run(history, day, day),
            "our_range": ours(history.start, history.last),
            "docs_range": docs_design.run(history, history.start, history.last),
        }
        rounds.append(figures)
        log(f"{day}: {figures}")
    seconds = medians(rounds)
    scaled = {f"{who}_single_days_scaled": round(history.days * seconds[f"{who}_day"], 1) for who in ("our", "docs")}
    return {
        "days": history.days,
        "day_over_docs_day": round(seconds["our_day"] / seconds["docs_day"], 4),
        "range_over_docs_range": round(seconds["our_range"] / seconds["docs_range"], 3),
        "rounds": DOCS_DAYS,
        "seconds": seconds | scaled,
        "trips_per_month": history.trips,
    }


def measure(root: Path, socket: str) -> dict[str, Any]:
    """Measures everything on one server."""
    start = time.perf_counter()
    site = root / "site"
    (site / "trip-data").mkdir(parents=True)
    yellow = History("yellow", HISTORIES[3], LAST, YELLOW_TRIPS, socket, root / "yellow")
    several = {
        months: History(f"months_{months}", first, LAST, TRIPS, socket, root / f"months_{months}")
        for months, first in HISTORIES.items()
    }
    for history in (yellow, *several.values()):
        history.load(site)
        dbt_location.prepare(history)
    docs_design.load(yellow)
    log(f"loaded and prepared in {time.perf_counter() - start:.0f} s")

    figures: dict[str, Any] = {"ten_years": ten_years(several[120])}
    build_all(several[3])
    build_all(several[36])
    figures["one_day"] = one_day(several)
    figures["ninety_short_days"] = ninety_days(several[3])
    figures["ninety_single_days"] = ninety_single_days(several[3])
    figures["docs_design"] = beside_docs_design(yellow)
    figures["ninety_days"] = ninety_days(yellow)
    return figures | {"machine": server.machine(socket), "total_seconds": round(time.perf_counter() - start)}


if __name__ == "__main__":
    with server.running() as (root, socket):
        save("windows", measure(root, socket))
