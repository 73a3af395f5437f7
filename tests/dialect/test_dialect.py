"""Every dispatched macro gives the values of its case table, on every engine.

dbt renders all cases of an engine once; each engine then answers them over its own connection. Athena answers many in
one statement.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flowlake import dbt
from flowlake.lake.duck import EXTENSIONS, install_extensions
from flowlake.lake.register import register
from flowlake.lake.windows import Window
from flowlake.settings import Arrival, AthenaSettings, LakeSettings, Settings, Source, Target
from local_athena.queries import Database
from local_athena.server import LocalAthena

DIALECT = dbt.PROJECT / "macros" / "dialect"
SEPARATOR = "-- next case"
TEN_THOUSAND_ROWS = (
    "with d (x) as (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)), "
    "n as (select a.x from d as a cross join d as b cross join d as c cross join d as e)"
)
ODD_NAMES = ("x-ray", "a.b", "größe", 'say "x"', "Upper_Case")
"""Fields of Parquet objects that nobody knows; Glue takes only the last one for a column, the others are kept aside."""

SHARED = "with t (x) as (values (1), (1), (2), (3)), r as (select x from t group by 1 having count(*) > 1)"
NETWORKS = '["10.0.0.0/8", "172.16.0.0/12", "192.0.2.7", "fc00::/7", "2001:db8::/32"]'


@dataclass(frozen=True)
class Case:
    """A query in Jinja that has one column and one row, and the value that every engine must give."""

    macro: str
    query: str
    value: Any

    @property
    def name(self) -> str:
        return f"{self.macro}-{self.query[:70]}"


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def of(macro: str, *cases: tuple[str, Any]) -> list[Case]:
    """Cases of one macro; a call that is no whole query is selected."""
    return [
        Case(macro, query if query.startswith(("select", "with")) else f"select {{{{ {macro}({query}) }}}}", value)
        for query, value in cases
    ]


CASES = [
    *of(
        "epoch_to_timestamp",
        ("'cast(0 as bigint)'", moment("1970-01-01T00:00:00")),
        ("'cast(1795176000 as bigint)'", moment("2026-11-20T12:00:00")),
        # The turn of daylight saving time, in zones that have it: nothing happens in UTC.
        ("'cast(1774746000 as bigint)'", moment("2026-03-29T01:00:00")),
        ("'cast(1774749599 as bigint)'", moment("2026-03-29T01:59:59")),
        ("'cast(1774749600 as bigint)'", moment("2026-03-29T02:00:00")),
        ("'cast(2147483648 as bigint)'", moment("2038-01-19T03:14:08")),
        ("'cast(9999999999 as bigint)'", moment("2286-11-20T17:46:39")),
        ("'cast(null as bigint)'", None),
    ),
    *of(
        "hour_to_timestamp",
        ("\"'2026-11-20T12'\"", moment("2026-11-20T12:00:00")),
        ("\"'2026-03-29T02'\"", moment("2026-03-29T02:00:00")),
        ("\"'1970-01-01T00'\"", moment("1970-01-01T00:00:00")),
        ("\"'2024-02-29T23'\"", moment("2024-02-29T23:00:00")),
        ("'cast(null as varchar)'", None),
    ),
    *of(
        "timestamp_to_hour",
        ("\"timestamp '2026-11-20 12:00:00'\"", "2026-11-20T12"),
        # Cut off, not rounded; two digits each.
        ("\"timestamp '2026-11-20 12:59:59.999999'\"", "2026-11-20T12"),
        ("\"timestamp '2026-01-02 03:04:05'\"", "2026-01-02T03"),
        ("\"timestamp '2026-12-31 23:59:59'\"", "2026-12-31T23"),
        ("\"timestamp '1969-12-31 23:59:59'\"", "1969-12-31T23"),
        ("'cast(null as timestamp)'", None),
    ),
    *of(
        "split_fields",
        ("\"'2 - eni-a'\"", ["2", "-", "eni-a"]),
        ("\"'one'\"", ["one"]),
        ("\"''\"", [""]),
        ("\"' '\"", ["", ""]),
        # Single spaces separate, however many: an empty field is a field. Tabs do not.
        ("\"' a  b '\"", ["", "a", "", "b", ""]),
        ("\"'a' || chr(9) || 'b c'\"", ["a\tb", "c"]),
        ("\"'é 東京'\"", ["é", "東京"]),
        ("\"'' || chr(0) || ' b'\"", ["\0", "b"]),
        ("'cast(null as varchar)'", None),
    ),
    *of(
        "field_at",
        ("split_fields(\"'a b c'\"), 1", "a"),
        ("split_fields(\"'a b c'\"), 3", "c"),
        ("split_fields(\"'a b c'\"), 4", None),
        ("split_fields(\"'a b c'\"), 400", None),
        ("split_fields(\"''\"), 1", ""),
        ("split_fields('cast(null as varchar)'), 1", None),
    ),
    *of(
        "field_count",
        ("split_fields(\"'a b c'\")", 3),
        ("split_fields(\"'a  c'\")", 3),
        ("split_fields(\"''\")", 1),
        ("split_fields('cast(null as varchar)')", None),
    ),
    *of(
        "matches",
        ("\"'443'\", '[0-9]{1,9}'", True),
        ("\"'007'\", '[0-9]{1,9}'", True),
        ("\"''\", '[0-9]{1,9}'", False),
        ("\"''\", '[0-9]*'", True),
        # The whole text, each branch of an alternative included.
        ("\"'1234567890'\", '[0-9]{1,9}'", False),
        ("\"'x443'\", '[0-9]{1,9}'", False),
        ("\"'443x'\", '[0-9]{1,9}'", False),
        ("\"'-443'\", '-|[0-9]{1,9}'", False),
        ("\"'443-'\", '-|[0-9]{1,9}'", False),
        ("\"'-'\", '-|[0-9]{1,9}'", True),
        ("\"'443' || chr(10)\", '[0-9]{1,9}'", False),
        ("\"'4' || chr(10) || '3'\", '[0-9].[0-9]'", False),
        ("\"' 7'\", '[0-9]{1,9}'", False),
        ("\"'+5'\", '[0-9]{1,9}'", False),
        ("\"'1.5'\", '[0-9]{1,9}'", False),
        ("\"'٣'\", '[0-9]{1,9}'", False),
        ("\"'FE80::A'\", '[0-9a-f:]+'", False),
        # A line against the patterns of its fields: a field may be empty, and end in anything but a space.
        ("\"'2 - 10.0.0.1'\", '(-|[0-9]{1,9}) [^ ]* (-|[0-9a-f:.]{2,45})'", True),
        ("\"'2  10.0.0.1'\", '(-|[0-9]{1,9}) [^ ]* (-|[0-9a-f:.]{2,45})'", True),
        ("\"'2 10.0.0.1'\", '(-|[0-9]{1,9}) [^ ]* (-|[0-9a-f:.]{2,45})'", False),
        ("\"'2 - - 10.0.0.1'\", '(-|[0-9]{1,9}) [^ ]* (-|[0-9a-f:.]{2,45})'", False),
        ("\"'2 é' || chr(0) || chr(13) || chr(10) || 'x'\", '[0-9] [^ ]*'", True),
        ("'cast(null as varchar)', '[0-9]*'", None),
    ),
    *of(
        "text_map",
        ("[], []", None),
        ("[\"'a-b'\"], [\"'1'\"]", {"a-b": "1"}),
        ("[\"'a'\", \"'b'\"], [\"''\", \"'it''s'\"]", {"a": "", "b": "it's"}),
        ("[\"'a'\", \"'b'\"], ['cast(null as varchar)', \"'-'\"]", {"a": None, "b": "-"}),
    ),
    *of(
        "present_entries",
        ("text_map([\"'a'\", \"'b'\"], [\"'1'\", 'cast(null as varchar)'])", {"a": "1"}),
        ("text_map([\"'a'\", \"'b'\"], [\"''\", \"'-'\"])", {"a": "", "b": "-"}),
        ("text_map([\"'a'\"], ['cast(null as varchar)'])", None),
        ("text_map([], [])", None),
    ),
    *of(
        "bit_or_agg",
        ("select {{ bit_or_agg('x') }} from (values (2), (16), (2)) as t (x)", 18),
        ("select {{ bit_or_agg('x') }} from (values (0), (0)) as t (x)", 0),
        ("select {{ bit_or_agg('x') }} from (values (1), (cast(null as integer))) as t (x)", 1),
        ("select {{ bit_or_agg('x') }} from (values (cast(null as integer))) as t (x)", None),
        ("select {{ bit_or_agg('x') }} from (values (1)) as t (x) where x > 1", None),
        ("select {{ bit_or_agg('x') }} from (values (2147483647), (1)) as t (x)", 2147483647),
    ),
    *of(
        "has_bit",
        ("'2', 2", True),
        ("'18', 2", True),
        ("'18', 16", True),
        ("'16', 2", False),
        ("'0', 2", False),
        ("'999999999', 1", True),
        ("'cast(null as integer)', 2", None),
    ),
    *of(
        "row_hash",
        ("select {{ row_hash(['x', 'y']) }} = {{ row_hash([\"'a'\", '1']) }} from (values ('a', 1)) as t (x, y)", True),
        ("select count(distinct {{ row_hash(['x', 'y']) }}) from (values ('a', 1), ('a', 2), ('b', 1)) as t (x, y)", 3),
        # A null is a value like any other: what has no hash would be in no set and outside of none.
        (
            "select count(distinct {{ row_hash(['x', 'y']) }}) from "
            "(values ('a', 1), (cast(null as varchar), 1), ('a', cast(null as integer))) as t (x, y)",
            3,
        ),
    ),
    *of(
        "recomputed",
        (
            "with numbers as {{ recomputed() }} (select 1 as x) "
            "select sum(numbers.x + others.x) from numbers cross join numbers as others",
            2,
        ),
    ),
    *of(
        "kept",
        (
            "with numbers as {{ kept() }} (select 1 as x) "
            "select sum(numbers.x + others.x) from numbers cross join numbers as others",
            2,
        ),
    ),
    *of(
        "stands_alone",
        # Each row is one of the two, whichever the engine says.
        (
            f"{SHARED} select count(*) from t where {{{{ stands_alone('x', 'r') }}}} "
            f"or {{{{ is_repeated('x', 'r') }}}}",
            4,
        ),
        (f"{SHARED} select count(*) from t where {{{{ stands_alone('x', 'r') }}}} and x = 1", 0),
        (
            f"{SHARED} select count(*) from t where {{{{ stands_alone('x', 'r') }}}} "
            f"and {{{{ is_repeated('x', 'r') }}}}",
            0,
        ),
    ),
    *of(
        "is_repeated",
        (f"{SHARED} select count(*) from t where {{{{ is_repeated('x', 'r') }}}} and x = 1", 2),
    ),
    *of(
        "timestamp_text",
        ("\"timestamp '2026-11-20 12:00:00'\"", "2026-11-20 12:00:00"),
        ("\"cast(timestamp '2026-01-02 03:04:05.000000' as timestamp)\"", "2026-01-02 03:04:05"),
        ("\"timestamp '1969-12-31 23:59:59'\"", "1969-12-31 23:59:59"),
        ("'cast(null as timestamp)'", None),
    ),
    *of(
        "hash_key",
        ("[\"'a'\", \"'b'\"]", md5("a|b")),
        ("[\"''\"]", md5("")),
        ("[\"'a'\", 'cast(null as varchar)', \"'b'\"]", md5("a|b")),
        ("[\"'東京'\"]", md5("東京")),
        ("['cast(6 as integer)', 'cast(443 as bigint)', 'cast(-1 as integer)']", md5("6|443|-1")),
        ("[timestamp_text(\"timestamp '2026-11-20 12:00:00'\"), \"'10.0.0.1'\"]", md5("2026-11-20 12:00:00|10.0.0.1")),
    ),
    *of(
        "in_networks",
        (f"\"'10.0.0.1'\", {NETWORKS}", True),
        (f"\"'10.255.255.255'\", {NETWORKS}", True),
        (f"\"'11.0.0.0'\", {NETWORKS}", False),
        (f"\"'9.255.255.255'\", {NETWORKS}", False),
        (f"\"'172.31.255.255'\", {NETWORKS}", True),
        (f"\"'172.32.0.0'\", {NETWORKS}", False),
        (f"\"'192.0.2.7'\", {NETWORKS}", True),
        (f"\"'192.0.2.8'\", {NETWORKS}", False),
        (f"\"'0.0.0.0'\", {NETWORKS}", False),
        (f"\"'fd12:3456::1'\", {NETWORKS}", True),
        (f"\"'2001:db8:1234:a100:8d6e:3477:df66:f105'\", {NETWORKS}", True),
        (f"\"'2001:DB8::1'\", {NETWORKS}", True),
        (f"\"'2001:db9::1'\", {NETWORKS}", False),
        (f"\"'::'\", {NETWORKS}", False),
        # 10.0.0.1 as a number is ::a00:1: families do not mix.
        (f"\"'::a00:1'\", {NETWORKS}", False),
        ('"\'2001:db8::1\'", ["0.0.0.0/0"]', False),
        ('"\'10.0.0.1\'", ["0.0.0.0/0"]', True),
        ('"\'10.0.0.1\'", ["::/0"]', False),
        (f"\"''\", {NETWORKS}", False),
        (f"\"'10.0.0'\", {NETWORKS}", False),
        (f"\"'10.0.0.256'\", {NETWORKS}", False),
        (f"\"'10.0.0.1.1'\", {NETWORKS}", False),
        (f"\"'vpc-1/10.0.0.1'\", {NETWORKS}", False),
        (f"\"'-'\", {NETWORKS}", False),
        (f"\"' 10.0.0.1'\", {NETWORKS}", False),
        (f"\"':'\", {NETWORKS}", False),
        (f"\"'fc00'\", {NETWORKS}", False),
        (f"\"'fc00::1::2'\", {NETWORKS}", False),
        (f"\"'fc00::12345'\", {NETWORKS}", False),
        (f"\"'10.0.0.1:443'\", {NETWORKS}", False),
        (f"\"'FC00:0:0:0:0:0:0:1'\", {NETWORKS}", True),
        (f"\"'fbff:ffff::'\", {NETWORKS}", False),
        # An IPv4 address written as an IPv6 one is an IPv6 one.
        (f"\"'::ffff:10.0.0.1'\", {NETWORKS}", False),
        (f"'cast(null as varchar)', {NETWORKS}", False),
        ("\"'10.0.0.1'\", []", False),
    ),
    *of(
        "sample_of",
        (f"{TEN_THOUSAND_ROWS} select count(*) from {{{{ sample_of('n', 100) }}}}", 10_000),
        (f"{TEN_THOUSAND_ROWS} select count(*) from {{{{ sample_of('n', 0) }}}}", 0),
        # By rows and not by blocks, a percentage and not a share; ten standard deviations either way.
        (f"{TEN_THOUSAND_ROWS} select count(*) between 700 and 1300 from {{{{ sample_of('n', 10) }}}}", True),
    ),
    *of(
        "each_day",
        *(
            (
                f"select {what} from (select timestamp '{first}' as a, timestamp '{last}' as b) as t "
                "cross join {{ each_day('t.a', 't.b') }} as days(event_date)",
                expected,
            )
            for what, first, last, expected in (
                ("count(*)", "2026-11-20 23:59:59", "2026-11-22 00:00:00", 3),
                ("count(*)", "2026-11-20 00:00:00", "2026-11-20 23:00:00", 1),
                (
                    "cast(max(cast(days.event_date as date)) as varchar)",
                    "2024-02-28 12:00:00",
                    "2024-02-29 11:00:00",
                    "2024-02-29",
                ),
                (
                    "cast(min(cast(days.event_date as date)) as varchar)",
                    "1969-12-31 23:00:00",
                    "1970-01-01 01:00:00",
                    "1969-12-31",
                ),
            )
        ),
    ),
    *of(
        "raw_text_lines",
        (
            "select count(*) from {{ raw_text_lines('v2-default') }} where line is not null",
            5,
        ),
        ("select count(*) from {{ raw_text_lines('v2-default') }} where line is null", 1),
        # Nothing in a line is syntax, and its length is that of its bytes.
        (
            "select max(line) from {{ raw_text_lines('v2-default') }} where line like '%drop table%'",
            "\"a,b\" ; drop table x -- # \\n \t 'it''s' {{ 1 }}",
        ),
        ("select count(*) from {{ raw_text_lines('v2-default') }} where line = chr(92) || 'N'", 1),
        ("select max(length(line)) from {{ raw_text_lines('v2-default') }} where line like '!%'", 257),
        (
            "select count(distinct read_path) from {{ raw_text_lines('v2-default') }} where read_path like '%.log.gz'",
            1,
        ),
    ),
    *of(
        "raw_parquet_records",
        ("select count(*) from {{ raw_parquet_records() }}", 2),
        # By name: what one object lacks is null.
        ("select count(tcp_flags) from {{ raw_parquet_records() }}", 1),
        ("select count(distinct read_path) from {{ raw_parquet_records() }}", 2),
    ),
    *of(
        "parquet_columns",
        ("select {{ ('srcaddr' in parquet_columns() and 'tcp_flags' in parquet_columns()) | lower }}", True),
        ("select {{ ('field_of_2027' in parquet_columns()) | lower }}", True),
        ("select {{ ('field_of_2028' in parquet_columns()) | lower }}", False),
        # One of the objects has fields of any name. Whichever the engine reads, the rest can be read.
        (
            "select count(*) from ({{ parsed_parquet_records(parquet_columns()) }}) as parsed "
            "where srcaddr is not null and fields_seen = fields_expected",
            2,
        ),
        (
            "select max({{ present_entries('extra_fields') }}['field_of_2027']) "
            "from ({{ parsed_parquet_records(parquet_columns()) }}) as parsed where extra_fields is not null",
            "x",
        ),
    ),
    *of(
        "parquet_text",
        *(
            (
                f"select max({{{{ parquet_text('{column}', parquet_columns()['{column}']) }}}}) "
                "from {{ raw_parquet_records() }}",
                value,
            )
            for column, value in (("srcaddr", "10.0.0.1"), ("bytes", "2"), ("packets", "two"))
        ),
    ),
    *of(
        "parquet_number",
        *(
            (
                f"select max({{{{ parquet_number('{column}', parquet_columns()['{column}']) }}}}) "
                "from {{ raw_parquet_records() }}",
                value,
            )
            for column, value in (("bytes", "2"), ("packets", None), ("protocol", "007"))
        ),
    ),
    *of(
        "parquet_extra_fields",
        (
            "select max({{ parquet_extra_fields(['field_of_2027']) }}['field_of_2027']) "
            "from {{ raw_parquet_records() }} where tcp_flags = 2",
            "x",
        ),
        ("select count({{ parquet_extra_fields(['tcp_flags']) }}) from {{ raw_parquet_records() }}", 1),
        *(
            (
                f"select max(extra_fields['{name.lower()}']) "
                "from ({{ parsed_parquet_records(parquet_columns()) }}) as parsed where extra_fields is not null",
                "?",
            )
            for name in ODD_NAMES
        ),
    ),
]

CASES_PER_STATEMENT = 50
"""So many cases are one statement on Athena, where each takes a second."""

PREPARATION = "{{ prepare_raw_reads() }}"
"""Rendered before the cases, and run before them: every raw_* case is one of prepare_raw_reads too."""


def connect_duckdb() -> duckdb.DuckDBPyConnection:
    install_extensions()
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in EXTENSIONS:
        connection.load_extension(name)
    # Far from UTC: a macro that leans on the session's zone shows.
    connection.execute("set TimeZone = 'Pacific/Auckland'")
    return connection


TARGETS = ["duckdb", "athena"]


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw layer of one text object and two Parquet objects with different columns."""
    import gzip

    import pyarrow as pa
    from pyarrow import parquet

    from flowlake.records.fields import V2_DEFAULT_HEADER

    folder = tmp_path_factory.mktemp("dialect")
    logs = folder / "logs" / "AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/11/20"
    logs.mkdir(parents=True)
    name = "123456789012_vpcflowlogs_us-east-1_fl-0a1b_20261120T1205Z"
    hostile = b"\"a,b\" ; drop table x -- # \\n \t 'it''s' {{ 1 }}"
    # All bytes that end no line, after a mark.
    octets = b"!" + bytes(sorted(set(range(256)) - {0x0A, 0x0D})) + b"!!"
    text = b"\n".join([V2_DEFAULT_HEADER.encode(), b"", hostile, octets, b"\\N", b" last "])
    (logs / f"{name}_00000001.log.gz").write_bytes(gzip.compress(text, mtime=0))
    plain = {"srcaddr": ["10.0.0.1"], "dstaddr": ["10.0.0.2"]}
    parquet.write_table(pa.table(plain), logs / f"{name}_00000002.log.parquet")
    numbers = {name: [2] for name in ("tcp_flags", "srcport", "dstport", "bytes")}
    numbers |= {"packets": ["two"], "protocol": ["007"]}
    odd = {name: ["?"] for name in ODD_NAMES}
    parquet.write_table(
        pa.table({**plain, **numbers, "field_of_2027": ["x"], **odd}), logs / f"{name}_00000003.log.parquet"
    )
    arrived = datetime(2026, 11, 20, 12, 10, tzinfo=UTC).timestamp()
    for path in logs.iterdir():
        os.utime(path, (arrived, arrived))
    sources = (Source(name="logs", uri=str(folder / "logs")),)
    settings = Settings(sources=sources, lake=LakeSettings(folder / "lake"))
    report = register(settings, Window.parse("2026-11-20T12", "2026-11-20T13"))
    assert report.readable == 3, report.problems
    (folder / "lake/dbt").mkdir()
    return folder / "lake"


def run_dbt(lake: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    install_extensions()
    command = [str(dbt.executable()), "--quiet", "--no-use-colors", "--log-path", str(lake / "logs"), *arguments]
    command += ["--project-dir", str(dbt.PROJECT), "--profiles-dir", str(dbt.PROJECT)]
    command += ["--target-path", str(lake / "target")]
    environment = {**os.environ, "FLOWLAKE_LAKE_PATH": str(lake), "DO_NOT_TRACK": "1", **settings}
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    # Where dbt always works: from there the ledger's files have their paths.
    home = lake / "dbt"
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=120)


def compile_cases(lake: Path, target: str, settings: Mapping[str, str]) -> list[str]:
    """What prepares the engine, and the query of each case."""
    inline = f"\n{SEPARATOR}\n".join([PREPARATION, *(case.query for case in CASES)])
    window = json.dumps({"arrival_from": "2026-11-20T12", "arrival_to": "2026-11-20T13"})
    arguments = ["--target", target, "--output", "json", "--vars", window, "--inline", inline]
    ran = run_dbt(lake, "compile", *arguments, **settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    output: str = json.loads(ran.stdout[ran.stdout.index("{") :])["compiled"]
    compiled = output.split(f"{SEPARATOR}\n")
    assert len(compiled) == len(CASES) + 1
    return compiled


@pytest.fixture(scope="session", params=TARGETS)
def answers(request: pytest.FixtureRequest, lake: Path) -> Iterator[dict[str, Callable[[], Any]]]:
    """For each case what asks the engine for its value; the queries are rendered by one call of dbt."""
    if request.param == "athena":
        yield athena_answers(request.getfixturevalue("athena"), lake)
        return
    prepare, *queries = compile_cases(lake, request.param, {})
    connection = connect_duckdb()
    connection.execute(prepare)

    def asks(query: str) -> Callable[[], Any]:
        def ask() -> Any:
            ((value,),) = connection.execute(query).fetchall()
            return value

        return ask

    yield {case.query: asks(query) for case, query in zip(CASES, queries, strict=True)}
    connection.close()


def athena_answers(athena: LocalAthena, lake: Path) -> dict[str, Callable[[], Any]]:
    """The same of the local Athena, in databases of its own: the same objects, in a bucket, registered for it."""
    name, location = "dialect", f"s3://{athena.bucket}/dialect"
    s3 = athena.client("s3")
    s3.create_bucket(Bucket="dialect-logs")
    logs = lake.parent / "logs"
    for path in logs.rglob("*.log.*"):
        s3.upload_file(str(path), "dialect-logs", str(path.relative_to(logs)))
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in athena.environment.items():
            patch.setenv(variable, value)
        source = Source(name="logs", uri="s3://dialect-logs", arrival=Arrival.OBJECT_NAME)
        target = AthenaSettings(location, name, athena.work_group)
        registered = Settings((source,), LakeSettings(lake.parent / "athena"), Target.ATHENA, target)
        assert register(registered, Window.parse("2026-11-20T12", "2026-11-20T13")).readable == 3
    settings = {"FLOWLAKE_DATABASE": name, "FLOWLAKE_LOCATION": location, "FLOWLAKE_WORK_GROUP": athena.work_group}
    prepare, *queries = compile_cases(lake, "athena", {**athena.environment, **settings})
    assert not prepare.strip()
    database = Database(athena, f"{name}_raw")

    @cache
    def answered_at(start: int) -> list[tuple[str, str | None]]:
        chosen = list(zip(CASES, queries, strict=True))[start : start + CASES_PER_STATEMENT]
        columns = [f"({scalar(case, query)}) as c{place}" for place, (case, query) in enumerate(chosen)]
        answer = database.run("select\n" + ",\n".join(columns))
        assert answer.state == "SUCCEEDED", answer.reason
        return list(zip(answer.types.values(), answer.rows[0], strict=True))

    def asker(number: int) -> Callable[[], Any]:
        start, place = number - number % CASES_PER_STATEMENT, number % CASES_PER_STATEMENT
        return lambda: decoded(CASES[number], *answered_at(start)[place])

    return {case.query: asker(number) for number, case in enumerate(CASES)}


def scalar(case: Case, query: str) -> str:
    """A query whose answer can be told from its text: lists and maps as JSON."""
    is_nested = isinstance(case.value, list | dict)
    return f"select json_format(cast(nested.x as json)) from ({query}) as nested (x)" if is_nested else query


def decoded(case: Case, kind: str, text: str | None) -> Any:
    """A value of Athena's result as DuckDB's client gives it."""
    if text is None or isinstance(case.value, str):
        assert text is None or kind in ("varchar", "char")
        return text
    if isinstance(case.value, list | dict):
        return json.loads(text)
    match kind:
        case "timestamp":
            return moment(text)
        case "boolean":
            return text == "true"
        case "integer" | "bigint":
            return int(text)
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_macro_gives_the_value_of_its_case(case: Case, answers: dict[str, Callable[[], Any]]) -> None:
    value = answers[case.query]()

    assert value == case.value
    assert type(value) is type(case.value)


def macros() -> str:
    return "\n".join(path.read_text() for path in sorted(DIALECT.glob("*.sql")))


def dispatched() -> set[str]:
    return set(re.findall(r'adapter\.dispatch\("(\w+)", "flowlake"\)', macros()))


def test_every_dispatched_macro_has_cases() -> None:
    assert len(dispatched()) >= 15
    assert {case.macro for case in CASES} | {"prepare_raw_reads"} == dispatched()


@pytest.mark.parametrize("macro", sorted(dispatched()))
def test_an_engine_without_a_body_is_refused(macro: str) -> None:
    body = re.search(rf"\{{% macro default__{macro}\([a-z_, ]*\) -?%\}}(.*?)\{{%- endmacro %\}}", macros(), re.DOTALL)

    assert body is not None
    assert body[1].strip() == f'{{{{ unsupported_dialect("{macro}") }}}}'


@pytest.mark.parametrize("macro", sorted(dispatched()))
@pytest.mark.parametrize("engine", TARGETS)
def test_every_engine_has_a_body(macro: str, engine: str) -> None:
    assert f"{{% macro {engine}__{macro}(" in macros()


def test_a_refusal_names_the_macro_and_the_engine(lake: Path) -> None:
    ran = run_dbt(lake, "run-operation", "unsupported_dialect", "--args", json.dumps({"name": "has_bit"}))

    assert ran.returncode != 0
    assert "macro has_bit has no body for the engine 'duckdb'" in ran.stdout


def test_no_model_asks_for_its_engine() -> None:
    for folder in ("models", "macros"):
        for path in (dbt.PROJECT / folder).rglob("*.sql"):
            if path.parent != DIALECT:
                assert "target.type" not in path.read_text(), path


def test_no_slice_has_more_days_than_athena_writes_at_once(lake: Path) -> None:
    window = json.dumps({"arrival_from": "2026-01-31T23", "arrival_to": "2026-02-03T01"})
    inline = "{{ day_slices('arrival_hour', 2) | join(' or ') }}; {{ scope_days('everything') | length }}"
    ran = run_dbt(lake, "compile", "--output", "json", "--vars", window, "--inline", inline)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout[ran.stdout.index("{") :])["compiled"] == (
        "substr(arrival_hour, 1, 10) between '2026-01-31' and '2026-02-01' or "
        "substr(arrival_hour, 1, 10) between '2026-02-02' and '2026-02-03'; 0"
    )
