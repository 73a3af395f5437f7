"""Statements on Athena, and what Glue says of the tables.

The names of schemas are those of the design (`core`, `ops`, ...); `AthenaSettings.schema` makes databases of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.aws import athena_settings, aws_errors, client, error_code, pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowlake.settings import Settings

_POLL_SECONDS = (0.1, 0.2, 0.3, 0.5, 1.0)
"""How long to wait before each look at a statement; the last one from then on."""


class AthenaError(FlowlakeError):
    """A statement that failed; the message has Athena's reason and the execution's id."""


def literal(value: str) -> str:
    """Quote text as Athena's queries do."""
    return "'" + value.replace("'", "''") + "'"


class AthenaLake:
    """The lake's tables on Athena, for statements one at a time."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked of any service yet. Raises AwsError when there is no region."""
        self.settings = athena_settings(settings)
        self._athena = client("athena")
        self._glue = client("glue")

    def table(self, schema: str, name: str) -> str:
        """A table's name in a query."""
        return f'"{self.settings.schema(schema)}"."{name}"'

    def run(self, statement: str) -> str:
        """Run a statement to its end; the id of its execution.

        Raises:
            AthenaError: it failed, or was cancelled.
            AwsError: Athena cannot be reached, or refuses.
        """
        with aws_errors("run a statement on Athena"):
            started = self._athena.start_query_execution(
                QueryString=statement,
                WorkGroup=self.settings.work_group,
                ResultConfiguration={"OutputLocation": f"{self.settings.location}/results/"},
            )
            execution_id = str(started["QueryExecutionId"])
            try:
                self._wait(execution_id)
            except (KeyboardInterrupt, SystemExit):
                self._athena.stop_query_execution(QueryExecutionId=execution_id)
                raise
        return execution_id

    def _wait(self, execution_id: str) -> None:
        looks = 0
        while True:
            status = self._athena.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]["Status"]
            if status["State"] == "SUCCEEDED":
                return
            if status["State"] in ("FAILED", "CANCELLED"):
                reason = " ".join(str(status.get("StateChangeReason", "no reason given")).split())
                raise AthenaError(f"Athena: {reason} ({status['State'].lower()}, execution {execution_id})")
            time.sleep(_POLL_SECONDS[min(looks, len(_POLL_SECONDS) - 1)])
            looks += 1

    def query(self, statement: str) -> list[tuple[str | None, ...]]:
        """The rows of a query, each value as Athena's text. Raises as `run`."""
        execution_id = self.run(statement)
        with aws_errors("read a result from Athena"):
            return list(self._rows(execution_id))

    def _rows(self, execution_id: str) -> Iterator[tuple[str | None, ...]]:
        paginator = self._athena.get_paginator("get_query_results")
        is_head = True
        for page in paginator.paginate(QueryExecutionId=execution_id):
            for row in page["ResultSet"]["Rows"]:
                if not is_head:  # The first row of a SELECT repeats its columns' names.
                    yield tuple(cell.get("VarCharValue") for cell in row["Data"])
                is_head = False

    def glue_table(self, schema: str, name: str) -> dict[str, Any] | None:
        """What Glue holds of a table or view, None when it is not there. Raises AwsError."""
        with aws_errors(f"ask Glue for {self.table(schema, name)}"):
            try:
                found: dict[str, Any] = self._glue.get_table(DatabaseName=self.settings.schema(schema), Name=name)
            except self._glue.exceptions.ClientError as error:
                if error_code(error) == "EntityNotFoundException":
                    return None
                raise
            return dict(found["Table"])

    def glue_tables(self, schema: str) -> list[dict[str, Any]]:
        """All that Glue holds of a schema's tables and views; nothing where it is missing. Raises AwsError."""
        database = self.settings.schema(schema)
        with aws_errors(f"ask Glue for the tables of {database}"):
            try:
                return list(pages(self._glue, "get_tables", "TableList", DatabaseName=database))
            except self._glue.exceptions.ClientError as error:
                if error_code(error) == "EntityNotFoundException":
                    return []
                raise

    def ensure_databases(self, names: Sequence[str]) -> None:
        """Make the Glue databases of schemas where they are missing. Raises AwsError."""
        for name in names:
            database = self.settings.schema(name)
            with aws_errors(f"make the Glue database {database}"):
                try:
                    self._glue.get_database(Name=database)
                    continue
                except self._glue.exceptions.ClientError as error:
                    if error_code(error) != "EntityNotFoundException":
                        raise
                try:
                    self._glue.create_database(DatabaseInput={"Name": database, "Description": "flowlake"})
                except self._glue.exceptions.ClientError as error:
                    if error_code(error) != "AlreadyExistsException":
                        raise
