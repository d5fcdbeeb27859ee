{#- Tells dagster-dbt, which reads dbt's log, the columns of a model and of its parents, for the lineage of the columns.
    They come from the YAML files: asking the database for them would cost a query per model and run. -#}
{% macro log_columns() %}
    {%- if execute and invocation_args_dict.get('log_format') == 'json' -%}
        {%- set parents = {} -%}
        {%- for id in model.depends_on.nodes -%}
            {%- set parent = graph.nodes.get(id) or graph.sources[id] -%}
            {%- do parents.update({parent.relation_name: {'columns': parent.columns}}) -%}
        {%- endfor -%}
        {%- do log(tojson({'columns': model.columns, 'parents': parents}), info=true) -%}
    {%- endif -%}
{% endmacro %}
