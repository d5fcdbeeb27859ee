with

source as (

    select * from {{ source('raw_taxis', 'zones') }}

),

renamed as (

    select
        -- ids
        zone_id,

        -- strings
        zone as zone_name,
        borough,
        service_zone,
        geometry,

        -- booleans
        zone like '%Airport' as is_airport

    from source

)

select * from renamed
