"""A database of the local Athena and statements in it, for tests: each waits for its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from local_athena.server import LocalAthena

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """An execution that has ended."""

    execution: dict[str, Any]
    rows: list[tuple[str | None, ...]]
    types: dict[str, str]
    update_count: int

    @property
    def state(self) -> str:
        return str(self.execution["Status"]["State"])

    @property
    def reason(self) -> str:
        return str(self.execution["Status"].get("StateChangeReason", ""))

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.execution["Status"]["AthenaError"]
        return error

    @property
    def scanned_bytes(self) -> int:
        return int(self.execution["Statistics"]["DataScannedInBytes"])


@dataclass(frozen=True)
class Database:
    """A database of Glue, and statements in it."""

    local: LocalAthena
    name: str

    @property
    def client(self) -> Any:
        return self.local.client("athena")

    def location(self, name: str) -> str:
        return f"s3://{self.local.bucket}/{self.name}/{name}"

    def start(self, statement: str, **request: Any) -> str:
        context = {"Database": self.name, "Catalog": "AwsDataCatalog"}
        defaults = {"QueryExecutionContext": context, "WorkGroup": self.local.work_group}
        started = self.client.start_query_execution(QueryString=statement, **(defaults | request))
        return str(started["QueryExecutionId"])

    def wait(self, execution_id: str) -> Answer:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            execution = self.client.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]
            if execution["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                break
            assert time.monotonic() < deadline, execution
            time.sleep(0.02)
        if execution["Status"]["State"] != "SUCCEEDED":
            return Answer(execution, [], {}, 0)
        result = self.client.get_query_results(QueryExecutionId=execution_id)
        columns = result["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
        rows = [tuple(cell.get("VarCharValue") for cell in row["Data"]) for row in result["ResultSet"]["Rows"]]
        if execution["SubstatementType"] == "SELECT":
            assert rows[0] == tuple(column["Name"] for column in columns)
            del rows[0]
        return Answer(execution, rows, {column["Name"]: column["Type"] for column in columns}, result["UpdateCount"])

    def run(self, statement: str, **request: Any) -> Answer:
        """Run a statement to its end, whichever that is."""
        return self.wait(self.start(statement, **request))

    def do(self, statement: str, **request: Any) -> Answer:
        """Run a statement that must succeed."""
        answer = self.run(statement, **request)
        assert answer.state == "SUCCEEDED", answer.reason
        return answer

    def rows(self, query: str) -> list[tuple[str | None, ...]]:
        return sorted(self.do(query).rows, key=repr)

    def creation(self, name: str, query: str, partitioning: str = "") -> str:
        """The statement that makes an Iceberg table of a query's rows."""
        partitioned = f", partitioning=ARRAY['{partitioning}']" if partitioning else ""
        return (
            f'create table "{self.name}"."{name}" with (table_type=\'ICEBERG\', is_external=false, '
            f"location='{self.location(name)}'{partitioned}, format='PARQUET') as {query}"
        )

    def create_table(self, name: str, query: str, partitioning: str = "") -> Answer:
        return self.do(self.creation(name, query, partitioning))
