with

trips as (

    select * from {{ ref('stg_trips') }}
    where {{ in_window('pickup_datetime') }}

),

trips_by_day as (

    select
        date_of_business,
        count(*) as trip_count,
        sum(duration) as total_duration,
        avg(duration) as average_duration,
        sum(total_amount) as total_amount,
        avg(total_amount) as average_amount,
        -- numeric, not integers: their division would round every share down to zero.
        cast(count(*) filter (where duration > 30) as numeric) / count(*) as pct_over_30_min

    from trips
    group by date_of_business

)

select * from trips_by_day
