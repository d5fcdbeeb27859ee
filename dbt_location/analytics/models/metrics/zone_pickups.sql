with

pickups as (

    select
        cast(date_trunc('month', date_of_business) as date) as month,
        pickup_zone_id as zone_id,
        cast(sum(trips) as bigint) as pickups,
        sum(fare) as revenue

    from {{ ref('location_metrics') }}
    where {{ in_window('date_of_business') }}
    group by 1, 2

),

zones as (

    select * from {{ ref('stg_zones') }}

),

named as (

    select
        pickups.*,
        coalesce(zones.zone_name, 'Unknown') as zone,
        coalesce(zones.borough, 'Unknown') as borough,
        zones.geometry is not null as has_shape

    from pickups
    left join zones on pickups.zone_id = zones.zone_id

)

select * from named
