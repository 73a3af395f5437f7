"""docs/tables.md says what the models say, and refuses models that say too little."""

from __future__ import annotations

from typing import Any

import pytest

from flowlake.table_docs import PAGE, TableDocsError, parse_project, published_tables, render


def model(name: str = "fct_things", **changes: Any) -> dict[str, Any]:
    node = {
        "name": name,
        "resource_type": "model",
        "schema": "core",
        "description": "One row per thing: what it is. Answers what there is. Things differ.",
        "config": {"meta": {"published": True}},
        "columns": {"a": {"name": "a", "data_type": "integer", "description": "One | or\nthe other."}},
    }
    return {**node, **changes}


def manifest(*models: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {f"model.flowlake.{node['name']}": node for node in models}}


def test_the_page_is_up_to_date() -> None:
    page = render(published_tables(parse_project()))
    assert PAGE.read_text() == page, "run `python -m flowlake.table_docs`"


def test_a_description_becomes_grain_question_and_notes() -> None:
    (table,) = published_tables(manifest(model()))
    assert (table.grain, table.question, table.notes) == (
        "One row per thing: what it is.",
        "Answers what there is.",
        "Things differ.",
    )
    page = render([table])
    assert "| [`fct_things`](#fct_things) | table | thing |" in page
    assert "| `a` | integer | One \\| or the other. |" in page


def test_only_published_models_are_on_the_page() -> None:
    hidden = model("int_things__merged", config={"meta": {}})
    shown = model("rpt_things", schema="marts", config={"meta": {"published": "view"}})
    (table,) = published_tables(manifest(hidden, shown))
    assert (table.name, table.is_view) == ("rpt_things", True)


def test_reports_stand_behind_the_facts_that_they_are_made_of() -> None:
    tables = published_tables(manifest(model("rpt_a", schema="marts"), model("fct_z")))
    assert [table.name for table in tables] == ["fct_z", "rpt_a"]


def test_what_is_kept_per_hour_need_not_answer_a_question_by_itself() -> None:
    hourly = model("rpt_things_hourly", schema="marts", description="One row per thing and event hour.")
    assert published_tables(manifest(hourly))[0].question == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"description": ""}, "must begin with 'One row per'"),
        ({"description": "Things."}, "must begin with 'One row per'"),
        ({"schema": "marts", "description": "One row per thing."}, "which question it answers"),
        ({"schema": "attic"}, "schema attic"),
        ({"columns": {"a": {"name": "a", "data_type": "integer", "description": ""}}}, r"fct_things\.a needs"),
        ({"columns": {"a": {"name": "a", "data_type": None, "description": "A."}}}, r"fct_things\.a needs"),
    ],
)
def test_a_published_table_that_says_too_little_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TableDocsError, match=message):
        published_tables(manifest(model(**changes)))


def test_a_page_without_tables_is_an_error() -> None:
    with pytest.raises(TableDocsError, match="no model is published"):
        render([])
