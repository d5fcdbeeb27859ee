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
    {%- set start = options.get('event_time_start') or env_var('TAXI_START_DATE', '') or '2023-01-01' -%}
    {%- set end = options.get('event_time_end') or env_var('TAXI_END_DATE', '2023-04-01') or 'infinity' -%}
    {{ return({'start': "'" ~ start ~ "'", 'end': "'" ~ end ~ "'"}) }}
{% endmacro %}


{#- Condition that a column lies in the window. -#}
{% macro in_window(column) -%}
    {%- set window = window() -%}
    {{ column }} >= cast({{ window.start }} as timestamp)
    and {{ column }} < cast({{ window.end }} as timestamp)
{%- endmacro %}


{#- The months of the window, as a subquery with the column `month`. Of an open end, those up to the month of `last_day`,
    a scalar subquery. -#}
{% macro months_of_window(last_day) -%}
    {%- set window = window() -%}
    (
        select cast(first_day as date) as month
        from generate_series(
            cast({{ window.start }} as timestamp),
            case
                when cast({{ window.end }} as timestamp) < 'infinity'
                    then cast({{ window.end }} as timestamp) - interval '1 day'
                else {{ last_day }}
            end,
            interval '1 month'
        ) as first_day
    ) as months
{%- endmacro %}


{#- Incremental strategy `window`: delete the window, insert the window, in dbt's one transaction per model. Any order,
    repetition, overlap or crash of builds leaves the same table, since what a build leaves in its window depends on the
    models that it reads alone. The column that is compared with the window is `meta.window_column` of the model's config.

    Not dbt's own `microbatch`: dbt-postgres merges by unique key there, so rows whose trips vanished at the source would
    stay; and it runs a query per day, where this is one per window. -#}
{% macro get_incremental_window_sql(arg_dict) %}
    {{ replace_window(arg_dict["target_relation"], "select * from " ~ arg_dict["temp_relation"]) }}
{% endmacro %}


{#- The first build of a table. dbt looks for the table before the build waits in lock_model, so another first build may
    have created it since: then this one replaces its window there, as any later build does. -#}
{% macro postgres__get_create_table_as_sql(temporary, relation, sql) %}
    {%- if temporary -%} {{ return(create_table_as(temporary, relation, sql)) }} {%- endif -%}
    create table if not exists {{ relation }}
    {{ get_assert_columns_equivalent(sql) }}
    {{ get_table_columns_and_constraints() }};
    {{ replace_window(relation, sql) }}
{% endmacro %}


{% macro replace_window(relation, sql) %}
    {%- set columns = get_quoted_csv(model.columns) -%}
    delete from {{ relation }}
    where {{ in_window(config.meta_require("window_column")) }};

    insert into {{ relation }} ({{ columns }})
    select {{ columns }}
    from ({{ sql }}) as built
{% endmacro %}


{#- Lets builds of one model take turns from before they read until they commit, so that one that read earlier cannot
    overwrite one that read later. dbt creates a view in any case, and renames the one that it found to a name of its own,
    which it drops after the commit. So a view that another build has left or created since dbt looked is dropped. The lock
    is on a row of a table of this location's own, as warehouse.sql says. -#}
{% macro lock_model() -%}
    insert into analytics.model_locks (model) values ('{{ this.schema }}.{{ this.identifier }}')
    on conflict (model) do update set model = excluded.model;
    {%- if execute and model.config.materialized == 'view' %}
    drop view if exists {{ make_backup_relation(this, 'view') }};
    {%- if not load_cached_relation(this) %}
    drop view if exists {{ this }};
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}
