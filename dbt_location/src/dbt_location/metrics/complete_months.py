"""A month's metrics are made from the whole month: every day of it built, and after the last load of its trips."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import dagster as dg

TRIPS = dg.AssetKey("taxi_trips")


def ranges(days: Iterable[date]) -> str:
    """Days, in order, as text in which consecutive ones are a range: ``2023-01-01 to 2023-01-05, 2023-01-09``."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day == found[-1][1] + timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in found)


def gaps(model: str, days: Sequence[date], built: Mapping[str, int], loaded: int | None) -> list[str]:
    """What a model's days lack for their month to be whole; nothing where it is.

    Args:
        model: name of the model.
        days: all days of the month.
        built: per partition key of the model, when it was last built: larger is later.
        loaded: when the month's trips were last loaded, by the same clock; None where no load is known.
    """
    missing = [day for day in days if f"{day}" not in built]
    stale = [day for day in days if loaded is not None and built.get(f"{day}", loaded) < loaded]
    found = []
    if missing:
        found.append(f"{model} is not built for {ranges(missing)}")
    if stale:
        found.append(f"{model} is older than the trips for {ranges(stale)}")
    return found


def month_gaps(instance: dg.DagsterInstance, models: Sequence[str], start: date, end: date) -> list[str]:
    """The same for several models and the month ``[start, end)``, by what the instance has on record.

    It asks the instance once for the trips and once per model, whatever the number of days.
    """
    days = [start + timedelta(days=day) for day in range((end - start).days)]
    loaded = _latest(instance, TRIPS, [f"{start}"]).get(f"{start}")
    keys = [f"{day}" for day in days]
    return [gap for model in models for gap in gaps(model, days, _latest(instance, dg.AssetKey(model), keys), loaded)]


def whole_month(context: dg.AssetExecutionContext, models: Sequence[str]) -> tuple[date, date]:
    """The month of a run, first day and day after the last, once it is sure that all of it is built.

    Args:
        context: the run.
        models: the daily models that the run reads.

    Raises:
        dagster.Failure: a day is missing, or older than the last load of its trips, or the run is of several months;
            nothing is changed yet.
    """
    start, end = (bound.date() for bound in context.partition_time_window)
    if end != next_month(start):
        raise dg.Failure(
            f"This run is of the months from {start:%Y-%m} to before {end:%Y-%m}, and its pictures are of one. "
            "Nothing was changed. Launch a backfill of these months: it makes a run for each.",
            allow_retries=False,
        )
    if found := month_gaps(context.instance, models, start, end):
        raise dg.Failure(
            f"{start:%Y-%m} is not whole: {'; '.join(found)}. Nothing was changed. "
            "Materialize these days, then this month again.",
            allow_retries=False,
        )
    return start, end


def next_month(month: date) -> date:
    """The first day of the month after this one."""
    return (month + timedelta(days=31)).replace(day=1)


def _latest(instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Sequence[str]) -> Mapping[str, int]:
    """Per partition, the storage id of its newest materialization: the event log's own clock, later is larger."""
    return instance.get_latest_storage_id_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(partitions)
    )
