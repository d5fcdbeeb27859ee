{#- Stops a run, before any model, whose window reaches into a month that is not loaded, and says which: its days would be
    built as days without trips. The ledger of the loads knows, since a load writes it in the same transaction as the
    trips, so a month is there as a whole or not at all. Whoever starts dbt gets this, in Dagster or outside of it. -#}
{% macro require_loaded_months() %}
    {%- if execute -%}
        {%- set windowed = [] -%}
        {%- for id in selected_resources if graph.nodes.get(id, {}).get('config', {}).get('window_column') -%}
            {%- do windowed.append(id) -%}
        {%- endfor -%}
        {%- if windowed -%}
            {%- set missing = months_not_loaded() -%}
            {%- if missing -%}
                {{ exceptions.raise_compiler_error(
                    "The window reaches into months of taxi_trips that are not loaded: " ~ missing | join(', ')
                    ~ ". Nothing was built. Materialize these partitions of taxi_trips, or choose another window."
                ) }}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#- The months of the window that the ledger lacks, such as 2023-01. Of an open end, the months up to the last loaded. -#}
{% macro months_not_loaded() %}
    {%- set window = window() -%}
    {%- set ledger = adapter.get_relation(database=target.database, schema='raw_taxis', identifier='trip_files') -%}
    {%- set loaded -%}
        {%- if ledger -%} select month from {{ ledger }} {%- else -%} select cast(null as date) as month {%- endif -%}
    {%- endset -%}
    {%- set query -%}
        with loaded as ({{ loaded }}),

        bounds as (
            select
                date_trunc('month', cast({{ window.start }} as timestamp)) as first_month,
                case
                    when cast({{ window.end }} as timestamp) < 'infinity' then cast({{ window.end }} as timestamp)
                    else
                        coalesce((select max(month) from loaded), cast({{ window.start }} as date)) + interval '1 day'
                end as window_end
        )

        select to_char(month, 'YYYY-MM')
        from bounds, generate_series(first_month, window_end - interval '1 microsecond', interval '1 month') as month
        where not exists (select from loaded where loaded.month = cast(month.month as date))
        order by 1
    {%- endset -%}
    {{ return(run_query(query).columns[0].values() | list) }}
{% endmacro %}
