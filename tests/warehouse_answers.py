"""Queries of the warehouse with the same columns as the independent answers."""

DAILY_METRICS = """
select date_of_business, trip_count, total_duration, average_duration, total_amount, average_amount, pct_over_30_min
from analytics.daily_metrics order by 1
"""
LOCATION_METRICS = """
select
    date_of_business, pickup_zone_id, destination_borough, from_airport, trips,
    total_distance, total_duration, fare, trips_over_30_min
from analytics.location_metrics order by date_of_business, pickup_zone_id, destination_borough collate "C"
"""
MANHATTAN_STATS = """
select
    date_of_business, trips, revenue, average_duration, pct_over_30_min,
    city_trips, city_revenue, city_average_duration, city_pct_over_30_min
from metrics.manhattan_stats order by 1
"""
ZONE_PICKUPS = "select month, zone_id, zone, borough, pickups, revenue from metrics.zone_pickups order by 1, 2"
BOROUGH_FLOWS = """
select month, pickup_borough, dropoff_borough, trips
from metrics.borough_flows order by month, pickup_borough collate "C", dropoff_borough collate "C"
"""
MONTHLY_TOTALS = """
select month, trips, revenue, average_duration, pct_over_30_min, manhattan_share, airport_share
from metrics.monthly_totals order by 1
"""
MONTHS = """
select month, sum(trips)::bigint as trips, sum(strays)::bigint as strays from (
    select to_char(pickup_datetime, 'YYYY-MM') as month, count(*) as trips, 0 as strays from raw_taxis.trips group by 1
    union all
    select to_char(file_month, 'YYYY-MM'), 0, count(*) from raw_taxis.stray_trips group by 1
) as rows group by 1 order by 1
"""
