"""The design of Dagster's own dbt example, in SQL on the same Postgres.

All months are in one table without index or partitions. Every run, of one day or of many, rebuilds ``stg_trips`` and
``location_metrics`` as tables from all history; ``daily_metrics`` is incremental, with dbt's default strategy
delete+insert, and finds the days of its window among all trips. The surrogate key, the names of the codes and dbt
itself are left out; they would only cost more.
"""

import time
from datetime import date, timedelta

from benchmarks.histories import History
from benchmarks.server import connect

DAYS = """
select
    date_trunc('day', pickup_datetime) as date_of_business,
    count(*) as trip_count,
    sum(duration) as total_duration,
    sum(duration) / count(*) as average_duration,
    sum(total_amount) as total_amount,
    sum(total_amount) / count(*) as average_amount,
    sum(case when duration > 30 then 1 else 0 end) / count(*) as pct_over_30_min
from docs.stg_trips
group by 1
"""
# dbt's table materialization: a new table under another name, then the swap.
STG_TRIPS = """
create table docs.stg_trips__dbt_tmp as
select
    extract(epoch from date_trunc('minute', dropoff_datetime) - date_trunc('minute', pickup_datetime))
    ::double precision / 60 as duration,
    *
from docs.trips;
drop table if exists docs.stg_trips;
alter table docs.stg_trips__dbt_tmp rename to stg_trips
"""
LOCATION_METRICS = """
create table docs.location_metrics__dbt_tmp as
select
    pickup_zones.zone as zone,
    dropoff_zones.borough as destination_borough,
    pickup_zones.zone like '%%Airport' as from_airport,
    count(*) as trips,
    sum(trips.trip_distance) as total_distance,
    sum(trips.duration) as total_duration,
    sum(trips.total_amount) as fare,
    sum(case when duration > 30 then 1 else 0 end) as trips_over_30_min
from docs.stg_trips as trips
left join raw_taxis.zones as pickup_zones on trips.pickup_zone_id = pickup_zones.zone_id
left join raw_taxis.zones as dropoff_zones on trips.dropoff_zone_id = dropoff_zones.zone_id
group by 1, 2, 3;
drop table if exists docs.location_metrics;
alter table docs.location_metrics__dbt_tmp rename to location_metrics
"""
DAILY_METRICS = f"""
create table if not exists docs.daily_metrics as {DAYS} limit 0;
create temporary table daily_metrics__dbt_tmp on commit drop as
select * from ({DAYS}) as days where date_of_business between %(start)s and %(end)s;
delete from docs.daily_metrics where date_of_business in (select date_of_business from daily_metrics__dbt_tmp);
insert into docs.daily_metrics select * from daily_metrics__dbt_tmp
"""
TRIPS = """
create schema docs;
create table docs.trips as
select
    vendor_id::integer, pickup_zone_id::integer, dropoff_zone_id::integer, rate_code_id::double precision,
    payment_type::integer, dropoff_datetime, pickup_datetime, trip_distance, passenger_count::double precision,
    total_amount, to_char(pickup_datetime, 'YYYY-MM') as partition_date
from raw_taxis.trips
"""


def load(history: History) -> None:
    """Copies the trips of a warehouse to the design's one table."""
    with connect(history.socket, history.name) as connection, connection.cursor() as cursor:
        cursor.execute(TRIPS)
        cursor.execute("vacuum analyze docs.trips")


def run(history: History, first: date, last: date) -> float:
    """Runs the models for the days from first to last, one after another, each in its transaction; seconds."""
    window = {"start": first, "end": last + timedelta(days=1)}
    with connect(history.socket, history.name) as connection:
        connection.autocommit = False
        start = time.perf_counter()
        for model in (STG_TRIPS, LOCATION_METRICS, DAILY_METRICS):
            with connection, connection.cursor() as cursor:
                cursor.execute(model, window)
        return time.perf_counter() - start
