"""`make bench-windows`: what a window of days costs, beside other lengths of history and other ways to build it.

Everything runs on one server, as processes of dbt_location's own Python, in turns where figures are compared.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks import counters, dbt_location, docs_design, histories, results, server
from benchmarks.dbt_location import DAILY_ASSETS, DBT_ASSETS
from benchmarks.histories import History

# Months of history that a day is built with; all of them end on the same day.
HISTORIES = (3, 36, 120)
END = date(2023, 4, 1)
TRIPS = 100_000
DAY = date(2023, 3, 15)
ROUNDS = 5

# Rounds of the ninety days, each of them a process of every kind.
RANGE_ROUNDS = 3
# Single days that are run of the ninety, spread over them; their seconds are scaled up.
SINGLE_DAYS = 9

YELLOW_START = date(2023, 1, 1)
YELLOW_MONTHS = 3
YELLOW_TRIPS = 3_000_000
DOCS_DAYS = 3


def median(values: list[float]) -> float:
    """The median, to a hundredth."""
    return round(statistics.median(values), 2)


def sample(history: History, count: int) -> list[date]:
    """So many days of a history, evenly spread."""
    days = (history.end - history.start).days
    return [history.start + timedelta(days=round((position + 0.5) * days / count)) for position in range(count)]


def say(text: str) -> None:
    """Prints a line of progress at once."""
    print(text, flush=True)


# --- ten years --------------------------------------------------------------------------------------------------------


def trips(history: History, first: date, last: date) -> int:
    """Trips of the days that are built; does what autovacuum, which is off here, would have done by now."""
    connection = histories.connect(history.socket, history.name)
    with connection.cursor() as cursor:
        cursor.execute(
            "select sum(trip_count)::bigint from analytics.daily_metrics where date_of_business between %s and %s",
            (first, last),
        )
        ((count,),) = cursor.fetchall()
        cursor.execute("vacuum analyze analytics.daily_metrics, analytics.location_metrics, metrics.manhattan_stats")
    connection.close()
    return int(count)


def build_all(history: History) -> None:
    """Builds all days of a history in the shortest way."""
    first, last = history.start, history.end - timedelta(days=1)
    dbt_location.dbt_build(history, first, last)
    dbt_location.run_range(history, first, last, "manhattan_stats")
    say(f"{history.name}: built {trips(history, first, last):,} trips")


def ten_years(history: History) -> dict[str, Any]:
    """Builds all days of a history in the ranges that a backfill is cut into; per range its rows, seconds and peak."""
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
        say(f"{history.name}: {first}...{last} {seconds:.1f} s, {rows / seconds:,.0f} rows/s, peak {peak_mb:.0f} MB")
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
    """One daily run with each history, in turns; the first turn only warms up."""
    measured: dict[int, list[dict[str, float]]] = {months: [] for months in several}
    for round_ in range(ROUNDS + 1):
        for months, history in several.items():
            with counters.counting(history) as counted:
                process = dbt_location.materialize(history, *DAILY_ASSETS, first=DAY)
            dbt = dbt_location.dbt_results(history)
            if round_:
                measured[months].append(
                    {
                        "process_seconds": process,
                        "dbt_seconds": dbt.seconds,
                        "models_seconds": sum(dbt.models.values()),
                        "tests_seconds": dbt.tests,
                        **vars(counted),
                    }
                )
            say(f"day, {months} months: process {process:.2f} s, dbt {dbt.seconds:.2f} s, {counted}")
    figures = {
        months: {name: median([round_[name] for round_ in rounds]) for name in rounds[0]}
        for months, rounds in measured.items()
    }
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
    """All days of three months as one run and by dbt alone, in turns; seconds of whole processes."""
    first, last = history.start, history.end - timedelta(days=1)
    ways: dict[str, Callable[[], float]] = {
        "one_run": lambda: dbt_location.materialize(history, *DBT_ASSETS, first=first, last=last),
        "bare_dbt": lambda: dbt_location.dbt_build(history, first, last),
        "one_run_with_metrics": lambda: dbt_location.materialize(history, *DAILY_ASSETS, first=first, last=last),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(1, RANGE_ROUNDS + 1):
        for way, run in ways.items():
            seconds[way].append(run())
            say(f"ninety days, {history.name}, round {round_}: {way} {seconds[way][-1]:.2f} s")
    medians = {way: median(values) for way, values in seconds.items()}
    return {
        "days": (history.end - history.start).days,
        "one_run_over_bare_dbt": round(medians["one_run"] / medians["bare_dbt"], 3),
        "rounds": RANGE_ROUNDS,
        "seconds": medians,
        "trips_per_month": history.trips,
    }


def ninety_single_days(history: History) -> dict[str, Any]:
    """The days of a history as a run each; seconds of whole processes, scaled up from some of them."""
    days = (history.end - history.start).days
    single = [dbt_location.materialize(history, *DBT_ASSETS, first=day) for day in sample(history, SINGLE_DAYS)]
    say(f"single days: {', '.join(f'{value:.2f}' for value in single)} s")
    return {
        "sampled": SINGLE_DAYS,
        "seconds_scaled": round(statistics.mean(single) * days, 1),
        "trips_per_month": history.trips,
    }


# --- beside the docs' design ------------------------------------------------------------------------------------------


def beside_docs_design(history: History) -> dict[str, Any]:
    """The SQL work of a day and of all days, ours and that of the docs' design, on the same trips, one model at a time.

    Ours are the seconds that dbt counts for its models, with one thread; theirs the seconds of the same kind of
    statements without dbt.
    """
    first, last = history.start, history.end - timedelta(days=1)

    def ours(start: date, end: date) -> float:
        dbt_location.dbt_build(history, start, end, "--threads", "1")
        return sum(dbt_location.dbt_results(history).models.values())

    # Each design's first build makes the tables; neither is measured.
    ours(first, last)
    docs_design.run(history, first, history.end)
    seconds: dict[str, list[float]] = {name: [] for name in ("our_day", "docs_day", "our_range", "docs_range")}
    for day in sample(history, DOCS_DAYS):
        seconds["our_day"].append(ours(day, day))
        seconds["docs_day"].append(docs_design.run(history, day, day + timedelta(days=1)))
        seconds["our_range"].append(ours(first, last))
        seconds["docs_range"].append(docs_design.run(history, first, history.end))
        say("beside the docs' design: " + ", ".join(f"{name} {values[-1]:.2f} s" for name, values in seconds.items()))
    medians = {name: median(values) for name, values in seconds.items()}
    days = (last - first).days + 1
    return {
        "days": days,
        "day_over_docs_day": round(medians["our_day"] / medians["docs_day"], 4),
        "range_over_docs_range": round(medians["our_range"] / medians["docs_range"], 3),
        "rounds": DOCS_DAYS,
        "seconds": {
            **medians,
            "our_single_days_scaled": round(days * medians["our_day"], 1),
            "docs_single_days_scaled": round(days * medians["docs_day"], 1),
        },
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
    docs_design.load(yellow)
    several = {
        months: history(f"months_{months}", histories.month_start(END, -months), END, TRIPS) for months in HISTORIES
    }
    histories.load(list(several.values()), site)
    for each in (yellow, *several.values()):
        dbt_location.prepare(each)
    say(f"loaded and prepared in {time.perf_counter() - start:.0f} s")

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


def show(figures: Mapping[str, Any]) -> str:
    """The figures as tables."""
    day, docs, ten = figures["one_day"], figures["docs_design"], figures["ten_years"]
    single = figures["ninety_single_days"]
    columns = {
        "process_seconds": "process s",
        "dbt_seconds": "dbt s",
        "models_seconds": "models s",
        "tests_seconds": "tests s",
        "buffers": "buffers",
        "table_buffers": "of tables",
        "rows": "rows read",
    }
    lines = [
        f"One day, {day['trips_per_month']:,} trips a month, median of {day['rounds']}:",
        f"{'months of history':<20}" + "".join(f"{title:>12}" for title in columns.values()),
    ]
    for months, values in {**day["by_months"], "longest/shortest": day["longest_over_shortest"]}.items():
        lines.append(f"{months:<20}" + "".join(f"{values[name]:>12,.6g}" for name in columns))
    for ninety in (figures["ninety_days"], figures["ninety_short_days"]):
        lines += [
            "",
            f"{ninety['days']} days, {ninety['trips_per_month']:,} trips a month, whole processes, median of "
            f"{ninety['rounds']}:",
            *(f"{way:<24}{value:>10,.1f} s" for way, value in ninety["seconds"].items()),
            f"one run over bare dbt: {ninety['one_run_over_bare_dbt']}",
        ]
    lines += [
        f"single runs, scaled from {single['sampled']}: {single['seconds_scaled']:,.1f} s",
        "",
        f"SQL work on {docs['trips_per_month']:,} trips a month, {docs['days']} days, median of {docs['rounds']}; ours "
        "as dbt counts it, the docs' design without dbt:",
        f"{'':<32}{'ours':>10}{'docs':>10}",
    ]
    for what, name in (
        ("one day", "day"),
        ("all days as one range", "range"),
        ("single days, scaled", "single_days_scaled"),
    ):
        lines.append(f"{what:<32}{docs['seconds'][f'our_{name}']:>10,.2f}{docs['seconds'][f'docs_{name}']:>10,.2f} s")
    lines += [
        "",
        f"{ten['days']:,} days in ranges of at most {ten['max_days_per_run']}, {ten['seconds']} s:",
        f"{'first day':<12}{'days':>6}{'seconds':>10}{'rows/s':>10}{'peak MB':>10}",
    ]
    for range_ in ten["ranges"]:
        lines.append(
            f"{range_['first']:<12}{range_['days']:>6}{range_['seconds']:>10.1f}{range_['rows_per_second']:>10,}"
            f"{range_['peak_mb']:>10}"
        )
    headlines = [f"{name}: {value}" for name, value in figures.items() if "_over_" in name]
    return "\n".join([*lines, "", *headlines])


def main() -> None:
    """Measures and writes the results."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        # The server's user is another one where this runs as root.
        root.chmod(0o755)
        with server.running(root / "postgres") as socket:
            figures = measure(root, socket)
    results.save("windows", figures)
    print("\n" + show(figures))


if __name__ == "__main__":
    main()
