{#-
  Materialization `report_view`: a view that is written when its definition differs from the one that is there, and
  left alone otherwise. dbt's own makes every view anew in every run, in two commits each; most of a run's commits
  would be for views that never change, and runs that go side by side would overtake each other in them. The definition
  is recognised by its hash, kept as the view's comment.
-#}
{% materialization report_view, adapter="duckdb" -%}
    {%- set target_relation = this.incorporate(type="view") -%}
    {%- set definition = local_md5(sql) -%}

    {{ run_hooks(pre_hooks) }}
    {%- set written = run_query(
        "select comment from duckdb_views() where database_name = " ~ text_literal(this.database)
        ~ " and schema_name = " ~ text_literal(this.schema) ~ " and view_name = " ~ text_literal(this.identifier)
    ).columns[0].values() -%}

    {% if written and written[0] == definition %}
        {% call noop_statement("main", "unchanged") -%} {{ sql }} {%- endcall %}
    {% else %}
        {%- if config.get("contract").enforced %} {{ get_assert_columns_equivalent(sql) }} {% endif %}
        {% call statement("main") -%}
            create or replace view {{ target_relation }} as {{ sql }};
            comment on view {{ target_relation }} is {{ text_literal(definition) }}
        {%- endcall %}
    {% endif %}
    {{ run_hooks(post_hooks) }}
    {% do adapter.commit() %}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}

{#-
  The same on Athena, where Glue keeps the hash as a parameter of the view: a look-up there is no statement. The view's
  comment is not free: engines know a view by it.
-#}
{% materialization report_view, adapter="athena" -%}
    {%- set target_relation = this.incorporate(type="view") -%}
    {%- set definition = local_md5(sql) -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set written = adapter.get_glue_table(this) if existing is not none else none -%}

    {{ run_hooks(pre_hooks) }}
    {% if written and written["Table"].get("Parameters", {}).get("flowlake_definition") == definition %}
        {% call noop_statement("main", "unchanged") -%} {{ sql }} {%- endcall %}
    {% else %}
        {%- if config.get("contract").enforced %} {{ get_assert_columns_equivalent(sql) }} {% endif %}
        {% call statement("main") -%}
            create or replace view {{ target_relation }} as {{ sql }}
        {%- endcall %}
        {% do adapter.persist_docs_to_glue(
            relation=target_relation,
            model={
                "description": "Presto View",
                "config": {"meta": {"flowlake_definition": definition}, "materialized": "report_view"},
                "unique_id": model.unique_id,
            },
            persist_relation_docs=true, skip_archive_table_version=true
        ) %}
    {% endif %}
    {{ run_hooks(post_hooks) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}
