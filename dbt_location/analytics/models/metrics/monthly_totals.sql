with

days as (

    select
        *,
        cast(date_trunc('month', date_of_business) as date) as month

    from {{ ref('location_metrics') }}
    where {{ in_window('date_of_business') }}

),

-- A month without trips has a row too.
months as (

    select month from {{ months_of_window('(select max(date_of_business) from days)') }}

),

totals as (

    select
        months.month,
        cast(coalesce(sum(days.trips), 0) as bigint) as trips,
        coalesce(sum(days.fare), 0) as revenue,
        sum(days.total_duration) / nullif(sum(days.timed_trips), 0) as average_duration,
        -- numeric, not integers: their division would round every share down to zero.
        cast(sum(days.trips_over_30_min) as numeric) / nullif(sum(days.trips), 0) as pct_over_30_min,
        cast(coalesce(sum(days.trips) filter (where days.pickup_borough = 'Manhattan'), 0) as numeric)
        / nullif(sum(days.trips), 0) as manhattan_share,
        cast(coalesce(sum(days.trips) filter (where days.from_airport), 0) as numeric)
        / nullif(sum(days.trips), 0) as airport_share

    from months
    left join days using (month)
    group by months.month

)

select * from totals
