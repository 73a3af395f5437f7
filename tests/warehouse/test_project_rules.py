"""Rules that every model keeps, from dbt's manifest; each rule is also shown a model that breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from flowlake.table_docs import parse_project

Manifest = Mapping[str, Any]

PUBLISHED_SCHEMAS = {"core", "marts", "ops"}
QUESTIONS = {
    "rpt_top_talkers",
    "rpt_top_pairs",
    "rpt_rejected_by_port",
    "rpt_size_correlation",
    "rpt_internal_external",
    "rpt_rejected_by_protocol",
    "rpt_rejected_sources",
    "rpt_https_servers",
    "rpt_top_services",
    "rpt_rejected_quarter_hourly",
    "rpt_graph_size",
    "rpt_recipients",
    "rpt_top_recipients",
    "rpt_denied_spikes",
}
COMMENT = re.compile(r"--[^\n]*")
JINJA = re.compile(r"{{.*?}}|{%.*?%}|{#.*?#}", re.DOTALL)
RELATION = re.compile(r"(?<!distinct )\b(?:from|join)\s+(\"?\w+\"?\.\"?\w+\"?)", re.IGNORECASE)
ENGINE_QUESTION = re.compile(r"\btarget\.|\badapter\.(?:dispatch|type)\b")
DISPATCH = re.compile(r"adapter\.dispatch\(\s*[\"'](\w+)[\"']")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return parse_project()


def models(manifest: Manifest) -> Iterator[Mapping[str, Any]]:
    return (node for node in manifest["nodes"].values() if node["resource_type"] == "model")


def published(node: Mapping[str, Any]) -> object:
    return node["config"].get("meta", {}).get("published")


def reports_that_read_staging(manifest: Manifest) -> list[str]:
    return [
        f"{node['name']} reads {parent}"
        for node in models(manifest)
        if node["schema"] == "marts"
        for parent in node["depends_on"]["nodes"]
        if parent.startswith("source.") or manifest["nodes"][parent]["schema"] == "staging"
    ]


def hard_coded_relations(manifest: Manifest) -> list[str]:
    return [
        f"{node['name']}: {relation}"
        for node in models(manifest)
        for relation in RELATION.findall(JINJA.sub(" ", COMMENT.sub("", node["raw_code"])))
    ]


def published_without_a_contract(manifest: Manifest) -> list[str]:
    return [
        node["name"]
        for node in models(manifest)
        if (published(node) or node["schema"] in PUBLISHED_SCHEMAS) and not node["config"]["contract"]["enforced"]
    ]


def without_a_grain(manifest: Manifest) -> list[str]:
    return [
        node["name"]
        for node in models(manifest)
        if not node["raw_code"].lstrip().startswith("-- One row per")
        or (node["schema"] in PUBLISHED_SCHEMAS and not node["description"].startswith("One row per"))
    ]


def published_from_elsewhere(manifest: Manifest) -> list[str]:
    return [node["name"] for node in models(manifest) if published(node) and node["schema"] not in PUBLISHED_SCHEMAS]


def published_views_over_what_is_not(manifest: Manifest) -> list[str]:
    return [
        f"{node['name']} reads {parent}"
        for node in models(manifest)
        if published(node) == "view"
        for parent in node["depends_on"]["nodes"]
        if not published(manifest["nodes"][parent])
    ]


def views_published_as_tables(manifest: Manifest) -> list[str]:
    """A pin names a version of a table: what is no table is published as `view`, and the other way round."""
    return [
        node["name"]
        for node in models(manifest)
        if published(node) and (published(node) == "view") != ("view" in node["config"]["materialized"])
    ]


def models_that_ask_for_their_engine(manifest: Manifest) -> list[str]:
    return [node["name"] for node in models(manifest) if ENGINE_QUESTION.search(node["raw_code"])]


def reports_that_grow_and_are_not_replaced_by_event_hour(manifest: Manifest) -> list[str]:
    return [
        node["name"]
        for node in models(manifest)
        if node["schema"] == "marts"
        and published(node) != "view"
        and (node["config"]["materialized"], node["config"].get("replaces")) != ("replaced", "event_hour")
    ]


def report_tables_whose_key_is_not_tested(manifest: Manifest) -> list[str]:
    tested = {
        parent
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
        and node.get("test_metadata", {}).get("name") == "unique_combination"
        and node["test_metadata"]["kwargs"].get("within") == "restated_hours"
        for parent in node["depends_on"]["nodes"]
    }
    return [
        node["name"]
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "model"
        and node["schema"] == "marts"
        and published(node) != "view"
        and key not in tested
    ]


def dispatched_without_a_default_that_raises(manifest: Manifest) -> list[str]:
    macros = {macro["name"]: macro for macro in manifest["macros"].values() if macro["package_name"] == "flowlake"}
    wrong = []
    for macro in macros.values():
        for name in DISPATCH.findall(macro["macro_sql"]):
            default = macros.get(f"default__{name}")
            if default is None or f'unsupported_dialect("{name}")' not in default["macro_sql"]:
                wrong.append(f"{name} has no default__ that raises")
            if not macro["original_file_path"].startswith("macros/dialect/"):
                wrong.append(f"{name} is dispatched outside of macros/dialect")
    return wrong


RULES = [
    reports_that_read_staging,
    hard_coded_relations,
    published_without_a_contract,
    without_a_grain,
    published_from_elsewhere,
    published_views_over_what_is_not,
    views_published_as_tables,
    models_that_ask_for_their_engine,
    reports_that_grow_and_are_not_replaced_by_event_hour,
    report_tables_whose_key_is_not_tested,
    dispatched_without_a_default_that_raises,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_model_breaks_the_rule(manifest: Manifest, rule: Any) -> None:
    assert rule(manifest) == []


def test_the_project_that_is_judged_is_the_whole_one(manifest: Manifest) -> None:
    names = {node["name"] for node in models(manifest)}
    assert {"stg_flow_logs__lines", "int_edges__partials", "fct_edges", "dim_devices", "fct_coverage"} <= names
    assert len(names) > 30
    assert any(DISPATCH.search(macro["macro_sql"]) for macro in manifest["macros"].values())


def test_every_question_of_the_published_pipelines_has_its_report(manifest: Manifest) -> None:
    assert {node["name"] for node in models(manifest) if published(node)} >= QUESTIONS


def model(name: str, **changes: Any) -> dict[str, Any]:
    node = {
        "name": name,
        "resource_type": "model",
        "schema": "marts",
        "description": "One row per thing.",
        "raw_code": "-- One row per thing.\nselect a from {{ ref('b') }}",
        "depends_on": {"nodes": []},
        "config": {
            "materialized": "replaced",
            "replaces": "event_hour",
            "contract": {"enforced": True},
            "meta": {"published": True},
        },
    }
    config = {**node["config"], **changes.pop("config", {})}  # type: ignore[dict-item]
    return {**node, **changes, "config": config}


def project(*nodes: dict[str, Any], macros: Mapping[str, str] | None = None) -> Manifest:
    return {
        "nodes": {f"{node['resource_type']}.{node['name']}": node for node in nodes},
        "macros": {
            name: {
                "name": name,
                "package_name": "flowlake",
                "macro_sql": text,
                "original_file_path": "macros/dialect/dialect.sql",
            }
            for name, text in (macros or {}).items()
        },
    }


def key_test(of: str, within: str) -> dict[str, Any]:
    return {
        "name": f"unique_{of}",
        "resource_type": "test",
        "depends_on": {"nodes": [f"model.{of}"]},
        "test_metadata": {"name": "unique_combination", "kwargs": {"within": within}},
    }


STAGED = model("stg_lines", schema="staging", config={"meta": {}})
SOUND = (model("rpt_sound"), key_test("rpt_sound", "restated_hours"))
DISPATCHED = '{{ return(adapter.dispatch("twice", "flowlake")(a)) }}'


def test_a_sound_project_breaks_no_rule() -> None:
    sound = project(*SOUND, macros={"twice": DISPATCHED, "default__twice": '{{ unsupported_dialect("twice") }}'})
    assert [rule(sound) for rule in RULES] == [[] for _ in RULES]


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        (reports_that_read_staging, project(STAGED, model("bad", depends_on={"nodes": ["model.stg_lines"]}))),
        (reports_that_read_staging, project(model("bad", depends_on={"nodes": ["source.raw.objects"]}))),
        (hard_coded_relations, project(model("bad", raw_code="select 1 from core.fct_edges"))),
        (hard_coded_relations, project(model("bad", raw_code='select 1 from {{ a }} left join "core"."b" using (c)'))),
        (published_without_a_contract, project(model("bad", config={"contract": {"enforced": False}}))),
        (without_a_grain, project(model("bad", raw_code="select 1"))),
        (without_a_grain, project(model("bad", description="Talkers."))),
        (published_from_elsewhere, project(model("bad", schema="intermediate"))),
        (
            published_views_over_what_is_not,
            project(
                STAGED,
                model("bad", depends_on={"nodes": ["model.stg_lines"]}, config={"meta": {"published": "view"}}),
            ),
        ),
        (views_published_as_tables, project(model("bad", config={"materialized": "report_view"}))),
        (views_published_as_tables, project(model("bad", config={"meta": {"published": "view"}}))),
        (models_that_ask_for_their_engine, project(model("bad", raw_code="{% if target.type == 'duckdb' %}"))),
        (reports_that_grow_and_are_not_replaced_by_event_hour, project(model("bad", config={"materialized": "table"}))),
        (
            reports_that_grow_and_are_not_replaced_by_event_hour,
            project(model("bad", config={"replaces": "everything"})),
        ),
        (report_tables_whose_key_is_not_tested, project(model("bad"))),
        (report_tables_whose_key_is_not_tested, project(model("bad"), key_test("bad", "everything"))),
        (dispatched_without_a_default_that_raises, project(macros={"twice": DISPATCHED})),
        (
            dispatched_without_a_default_that_raises,
            project(macros={"twice": DISPATCHED, "default__twice": "{{ a }} + {{ a }}"}),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_that_breaks_the_rule_is_found(rule: Any, broken: Manifest) -> None:
    assert len(rule(broken)) == 1


def test_words_that_only_look_like_a_relation_are_let_be() -> None:
    code = "-- from core.fct_edges\nselect a.b is distinct from c.d, extract(minute from e) from {{ ref('x') }} as a"
    assert hard_coded_relations(project(model("sound", raw_code=code))) == []
