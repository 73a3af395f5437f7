from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from flowlake.lake.footers import footer_length, inspect_parquet
from flowlake.lake.objects import ObjectProblem
from flowlake.lake.plain_parquet import (
    RecordColumns,
    column_types,
    copy_reason,
    is_plain,
    write_plain_parquet,
    write_united_parquet,
)


def copied(folder: Path, known: dict[str, str], **columns: Any) -> dict[str, list[Any]]:
    source, target = folder / "source.parquet", folder / "target.parquet"
    parquet.write_table(pa.table(columns), source)
    found = column_types(source)
    write_plain_parquet(source, target, RecordColumns(known).types(found), found)
    return dict(parquet.read_table(target).to_pydict())


@pytest.mark.parametrize("name", ["bytes", "Bytes"])
def test_a_text_in_a_field_of_numbers_is_kept_as_it_was(tmp_path: Path, name: str) -> None:
    """As a number or as its text, never as both: staging decides by the text whether its record is malformed."""
    texts = ["12", "007", "-", None, "", " 7", "1e3", "-1", "0", "-0", "9" * 18, "9" * 19, "x", "1.0", "'"]
    found = copied(tmp_path, {"bytes": "bigint"}, **{name: texts})
    numbers, kept = found["bytes"], [dict(entries).get("bytes") for entries in found["flowlake_texts"]]
    assert numbers == [12, *[None] * 6, -1, 0, None, 10**18 - 1, *[None] * 4]
    assert [str(number) if number is not None else text for number, text in zip(numbers, kept, strict=True)] == texts
    assert not any(number is not None and text is not None for number, text in zip(numbers, kept, strict=True))
    assert found.keys() == {"bytes", "flowlake_texts"}


def test_a_field_that_can_be_no_column_is_kept_by_its_name(tmp_path: Path) -> None:
    names = ("a b", "Ä.B", 'say "x"', "it's", "arrival_hour", "Flowlake_Fields")
    odd = {name: pa.array([1, None]) for name in names}
    found = copied(
        tmp_path, {}, srcaddr=["a", "b"], Colour=["red", "blue"], read_path=["x", "y"], **{"": ["x", "y"]}, **odd
    )
    assert found == {
        "srcaddr": ["a", "b"],
        "colour": ["red", "blue"],
        "flowlake_fields": [[(name.lower(), "1") for name in names], []],
    }


def test_what_athena_reads_whole_where_it_lies_needs_no_copy() -> None:
    columns = RecordColumns({"bytes": "bigint", "srcaddr": "string"})

    def read_in_place(**found: str | None) -> bool:
        return is_plain(columns.types(found), found)

    assert read_in_place(bytes="bigint", SRCADDR="string", novelty="string")
    assert not read_in_place(bytes="string")
    assert not read_in_place(novelty=None)
    for name in ("two words", "größe", "\u212aelvin", "read_path", "arrival_hour", "flowlake_texts", ""):
        assert not read_in_place(bytes="bigint", **{name: "string"})


def test_a_table_gets_no_columns_without_end(tmp_path: Path) -> None:
    columns = RecordColumns({"bytes": "bigint", "srcaddr": "string"})
    for number in range(0, 1000, 10):
        columns.types({f"field_{number + one}": "string" for one in range(10)})
    found = dict.fromkeys(("srcaddr", "field_1", "field_999"), "string")
    assert columns.types(found) == {"srcaddr": "string", "field_1": "string"}
    assert len(columns.all()) == 300
    parquet.write_table(pa.table({name: ["x"] for name in found}), tmp_path / "object")
    write_plain_parquet(tmp_path / "object", tmp_path / "copy", columns.types(found), found)
    assert parquet.read_table(tmp_path / "copy").to_pylist() == [
        {"srcaddr": "x", "field_1": "x", "flowlake_fields": [("field_999", "x")]}
    ]


def test_an_unknown_column_is_text_whatever_the_first_object_says(tmp_path: Path) -> None:
    assert RecordColumns({}).types({"new": "bigint", "Other": None}) == {"new": "string", "Other": "string"}
    assert copied(tmp_path, {}, srcaddr=["a", "b"], new=[1, 2])["new"] == ["1", "2"]
    assert copied(tmp_path, {}, srcaddr=["a", "b"], new=["007", "x"])["new"] == ["007", "x"]


def test_an_unknown_column_that_the_table_has_as_numbers_keeps_what_is_none_beside_it(tmp_path: Path) -> None:
    found = copied(tmp_path, {"new": "bigint"}, srcaddr=["a", "b"], new=["1", "x"])
    assert (found["new"], found["flowlake_fields"]) == ([1, None], [[], [("new", "x")]])
    assert copied(tmp_path, {"new": "string"}, srcaddr=["a"], new=[1])["new"] == ["1"]


def test_types_are_those_that_athena_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {
        "text": pa.array(["a"]),
        "narrow": pa.array([1], pa.int8()),
        "wide": pa.array([1]),
        "unsigned": pa.array([1], pa.uint32()),
        "raw": pa.array([b"a"]),
        "part": pa.array([1.0]),
        "at": pa.array([1], pa.timestamp("ns")),
        "list": pa.array([[1]]),
        "a.b": pa.array([1]),
        "struct": pa.array([{"a": 1, "b": "x"}]),
    }
    parquet.write_table(pa.table(columns), path)
    types = column_types(path)
    assert {name for name, type_ in types.items() if type_ is not None} == {"text", "narrow", "wide", "a.b"}
    assert types.keys() == columns.keys()


def test_what_is_read_beside_others_has_whole_numbers_and_text_alone(tmp_path: Path) -> None:
    path, copy = tmp_path / "x.parquet", tmp_path / "y.parquet"
    plain = {"bytes": pa.array([1, None]), "srcport": pa.array([1, 2], pa.int16()), "vpc_id": pa.array(["-", "a"])}
    parquet.write_table(pa.table(plain), path)
    assert copy_reason(path) is None
    odd = {
        "SrcAddr": pa.array(["10.0.0.1", None]),
        "packets": pa.array([1.0, 2.5]),
        "instance_id": pa.array([["a"], None]),
        "read_path": pa.array(["a", "b"]),
    }
    parquet.write_table(pa.table({**plain, **odd}), path)
    assert copy_reason(path) == "columns made plain: SrcAddr, packets, instance_id, read_path"
    write_united_parquet(path, copy)
    assert copy_reason(copy) is None
    assert parquet.read_table(copy).to_pydict() == {
        "bytes": [1, None],
        "srcport": [1, 2],
        "vpc_id": ["-", "a"],
        "srcaddr": ["10.0.0.1", None],
        "packets": ["1.0", "2.5"],
        "instance_id": ["[a]", None],
    }


@pytest.mark.parametrize(("odd", "beside"), [("g[1]", "g1"), ("team*", "teams"), ("a?b", "axb")])
def test_a_path_that_duckdb_takes_for_a_pattern_is_that_of_one_file(tmp_path: Path, odd: str, beside: str) -> None:
    for folder, value in ((odd, 1.0), (beside, 9.0)):
        (tmp_path / folder).mkdir()
        parquet.write_table(pa.table({"bytes": [value]}), tmp_path / folder / "x.parquet")
    write_united_parquet(tmp_path / odd / "x.parquet", tmp_path / "copy.parquet")
    assert parquet.read_table(tmp_path / "copy.parquet").to_pydict() == {"bytes": ["1.0"]}


def test_a_name_that_no_sql_can_hold_makes_its_object_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"srcaddr": ["10.0.0.1"], "bytes": [1], "x\0y": [1]}), path)
    with pytest.raises(ObjectProblem, match="a column's name holds a NUL"):
        inspect_parquet(path)


def test_what_duckdb_cannot_read_either_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    encoding = {"bytes": "BYTE_STREAM_SPLIT"}
    parquet.write_table(pa.table({"bytes": [1]}), path, use_dictionary=False, column_encoding=encoding)
    found = column_types(path)
    with pytest.raises(ObjectProblem, match="BYTE_STREAM_SPLIT"):
        write_plain_parquet(path, tmp_path / "y.parquet", {"bytes": "bigint"}, found)


def test_a_footer_that_duckdb_alone_refuses_makes_its_object_a_broken_one(tmp_path: Path) -> None:
    """One is enough to stop an hour; that it is damaged, Arrow does not see."""
    sink = io.BytesIO()
    parquet.write_table(pa.table({"srcaddr": ["10.0.0.1"], "bytes": [1]}), sink)
    whole, path = sink.getvalue(), tmp_path / "x[1].parquet"
    path.write_bytes(whole)
    assert inspect_parquet(path).rows == 1
    engine = duckdb.connect(config={"enable_external_file_cache": False})
    refused = set()
    for place in range(len(whole) - footer_length(whole[-8:]), len(whole) - 8, 7):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                inspect_parquet(path)
            except ObjectProblem as problem:
                refused.add(str(problem))
            else:
                engine.execute("describe from read_parquet(?)", [str(path).replace("[", "[[]")])
    assert any("TProtocolException" in problem for problem in refused)
