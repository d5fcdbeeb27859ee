{#- Every generic test of a model that has a window reads that window alone, so that a build's tests cost what its window
    costs, however long the history. A rule, not a `where` per test, so that no test can forget it. -#}
{% macro postgres__get_where_subquery(relation) -%}
    {%- set tested = graph.nodes.get(model.attached_node, {}).get('config', {}).get('meta', {}) if execute else {} -%}
    {%- set conditions = [] -%}
    {%- if config.get('where') -%} {%- do conditions.append(config.get('where')) -%} {%- endif -%}
    {%- if tested.get('window_column') -%} {%- do conditions.append(in_window(tested.window_column)) -%} {%- endif -%}
    {%- if not conditions -%} {{ return(relation) }} {%- endif -%}
    {{ return("(select * from " ~ relation ~ " where " ~ conditions | join(' and ') ~ ") as tested") }}
{%- endmacro %}
