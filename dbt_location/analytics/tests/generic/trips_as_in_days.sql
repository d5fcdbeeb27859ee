{#- Generic test: in every month of the window, the column's sum is the number of trips that location_metrics has. -#}
{% test trips_as_in_days(model, column_name) %}
    with

    built as (

        select
            month,
            sum({{ column_name }}) as trips
        from {{ model }}
        group by month

    ),

    days as (

        select
            cast(date_trunc('month', date_of_business) as date) as month,
            sum(trips) as trips
        from {{ ref('location_metrics') }}
        where {{ in_window('date_of_business') }}
        group by 1

    )

    select
        month,
        built.trips as built_trips,
        days.trips as days_trips
    from built
    full join days using (month)
    where coalesce(built.trips, 0) <> coalesce(days.trips, 0)
{% endtest %}
