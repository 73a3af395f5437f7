from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from flowlake.lake import glue as glue_module
from flowlake.lake.costs import Statement
from flowlake.lake.glue import GlueError, GlueTables, external_tables, may_be_column
from flowlake.records.fields import FIELDS
from flowlake.settings import AthenaSettings, LakeSettings, Settings, Source, Target

HOURS = [f"2026-11-20T{hour:02d}" for hour in range(24)]
MANIFESTS = [f"raw/text_lines/format_id=v2-default/arrival_hour={hour}/manifest" for hour in HOURS]


class Glue:
    """Answers batches as it was told to, one answer a call; then with no errors."""

    def __init__(self, *answers: dict[str, str]) -> None:
        self.answers = list(answers)
        self.batches: list[list[str]] = []

    def batch_delete_partition(self, *, PartitionsToDelete: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803 - Glue's
        self.batches.append([one["Values"][1] for one in PartitionsToDelete])
        codes = self.answers.pop(0) if self.answers else {}
        errors = [
            {"PartitionValues": ["v2-default", hour], "ErrorDetail": {"ErrorCode": code, "ErrorMessage": "no"}}
            for hour, code in codes.items()
        ]
        return {"Errors": errors}


def tables(monkeypatch: pytest.MonkeyPatch, glue: Glue) -> GlueTables:
    monkeypatch.setattr(glue_module, "client", lambda _: glue)
    monkeypatch.setattr(glue_module.time, "sleep", lambda _: None)
    settings = Settings(
        sources=(Source(name="prod", uri="s3://logs"),),
        lake=LakeSettings(path=Path("/nowhere")),
        target=Target.ATHENA,
        athena=AthenaSettings(location="s3://lake/x"),
    )
    return GlueTables(settings)


def test_partitions_that_fail_in_passing_are_tried_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    glue = Glue({HOURS[3]: "InternalServiceException", HOURS[4]: "EntityNotFoundException"})
    tables(monkeypatch, glue).remove_partitions(MANIFESTS)
    assert glue.batches == [HOURS, [HOURS[3]]]


def test_a_refusal_is_an_error_and_so_is_a_failure_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    glue = Glue({HOURS[0]: "InvalidInputException"})
    with pytest.raises(GlueError, match=r"change partitions of flowlake_raw\.text_lines: InvalidInputException"):
        tables(monkeypatch, glue).remove_partitions(MANIFESTS)
    glue = Glue(*[{HOURS[0]: "InternalServiceException"}] * 100)
    with pytest.raises(GlueError, match="InternalServiceException"):
        tables(monkeypatch, glue).remove_partitions(MANIFESTS)


def test_partitions_are_removed_as_many_at_a_time_as_glue_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    glue = Glue()
    more = [path.replace("2026-11-20", "2026-11-21") for path in MANIFESTS]
    tables(monkeypatch, glue).remove_partitions([*MANIFESTS, *more])
    assert [len(batch) for batch in glue.batches] == [25, 23]


def test_every_known_field_is_a_column_of_the_records() -> None:
    (records,) = (table for table in external_tables() if table.name == "parquet_records")
    *known, texts, others = records.columns
    assert [name for name, _ in known] == [field.column for field in FIELDS]
    assert {type_ for _, type_ in known} == {"bigint", "string"}
    assert (texts, others) == (("flowlake_texts", "map<string,string>"), ("flowlake_fields", "map<string,string>"))


@pytest.mark.parametrize(
    "name",
    [
        "arrival_hour",
        "Read_Path",
        "a b",
        "a.b",
        "ü",
        "",
        "x" * 256,
        "$path",
        'a"b',
        "flowlake_texts",
        "Flowlake_Fields",
    ],
)
def test_what_glue_or_a_model_would_take_for_something_else_is_no_column(name: str) -> None:
    assert not may_be_column(name)


def test_the_ledger_of_costs_has_a_column_for_each_thing_that_is_noted() -> None:
    (table,) = (table for table in external_tables() if table.name == "query_costs")
    assert [name for name, _ in table.columns] == [item.name for item in fields(Statement)]
