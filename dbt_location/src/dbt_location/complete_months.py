"""A month's metrics are made from the whole month: every day of it built, and after the last load of its trips."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import dagster as dg

TRIPS = "taxi_trips"
# The daily model that all monthly metrics are made from.
DAYS = "location_metrics"


def ranges(days: Iterable[date]) -> str:
    """Days, in order, as text with consecutive ones as a range: ``2023-01-01 to 2023-01-05, 2023-01-09``."""
    found: list[tuple[date, date]] = []
    for day in days:
        follows = found and day == found[-1][1] + timedelta(days=1)
        first = found.pop()[0] if follows else day
        found.append((first, day))
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in found)


def gaps(
    asset: str, partitions: Sequence[date], built: Mapping[str, int], source: str, newest: int | None
) -> list[str]:
    """What an asset's partitions lack to be newer than what they are made from; nothing where they are.

    ``built`` is, per partition key, when it was last built (larger is later); ``newest``, by the same clock, when the
    newest part of ``source`` came, None where nothing is known.
    """
    missing = [day for day in partitions if f"{day}" not in built]
    stale = [day for day in partitions if newest is not None and built.get(f"{day}", newest) < newest]
    found = []
    if missing:
        found.append(f"{asset} is not built for {ranges(missing)}")
    if stale:
        found.append(f"{asset} is older than {source} for {ranges(stale)}")
    return found


def month_gaps(instance: dg.DagsterInstance, month: date, tables: Sequence[str] = ()) -> list[str]:
    """What a month (its first day) lacks to be whole, by the instance's record.

    The monthly models ``tables`` have to be built since the days were.
    """
    days = [month + timedelta(days=day) for day in range((next_month(month) - month).days)]
    built = _latest(instance, DAYS, days)
    found = gaps(DAYS, days, built, "the trips", _latest(instance, TRIPS, [month]).get(f"{month}"))
    for table in tables:
        found += gaps(table, [month], _latest(instance, table, [month]), DAYS, max(built.values(), default=None))
    return found


def is_whole(instance: dg.DagsterInstance, month: date) -> bool:
    """Whether all days of a month are built since its trips were loaded."""
    return not month_gaps(instance, month)


def require_whole_month(context: dg.AssetExecutionContext, *tables: str) -> tuple[date, date]:
    """The month of a run, first day and day after the last, once it is sure that it is whole.

    Raises:
        dagster.Failure: a day is missing, or older than the last load of its trips, or one of the monthly models
            ``tables`` is older than the days, or the run is of several months; nothing is changed yet.
    """
    start, end = (bound.date() for bound in context.partition_time_window)
    if end != next_month(start):
        raise dg.Failure(
            f"This run covers more than one month ({start:%Y-%m} to before {end:%Y-%m}); its assets are built one "
            "month per run. Nothing was changed. Launch a backfill of these months: it makes a run for each.",
            allow_retries=False,
        )
    if found := month_gaps(context.instance, start, tables):
        raise dg.Failure(
            f"{start:%Y-%m} is not whole: {'; '.join(found)}. Nothing was changed. "
            "Materialize these partitions, then this month again.",
            allow_retries=False,
        )
    return start, end


def next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def month_before(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


def _latest(instance: dg.DagsterInstance, asset: str, partitions: Sequence[date]) -> Mapping[str, int]:
    """Per partition key, the storage id of its newest materialization: the event log's own clock, later is larger."""
    return instance.get_latest_storage_id_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, {f"{partition}" for partition in partitions}
    )
