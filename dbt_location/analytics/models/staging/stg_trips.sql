{{ config(meta={'window_column': 'pickup_datetime'}) }}

with

source as (

    select * from {{ source('raw_taxis', 'trips') }}

),

renamed as (

    select
        -- ids
        vendor_id,
        pickup_zone_id,
        dropoff_zone_id,
        payment_type,

        -- numerics
        -- numeric, not float: sums of it are the same in whatever order rows are read.
        passenger_count,
        cast(trip_distance as numeric) as trip_distance,
        cast(total_amount as numeric) as total_amount,
        case
            when dropoff_datetime >= pickup_datetime
                then extract(epoch from dropoff_datetime - pickup_datetime) / 60
        end as duration,

        -- timestamps
        pickup_datetime,
        dropoff_datetime,
        cast(pickup_datetime as date) as date_of_business

    from source

)

select * from renamed
