"""The design of Dagster's own dbt example, in SQL on the same Postgres.

Every month is appended to one table without index or partitions. Every run, of one day or of many, rebuilds
``stg_trips`` and ``location_metrics`` as tables from all history; ``daily_metrics`` is incremental, with dbt's default
strategy delete+insert, and finds the days of its window among all trips. What would only cost more is left out: the
surrogate key, the texts of the codes, dbt itself.
"""

import time
from datetime import date
from itertools import pairwise

from benchmarks.histories import History, connect

SCHEMA = """
create schema docs;
create table docs.trips (
    vendor_id integer, pickup_zone_id integer, dropoff_zone_id integer, rate_code_id double precision,
    payment_type integer, dropoff_datetime timestamp, pickup_datetime timestamp, trip_distance double precision,
    passenger_count double precision, total_amount double precision, partition_date varchar
);
create table docs.stg_zones as
select zone_id, zone as zone_name, borough, zone like '%Airport' as is_airport from raw_taxis.zones;
create table docs.daily_metrics (
    date_of_business timestamp, trip_count bigint, total_duration double precision, average_duration double precision,
    total_amount double precision, average_amount double precision, pct_over_30_min double precision
);
create table docs.stg_trips ();
create table docs.location_metrics ();
"""
APPEND = """
insert into docs.trips
select
    vendor_id, pickup_zone_id, dropoff_zone_id, rate_code_id, payment_type, dropoff_datetime, pickup_datetime,
    trip_distance, passenger_count, total_amount, to_char(pickup_datetime, 'YYYY-MM')
from raw_taxis.trips
where pickup_datetime >= %(start)s and pickup_datetime < %(end)s
"""
# dbt's table materialization: a new table under another name, then the swap.
STG_TRIPS = """
create table docs.stg_trips__dbt_tmp as
select
    extract(epoch from date_trunc('minute', dropoff_datetime) - date_trunc('minute', pickup_datetime))
    ::double precision / 60 as duration,
    *
from docs.trips;
drop table docs.stg_trips;
alter table docs.stg_trips__dbt_tmp rename to stg_trips
"""
LOCATION_METRICS = """
create table docs.location_metrics__dbt_tmp as
select
    pickup_zones.zone_name as zone,
    dropoff_zones.borough as destination_borough,
    pickup_zones.is_airport as from_airport,
    count(*) as trips,
    sum(trips.trip_distance) as total_distance,
    sum(trips.duration) as total_duration,
    sum(trips.total_amount) as fare,
    sum(case when duration > 30 then 1 else 0 end) as trips_over_30_min
from docs.stg_trips as trips
left join docs.stg_zones as pickup_zones on trips.pickup_zone_id = pickup_zones.zone_id
left join docs.stg_zones as dropoff_zones on trips.dropoff_zone_id = dropoff_zones.zone_id
group by 1, 2, 3;
drop table docs.location_metrics;
alter table docs.location_metrics__dbt_tmp rename to location_metrics
"""
DAILY_METRICS = """
create temporary table daily_metrics__dbt_tmp on commit drop as
select * from (
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
) as days
where date_of_business between %(start)s and %(end)s;
delete from docs.daily_metrics where date_of_business in (select date_of_business from daily_metrics__dbt_tmp);
insert into docs.daily_metrics select * from daily_metrics__dbt_tmp
"""
MODELS = (STG_TRIPS, LOCATION_METRICS, DAILY_METRICS)


def load(history: History) -> None:
    """Appends every month of a warehouse to the design's one table."""
    connection = connect(history.socket, history.name)
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        months = [*history.months, history.end]
        for start, end in pairwise(months):
            cursor.execute(APPEND, {"start": start, "end": end})
        cursor.execute("vacuum analyze docs.trips")
    connection.close()


def run(history: History, first: date, end: date) -> float:
    """Runs the models for the window ``[first, end)``, one after another, each in its transaction; seconds."""
    connection = connect(history.socket, history.name)
    connection.autocommit = False
    start = time.perf_counter()
    for model in MODELS:
        with connection, connection.cursor() as cursor:
            cursor.execute(model, {"start": first, "end": end})
    seconds = time.perf_counter() - start
    connection.close()
    return seconds
