{#- Stops a run before any model is built where its window cannot be built right, and says why: in Dagster and outside.
    - An option of dbt makes what the models read smaller than it is: the window would be built from a part of it.
    - A month of the window is not loaded: its days would be built as days without trips. The ledger of the loads knows,
      since a load writes it in the same transaction as the trips; so a month is there as a whole or not at all.
    - A monthly model is selected and the window cuts a month: the month would be built from a part of its days. -#}
{% macro require_whole_window() %}
    {%- if execute -%}
        {%- set windowed, monthly = [], [] -%}
        {%- for id in selected_resources -%}
            {%- set column = graph.nodes.get(id, {}).get('config', {}).get('meta', {}).get('window_column') -%}
            {%- if column -%} {%- do windowed.append(id) -%} {%- endif -%}
            {%- if column == 'month' -%} {%- do monthly.append(id.split('.')[-1]) -%} {%- endif -%}
        {%- endfor -%}
        {%- for option in ['empty', 'sample'] if windowed and invocation_args_dict.get(option) -%}
            {{ exceptions.raise_compiler_error(
                "With --" ~ option ~ " (or DBT_" ~ option | upper ~ ") models read a part of their rows, and these "
                ~ "replace their window with what they read, so it would lose the rest. Nothing was built. Leave the "
                ~ "option out; dbt compile checks the models and reads no rows."
            ) }}
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
        {%- set window = window() -%}
        {%- for bound in [window.start, window.end] if monthly and bound != "'infinity'" and bound[9:11] != '01' -%}
            {{ exceptions.raise_compiler_error(
                "The window from " ~ window.start ~ " to before " ~ window.end ~ " cuts a month, and these models are "
                ~ "built by whole months: " ~ monthly | join(', ') ~ ". Nothing was built. Begin and end the window on "
                ~ "the first of a month, or leave these models out: --exclude tag:monthly."
            ) }}
        {%- endfor -%}
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
