{#- Generic test: on every day of the window, the column's sum is the number of trips that raw_taxis.trips has. -#}
{% test trips_as_in_source(model, column_name) %}
    with

    built as (

        select
            date_of_business,
            sum({{ column_name }}) as trips
        from {{ model }}
        group by date_of_business

    ),

    loaded as (

        select
            cast(pickup_datetime as date) as date_of_business,
            count(*) as trips
        from {{ source('raw_taxis', 'trips') }}
        where {{ in_window('pickup_datetime') }}
        group by cast(pickup_datetime as date)

    )

    select
        date_of_business,
        built.trips as built_trips,
        loaded.trips as loaded_trips
    from built
    full join loaded using (date_of_business)
    where built.trips is distinct from loaded.trips
{% endtest %}
