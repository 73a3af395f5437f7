from __future__ import annotations

from typing import Any

import pytest

from local_athena.results import csv, java_double, text_of


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
