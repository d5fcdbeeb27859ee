with

days as (

    select * from {{ ref('location_metrics') }}
    where {{ in_window('date_of_business') }}

),

flows as (

    select
        cast(date_trunc('month', date_of_business) as date) as month,
        pickup_borough,
        destination_borough as dropoff_borough,
        cast(sum(trips) as bigint) as trips

    from days
    group by 1, 2, 3

)

select * from flows
