from __future__ import annotations

import io
from typing import Any

import pytest

from local_athena.ddl import Plan
from local_athena.executions import Execution, Request, Shelf
from local_athena.results import csv, java_double, parse_csv, text_of


def signature(name: str, *arguments: Any) -> dict[str, Any]:
    return {"rawType": name, "arguments": [{"kind": "TYPE", "value": argument} for argument in arguments]}


def field(name: str | None, kind: dict[str, Any]) -> dict[str, Any]:
    return {"typeSignature": kind} | ({"fieldName": {"name": name}} if name else {})


INTEGER, VARCHAR, DOUBLE = signature("integer"), signature("varchar"), signature("double")


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, VARCHAR, None),
        ("", VARCHAR, ""),
        (True, signature("boolean"), "true"),
        (12, INTEGER, "12"),
        ("1.50", signature("decimal"), "1.50"),
        (1.0, DOUBLE, "1.0"),
        ("NaN", DOUBLE, "NaN"),
        ("aGk=", signature("varbinary"), "68 69"),
        ("2026-01-01 00:00:00.123456", signature("timestamp"), "2026-01-01 00:00:00.123456"),
        ([1, None], signature("array", INTEGER), "[1, null]"),
        ({"a": 1e7}, signature("map", VARCHAR, DOUBLE), "{a=1.0E7}"),
        ([1, "b"], signature("row", field("x", INTEGER), field(None, VARCHAR)), "{x=1, field1=b}"),
    ],
)
def test_a_value_is_a_text_as_athena_writes_it(value: Any, kind: dict[str, Any], text: str | None) -> None:
    assert text_of(value, kind) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (9999999.5, "9999999.5"),
        (1e7, "1.0E7"),
        (-12345678.9, "-1.23456789E7"),
        (1e300, "1.0E300"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_a_double_is_written_as_java_writes_it(value: float, text: str) -> None:
    assert java_double(value) == text


def test_a_null_is_nothing_in_the_file_and_an_empty_text_is_two_quotes() -> None:
    assert csv(["a", "b"], [[None, ""], ['say "x"', "1,2\n3"]]) == b'"a","b"\n,""\n"say ""x""","1,2\n3"\n'


@pytest.mark.parametrize(
    "rows", [[], [["", None]], [[None, None]], [['say "x"', "1,2\n3"], [None, "\r\n"], ['"', "é"]]]
)
def test_a_file_read_back_is_what_was_written(rows: list[list[str | None]]) -> None:
    assert parse_csv(csv(["a", "b"], rows).decode()) == [["a", "b"], *rows]


class Bucket:
    """An S3 that counts what is read."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.reads.append(Key)
        return {"Body": io.BytesIO(self.objects[Key])}


def test_rows_that_memory_has_no_room_for_are_read_from_their_file() -> None:
    bucket = Bucket()
    shelf = Shelf(bucket, room=5)
    request = Request("select 1", Plan("DML", "SELECT", ()), "primary", "s3://bucket/results/")
    executions = [Execution(name, request) for name in ("first", "second", "third")]
    rows: list[list[str | None]] = [["1", None], ["2", ""]]
    for execution in executions:
        bucket.objects[f"results/{execution.id}.csv"] = csv(["a", "b"], rows)
        shelf.put(execution, rows)
    assert list(shelf.kept) == ["third"]
    assert [shelf.rows(execution) for execution in executions] == [rows] * 3
    assert bucket.reads == ["results/first.csv", "results/second.csv", "results/third.csv"]
    assert (shelf.used, list(shelf.kept)) == (4, ["third"])
