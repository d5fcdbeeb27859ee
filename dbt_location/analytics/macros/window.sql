{#- The half-open window [start, end) that a build covers, as two timestamps in quotes. It comes from dbt's own options
    --event-time-start and --event-time-end; without them it is the configured range, and an empty end is open.
    Read only while models run: a value read while dbt parses would make it parse again for every new window. -#}
{% macro window() %}
    {%- if not execute -%}
        {{ return({'start': "'-infinity'", 'end': "'infinity'"}) }}
    {%- endif -%}
    {%- set options = invocation_args_dict -%}
    {%- for bound in [options.get('event_time_start'), options.get('event_time_end')] if bound -%}
        {%- if bound.strftime('%H%M%S%f') | int != 0 -%}
            {{ exceptions.raise_compiler_error(
                "The window's bound " ~ bound ~ " is not midnight. The models are built by whole days: give "
                ~ "--event-time-start and --event-time-end as dates, such as 2023-01-01."
            ) }}
        {%- endif -%}
    {%- endfor -%}
    {%- set start = options.get('event_time_start') or env_var('TAXI_START_DATE', '2023-01-01') -%}
    {%- set end = options.get('event_time_end') or env_var('TAXI_END_DATE', '2023-04-01') or 'infinity' -%}
    {{ return({'start': "'" ~ start ~ "'", 'end': "'" ~ end ~ "'"}) }}
{% endmacro %}


{#- Condition that a column lies in the window. -#}
{% macro in_window(column) -%}
    {%- set window = window() -%}
    {{ column }} >= cast({{ window.start }} as timestamp)
    and {{ column }} < cast({{ window.end }} as timestamp)
{%- endmacro %}


{#- Incremental strategy `window`: delete the window, insert the window, in dbt's one transaction per model. Any order,
    repetition or overlap of builds leaves the same table, since what a build leaves in its window depends on the
    source alone. The column of the day is the model's config `window_column`. -#}
{% macro get_incremental_window_sql(arg_dict) %}
    {%- set columns = get_quoted_csv(arg_dict["dest_columns"] | map(attribute="name")) -%}
    delete from {{ arg_dict["target_relation"] }}
    where {{ in_window(config.require("window_column")) }};

    insert into {{ arg_dict["target_relation"] }} ({{ columns }})
    select {{ columns }}
    from {{ arg_dict["temp_relation"] }}
{% endmacro %}


{#- Lets builds of one model take turns from before they read until they commit, so that one that read earlier cannot
    overwrite one that read later. -#}
{% macro lock_model() -%}
    select pg_advisory_xact_lock(hashtextextended('{{ this.schema }}.{{ this.identifier }}', 0))
{%- endmacro %}
