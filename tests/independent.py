"""The right answers, computed by DuckDB directly from the trip files, without any code or SQL of the pipeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

Row = tuple[Any, ...]

# Money and distances have few decimals in the files; their sums are exact as decimals.
TRIPS = """
create view trips as
select
    month, PULocationID as pickup_zone, DOLocationID as dropoff_zone,
    coalesce(tpep_pickup_datetime, lpep_pickup_datetime) as pickup,
    coalesce(tpep_dropoff_datetime, lpep_dropoff_datetime) as dropoff,
    cast(total_amount as decimal(18, 4)) as amount, cast(trip_distance as decimal(18, 4)) as distance,
    case when dropoff >= pickup then epoch_us(dropoff) - epoch_us(pickup) end as microseconds,
    strftime(pickup, '%Y-%m') = month as in_month
from files
"""


class RightAnswers:
    """The answers for the files of some months."""

    def __init__(self, folder: Path, taxi_type: str, months: Sequence[str]) -> None:
        self.duckdb = duckdb.connect()
        times = {"yellow": ("tpep", "lpep"), "green": ("lpep", "tpep")}[taxi_type]
        source = str(folder).replace("'", "''")
        selects = " union all by name ".join(
            f"select *, '{month}' as month, null::timestamp as {times[1]}_pickup_datetime, "
            f"null::timestamp as {times[1]}_dropoff_datetime "
            f"from '{source}/trip-data/{taxi_type}_tripdata_{month}.parquet'"
            for month in months
        )
        self.duckdb.execute(f"create view files as {selects}")
        self.duckdb.execute(TRIPS)
        self.duckdb.execute(
            f"create view zones as select * from read_csv('{source}/misc/taxi_zone_lookup.csv', all_varchar=true)"
        )

    def _rows(self, query: str) -> list[Row]:
        return self.duckdb.execute(query).fetchall()

    def months(self) -> list[Row]:
        """Month, its trips, its strays."""
        return self._rows(
            "select month, count(*) filter (in_month), count(*) filter (not in_month) from trips group by 1 order by 1"
        )

    def daily_metrics(self) -> list[Row]:
        """Day, trips, minutes, average minutes, amount, average amount, share over 30 minutes."""
        return self._rows(
            """
            select
                cast(pickup as date), count(*),
                sum(microseconds) / 6e7, avg(microseconds) / 6e7,
                cast(sum(amount) as double), cast(sum(amount) as double) / count(*),
                (count(*) filter (microseconds > 1800e6)) / count(*)
            from trips where in_month group by 1 order by 1
            """
        )

    def location_metrics(self) -> list[Row]:
        """Day, pickup zone, destination borough, from airport, trips, miles, minutes, amount, trips over 30 minutes."""
        return self._rows(
            """
            select
                cast(pickup as date), pickup_zone, d.Borough, bool_or(pickup_zone in (1, 132, 138)), count(*),
                cast(sum(distance) as double), sum(microseconds) / 6e7, cast(sum(amount) as double),
                count(*) filter (microseconds > 1800e6)
            from trips join zones d on cast(d.LocationID as int) = dropoff_zone
            where in_month group by 1, 2, 3 order by 1, 2, 3
            """
        )

    def manhattan_stats(self) -> list[Row]:
        """Day, then of Manhattan's pickups and of all: trips, amount, average minutes, share over 30 minutes."""
        return self._rows(
            """
            with numbers as (
                select cast(pickup as date) as day, p.Borough = 'Manhattan' as manhattan, amount, microseconds
                from trips join zones p on cast(p.LocationID as int) = pickup_zone
                where in_month
            )
            select * from (
                select
                    day, count(*), cast(sum(amount) as double), avg(microseconds) / 6e7,
                    (count(*) filter (microseconds > 1800e6)) / count(*)
                from numbers where manhattan group by 1
            ) join (
                select
                    day, count(*), cast(sum(amount) as double), avg(microseconds) / 6e7,
                    (count(*) filter (microseconds > 1800e6)) / count(*)
                from numbers group by 1
            ) using (day) order by 1
            """
        )

    def zone_pickups(self) -> list[Row]:
        """Month, zone, its name and borough, pickups, amount."""
        return self._rows(
            """
            select month || '-01', pickup_zone, p.Zone, p.Borough, count(*), cast(sum(amount) as double)
            from trips join zones p on cast(p.LocationID as int) = pickup_zone
            where in_month group by all order by 1, 2
            """
        )

    def borough_flows(self) -> list[Row]:
        """Month, borough of the pickup, borough of the dropoff, trips."""
        return self._rows(
            """
            select month || '-01', p.Borough, d.Borough, count(*)
            from trips
            join zones p on cast(p.LocationID as int) = pickup_zone
            join zones d on cast(d.LocationID as int) = dropoff_zone
            where in_month group by all order by 1, 2, 3
            """
        )

    def monthly_totals(self) -> list[Row]:
        """Month, trips, amount, average minutes, share over 30 minutes, from Manhattan and from airports."""
        return self._rows(
            """
            select
                month || '-01', count(*), cast(sum(amount) as double), avg(microseconds) / 6e7,
                (count(*) filter (microseconds > 1800e6)) / count(*),
                (count(*) filter (p.Borough = 'Manhattan')) / count(*),
                (count(*) filter (pickup_zone in (1, 132, 138))) / count(*)
            from trips join zones p on cast(p.LocationID as int) = pickup_zone
            where in_month group by 1 order by 1
            """
        )
