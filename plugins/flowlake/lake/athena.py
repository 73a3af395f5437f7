"""Statements on Athena, and what Glue says of the tables.

The names of schemas are those of the design (`core`, `ops`, ...); `AthenaSettings.schema` makes databases of them.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from flowlake.errors import FlowlakeError
from flowlake.lake.aws import athena_settings, aws_errors, client, error_code, pages
from flowlake.lake.files import S3Files
from flowlake.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from flowlake.settings import Settings

log = logging.getLogger(__name__)

_POLL_SECONDS = (0.1, 0.2, 0.3, 0.5, 1.0)
"""How long to wait before each look at a statement; the last one from then on."""

_COMMIT_SECONDS = 5.0
"""What the commit of a statement may take that was stopped in its last moment: one file in S3, one call of Glue."""

_ASKED_AT_ONCE = 50
"""Executions that Athena describes in one answer."""

_WRITTEN = ("staging", "intermediate", "core", "marts", "ops", "seeds", "raw")
"""The schemas in which a run changes tables, beside the one that people read."""

_WRITES_TO = re.compile(
    r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*+"
    r"(?:insert\s+into|merge\s+into|delete\s+from|update|optimize|vacuum|alter\s+table"
    r"|create\s+(?:external\s+)?table(?:\s+if\s+not\s+exists)?|create\s+(?:or\s+replace\s+)?view"
    r"|drop\s+(?:table|view)(?:\s+if\s+exists)?)"
    r"\s+(?:[\"`]?awsdatacatalog[\"`]?\.)?[\"`]?(\w+)[\"`]?\.",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that changes a table or view, as far as the name of its database; dbt puts a comment before it."""


class AthenaError(FlowlakeError):
    """A statement that failed; the message has Athena's reason and the execution's id."""


class AthenaLake:
    """The lake's tables on Athena, for statements one at a time."""

    def __init__(self, settings: Settings, *, asked: bool = False) -> None:
        """Nothing is asked of any service yet. Raises AwsError when there is no region.

        `asked`: what is run is no part of a run's work, but what somebody asks beside it.
        """
        self.settings = athena_settings(settings)
        self._results = self.settings.asked_results if asked else self.settings.results
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
                ResultConfiguration={"OutputLocation": self._results},
            )
            execution_id = str(started["QueryExecutionId"])
            try:
                self._wait(execution_id)
            except (KeyboardInterrupt, SystemExit):
                self.stop(execution_id)
                raise
        return execution_id

    def require_work_group(self) -> None:
        """Make sure that the results of runs go where the lake has them: by them their statements are found.

        Raises:
            SettingsError: there is none of that name.
            AthenaError: the work group keeps results itself, or puts them elsewhere.
            AwsError: Athena cannot be reached, or refuses.
        """
        name = self.settings.work_group
        with aws_errors(f"look at the work group {name}"):
            try:
                found = self._athena.get_work_group(WorkGroup=name)["WorkGroup"].get("Configuration", {})
            except self._athena.exceptions.InvalidRequestException as error:
                raise SettingsError(f"athena.work_group: {error.response['Error']['Message']}") from None
        place = str(found.get("ResultConfiguration", {}).get("OutputLocation", ""))
        if found.get("ManagedQueryResultsConfiguration", {}).get("Enabled"):
            problem = "keeps the results of queries itself"
        elif found.get("EnforceWorkGroupConfiguration") and place and not f"{place}/".startswith(self._results):
            problem = f"puts the results of queries into {place}, whatever its clients say"
        else:
            return
        raise AthenaError(
            f"the work group {name} {problem}: no run could be accounted for there, nor held to a budget; "
            "name one in athena.work_group that leaves the place of results to its clients"
        )

    def stop(self, execution_id: str) -> None:
        """Stop a statement; one that has ended is none to stop. Raises AwsError."""
        with aws_errors(f"stop the statement {execution_id}"):
            self._athena.stop_query_execution(QueryExecutionId=execution_id)

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

    def end_leftovers(self, since: datetime, patience: float) -> int:
        """End the statements that change tables of this lake and were submitted since a moment; how many there were.

        A killed process leaves its statements running, and what they commit after the next run has begun is there
        twice, or again. So they are stopped, and waited for: a statement that is being committed cannot be stopped. The
        caller holds the run lock, and has no statement under way. Readers' statements are left alone.

        Raises:
            AthenaError: one of them has not ended after `patience` seconds.
            AwsError: Athena cannot be reached, or refuses.
        """
        with aws_errors("end the statements of a run that is gone"):
            under_way = [found for found in self.executions(since) if self._is_unfinished_write(found)]
            for found in under_way:
                # DDL takes a moment, and may leave half of what it does; what has not begun can be stopped always.
                is_brief = found["StatementType"] == "DDL" and "SELECT" not in str(found.get("SubstatementType"))
                if found["Status"]["State"] == "QUEUED" or not is_brief:
                    self.stop(str(found["QueryExecutionId"]))
            deadline = time.monotonic() + patience
            for found in under_way:
                self._await_end(str(found["QueryExecutionId"]), deadline)
        if under_way:
            # An engine may call a statement cancelled while its commit, which nothing stops, is on its way.
            time.sleep(_COMMIT_SECONDS)
        return len(under_way)

    def executions(self, since: datetime) -> Iterator[dict[str, Any]]:
        """The work group's executions since a moment, and some before it: Athena lists the newest first.

        Whoever lets the SDK's own errors out of here has to name what was asked (`aws_errors`).
        """
        for ids in self._pages_of_executions():
            found = self._described(ids)
            yield from found
            if all(one["Status"]["SubmissionDateTime"] < since for one in found):
                return

    def newest_executions(self) -> list[str]:
        """The ids of the work group's newest executions, a page of them. Raises AwsError."""
        with aws_errors("list Athena's executions"):
            return next(self._pages_of_executions(), [])

    def executions_after(self, known: AbstractSet[str]) -> list[dict[str, Any]]:
        """The work group's executions that are newer than those known before (`newest_executions`). Raises AwsError."""
        new: list[str] = []
        with aws_errors("list Athena's executions"):
            for ids in self._pages_of_executions():
                new += [one for one in ids if one not in known]
                if not known.isdisjoint(ids):
                    break
            # What is new meanwhile moves the others to later pages.
            new = list(dict.fromkeys(new))
            starts = range(0, len(new), _ASKED_AT_ONCE)
            return [found for start in starts for found in self._described(new[start : start + _ASKED_AT_ONCE])]

    def update_count(self, execution_id: str) -> int | None:
        """How many rows a statement has written, where Athena says it. Raises AwsError."""
        with aws_errors("read a result from Athena"):
            answer = self._athena.get_query_results(QueryExecutionId=execution_id, MaxResults=1)
        count = answer.get("UpdateCount")
        return None if count is None else int(count)

    def _pages_of_executions(self) -> Iterator[list[str]]:
        listing = self._athena.get_paginator("list_query_executions")
        for page in listing.paginate(WorkGroup=self.settings.work_group, PaginationConfig={"PageSize": _ASKED_AT_ONCE}):
            if page["QueryExecutionIds"]:
                yield page["QueryExecutionIds"]

    def _described(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        answer = self._athena.batch_get_query_execution(QueryExecutionIds=ids)
        found = list(answer["QueryExecutions"])
        for one in answer.get("UnprocessedQueryExecutionIds", []):
            asked = self._athena.get_query_execution(QueryExecutionId=one["QueryExecutionId"])
            found.append(asked["QueryExecution"])
        return found

    def _is_unfinished_write(self, execution: dict[str, Any]) -> bool:
        if execution["Status"]["State"] not in ("QUEUED", "RUNNING"):
            return False
        target = _WRITES_TO.match(execution["Query"])
        if target is None:
            return False
        database, name = self.settings.database.lower(), target[1].lower()
        return name in {database, *(f"{database}_{schema}" for schema in _WRITTEN)}

    def _await_end(self, execution_id: str, deadline: float) -> None:
        while True:
            found = self._athena.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]
            state = found["Status"]["State"]
            if state not in ("QUEUED", "RUNNING"):
                log.warning("a run that is gone had left a statement under way: %s, %s", execution_id, state.lower())
                return
            if time.monotonic() > deadline:
                raise AthenaError(
                    f"a run that is gone has left the statement {execution_id}, which does not end: "
                    "stop it in Athena's console, then run again"
                )
            time.sleep(_POLL_SECONDS[-1])

    def query(self, statement: str) -> list[tuple[str | None, ...]]:
        """The rows of a query, each value as Athena's text. Raises as `run`."""
        return self.rows(self.run(statement))

    def rows(self, execution_id: str) -> list[tuple[str | None, ...]]:
        """The rows of a query that has ended, as `query`. Raises AwsError."""
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

    def metadata(self, table: Mapping[str, Any]) -> dict[str, Any] | None:
        """The metadata of an Iceberg table, to which what Glue holds of it points: its snapshots, without a query.

        None where it is no Iceberg table, or its metadata is gone. Raises AwsError.
        """
        folder, _, name = str(table.get("Parameters", {}).get("metadata_location", "")).rpartition("/")
        content = S3Files(folder).read(name) if folder.startswith("s3://") else None
        return None if content is None else dict(json.loads(content))

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
