with

trips as (

    select
        date_of_business,
        -- 264 is the TLC's Unknown.
        coalesce(pickup_zone_id, cast(264 as smallint)) as pickup_zone_id,
        dropoff_zone_id,
        trip_distance,
        duration,
        total_amount

    from {{ ref('stg_trips') }}
    where {{ in_window('pickup_datetime') }}

),

zones as (

    select * from {{ ref('stg_zones') }}

),

-- The pickup's names come after the counting: there are far fewer rows than trips.
trips_by_zone as (

    select
        trips.date_of_business,
        trips.pickup_zone_id,
        coalesce(dropoff_zones.borough, 'Unknown') as destination_borough,
        count(*) as trips,
        count(trips.duration) as timed_trips,
        sum(trips.trip_distance) as total_distance,
        sum(trips.duration) as total_duration,
        sum(trips.total_amount) as fare,
        count(*) filter (where trips.duration > 30) as trips_over_30_min

    from trips
    left join zones as dropoff_zones on trips.dropoff_zone_id = dropoff_zones.zone_id
    group by trips.date_of_business, trips.pickup_zone_id, coalesce(dropoff_zones.borough, 'Unknown')

),

named as (

    select
        trips_by_zone.*,
        coalesce(pickup_zones.zone_name, 'Unknown') as pickup_zone,
        coalesce(pickup_zones.borough, 'Unknown') as pickup_borough,
        coalesce(pickup_zones.is_airport, false) as from_airport

    from trips_by_zone
    left join zones as pickup_zones on trips_by_zone.pickup_zone_id = pickup_zones.zone_id

)

select * from named
