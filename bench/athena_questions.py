"""The nine questions on Athena: of a table over the text as AWS's manual has it, of cleaned lines, of the marts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bench.processes import BenchError
from bench.questions import QUESTIONS, Question
from bench.results import Row, Table, Unit
from flowlake.lake.athena import AthenaLake
from flowlake.lake.aws import pages
from flowlake.lake.windows import Window
from flowlake.settings import Settings
from flowlake.terminal import human_bytes

if TYPE_CHECKING:
    from local_athena.server import LocalAthena

DAYS = 14

TEXT = "bench_text"
"""The database of the table over the text."""

_COLUMNS = (
    "version int, account_id string, interface_id string, srcaddr string, dstaddr string, srcport int, dstport int, "
    "protocol bigint, packets bigint, bytes bigint, start bigint, `end` bigint, action string, log_status string"
)


@dataclass(frozen=True)
class Answers:
    """What a question scanned of each of the three, in bytes."""

    question: Question
    text: int
    cleaned: int
    marts: int


def ask_all(local: LocalAthena, settings: Settings, bucket: str, measured: Window) -> list[Answers]:
    """Ask everything of the last 14 days. Raises BenchError when two of the three disagree."""
    since, until = measured.end - timedelta(days=DAYS), measured.end
    lake, athena = AthenaLake(settings, asked=True), local.client("athena")
    _make_text_table(local, lake, bucket, since, until)
    records = {
        "text": (
            f"select * from {TEXT}.vpc_flow_logs where log_status = 'OK' "
            f"and start >= {since.timestamp():.0f} and start < {until.timestamp():.0f}"
        ),
        "cleaned": (
            f"select * from {lake.table('staging', 'stg_flow_logs__records')} where log_status = 'OK' "
            f"and arrival_hour >= '{since:%Y-%m-%dT%H}' and arrival_hour < '{until:%Y-%m-%dT%H}'"
        ),
    }
    found = []
    for question in QUESTIONS:
        asked = {name: f"with records as ({query})\n{question.on_text}" for name, query in records.items()}
        on_tables = question.on_tables.format(since=f"timestamp '{since:%Y-%m-%d %H:%M:%S}'")
        asked["marts"] = re.sub(r"\b(rpt|fct|dim)_\w+", lambda name: lake.table("flowlake", name[0]), on_tables)
        answers = {name: _ask(lake, athena, query) for name, query in asked.items()}
        rows = [rows for rows, _ in answers.values()]
        if not question.is_estimate and any(one != rows[0] for one in rows):
            message = f"{question.name}: " + "; ".join(f"{name} says {rows[:3]}" for name, (rows, _) in answers.items())
            raise BenchError(message)
        found.append(Answers(question, **{name: scanned for name, (_, scanned) in answers.items()}))
    return found


def questions_rows(answers: list[Answers]) -> list[Row]:
    """What all nine scanned, one way beside the other."""
    text, cleaned, marts = (sum(getattr(one, name) for one in answers) for name in ("text", "cleaned", "marts"))
    return [
        Row(f"nine questions over {DAYS} days, of the text", text, Unit.BYTES),
        Row("of cleaned lines", cleaned, Unit.BYTES, ratio=cleaned / text, to="the text"),
        Row("of the marts", marts, Unit.BYTES, ratio=marts / text, to="the text"),
    ]


def questions_table(answers: list[Answers]) -> Table:
    """Each question."""
    return Table(
        f"Bytes scanned by nine questions over {DAYS} days",
        ("question", "text", "cleaned lines", "marts", "marts to text"),
        tuple(
            (
                one.question.name,
                human_bytes(one.text),
                human_bytes(one.cleaned),
                human_bytes(one.marts),
                f"{one.marts / one.text:.4f}",
            )
            for one in answers
        ),
    )


def _ask(lake: AthenaLake, athena: Any, query: str) -> tuple[list[tuple[Any, ...]], int]:
    """The rows of a query, and the bytes that it scanned."""
    # DuckDB's word for a share of rows; Athena's has none.
    execution_id = lake.run(query.replace(" percent)", ")"))
    execution = athena.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]
    return lake.rows(execution_id), int(execution["Statistics"]["DataScannedInBytes"])


def _make_text_table(local: LocalAthena, lake: AthenaLake, bucket: str, since: datetime, until: datetime) -> None:
    """AWS's table `vpc_flow_logs`, a partition a day."""
    local.client("glue").create_database(DatabaseInput={"Name": TEXT})
    lake.run(
        f"create external table `{TEXT}`.`vpc_flow_logs` ({_COLUMNS}) partitioned by (`day` string) "
        f"row format delimited fields terminated by ' ' location 's3://{bucket}/' "
        "tblproperties ('skip.header.line.count' = '1')"
    )
    listed = pages(local.client("s3"), "list_objects_v2", "Contents", Bucket=bucket)
    for folder in sorted({str(item["Key"]).rpartition("/")[0] for item in listed}):
        day = "-".join(folder.split("/")[-3:])
        if f"{since:%Y-%m-%d}" <= day <= f"{until:%Y-%m-%d}":
            lake.run(
                f"alter table `{TEXT}`.`vpc_flow_logs` add if not exists partition (`day` = '{day}') "
                f"location 's3://{bucket}/{folder}/'"
            )
