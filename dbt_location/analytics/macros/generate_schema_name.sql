{#- A folder's schema is exactly the one that dbt_project.yml names, without the profile's schema in front. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
