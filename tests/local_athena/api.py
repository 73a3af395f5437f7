"""Athena's API (AWS JSON 1.1 over HTTP) in front of Trino: what boto3, PyAthena and dbt-athena call.

An operation that is missing here is refused by name, so that a client that needs it says so.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.exceptions import ClientError

from local_athena.ddl import Context, translate
from local_athena.executions import Execution, Request, Runner, State, pages, split_location, values
from local_athena.faults import ApiError, invalid
from local_athena.senders import Sender, sender_of
from local_athena.sql import SqlError
from local_athena.trino import ICEBERG_CATALOG
from local_athena.work_groups import WorkGroup, WorkGroups

TARGET = "AmazonAthena."
FAULTS_PATH = "/local/faults"
"""POST a fault here and it happens; DELETE ends all that are waiting. No AWS client ever asks for a path."""

LONGEST_STATEMENT = 262_144
LARGEST_PAGE = 1000
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A request token and the execution that it stands for: the same call again is the same execution."""

    request: str
    """The request's digest: statements are long, and a token is remembered for ever."""
    execution_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    lock: threading.Lock = field(default_factory=threading.Lock)


class Athena:
    """The operations, each from a request's JSON to a response's."""

    def __init__(self, runner: Runner, stacked_groups: Any) -> None:
        self.runner = runner
        self.glue = runner.glue
        self.s3 = runner.s3
        self.faults = runner.faults
        self.senders = runner.senders
        self.work_groups = WorkGroups(stacked_groups)
        self.executions: dict[str, Execution] = {}
        self.tokens: dict[str, Claim] = {}
        self.operations: Mapping[str, Callable[[Parameters], dict[str, Any]]] = {
            "StartQueryExecution": self.start_query_execution,
            "StopQueryExecution": self.stop_query_execution,
            "GetQueryExecution": self.get_query_execution,
            "BatchGetQueryExecution": self.batch_get_query_execution,
            "ListQueryExecutions": self.list_query_executions,
            "GetQueryResults": self.get_query_results,
            "GetWorkGroup": lambda request: {"WorkGroup": self.work_groups.get(request["WorkGroup"]).describe()},
            "ListWorkGroups": self.list_work_groups,
            "CreateWorkGroup": self.create_work_group,
            "UpdateWorkGroup": self.update_work_group,
            "DeleteWorkGroup": self.delete_work_group,
            "GetDataCatalog": self.get_data_catalog,
            "ListDataCatalogs": self.list_data_catalogs,
            "GetDatabase": self.get_database,
            "ListDatabases": self.list_databases,
            "GetTableMetadata": self.get_table_metadata,
            "ListTableMetadata": self.list_table_metadata,
        }

    def call(self, operation: str, request: Parameters, sender: Sender) -> dict[str, Any]:
        """Answer a call; ApiError if it is refused."""
        self.faults.call(operation)
        if operation not in self.operations:
            raise ApiError("UnknownOperationException", f"the local Athena does not know {operation}")
        try:
            role = self.require(operation, request, sender)
            if operation == "StartQueryExecution":
                answer = self.start_query_execution(request, role)
            else:
                answer = self.operations[operation](request)
        except KeyError as error:
            raise invalid(f"1 validation error detected: Value null at {error} must not be null") from error
        self.faults.call(operation, is_done=True)
        return answer

    def require(self, operation: str, request: Parameters, sender: Sender) -> str:
        """The sender's role, empty for an administrator; ApiError where it may not do this."""
        return self.senders.require(sender, *self.needs(operation, request)) if sender.is_role else ""

    def needs(self, operation: str, request: Parameters) -> list[tuple[str, str]]:
        """What a call needs: actions, and what of Athena's or which S3 ARN they are on."""
        action = f"athena:{operation}"
        if catalog := request.get("CatalogName") or (operation == "GetDataCatalog" and request["Name"]):
            return [(action, f"datacatalog/{catalog}")]
        if operation == "BatchGetQueryExecution":
            groups = {self.find(one).request.work_group for one in request["QueryExecutionIds"]}
            return [(action, f"workgroup/{group}") for group in sorted(groups)]
        if operation.startswith("List") and "WorkGroup" not in request:
            return [(action, "*")]
        if "QueryExecutionId" in request:
            execution = self.find(request["QueryExecutionId"])
            needs = [(action, f"workgroup/{execution.request.work_group}")]
            if operation == "GetQueryResults" and execution.is_query:  # Athena reads the file, as who asks
                needs.append(("s3:GetObject", f"arn:aws:s3:::{'/'.join(split_location(execution.location))}"))
            return needs
        group = request.get("WorkGroup", request.get("Name", "primary"))
        needs = [(action, f"workgroup/{group}")]
        if operation == "StartQueryExecution":
            output = self.work_groups.get(group).output_of(request.get("ResultConfiguration", {}).get("OutputLocation"))
            needs.append(("s3:GetBucketLocation", f"arn:aws:s3:::{split_location(output)[0]}"))
        return needs

    # Executions

    def start_query_execution(self, request: Parameters, role: str = "") -> dict[str, Any]:
        statement, group = request["QueryString"], self.work_groups.get(request.get("WorkGroup", "primary"))
        if len(statement.encode()) > LONGEST_STATEMENT:
            raise invalid(
                "1 validation error detected: Value at 'queryString' failed to satisfy constraint: "
                f"Member must have length less than or equal to {LONGEST_STATEMENT}"
            )
        if group.state != "ENABLED":
            raise invalid(f"WorkGroup {group.name} is disabled.")
        claim = Claim(hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest())
        token = request.get("ClientRequestToken", claim.execution_id)
        first = self.tokens.setdefault(token, claim)
        if first.request != claim.request:
            raise invalid("Idempotent parameters do not match")
        with first.lock:  # a second call waits here for what becomes of the first
            if first.execution_id not in self.executions:
                understood = replace(self.understand(request, group, first.execution_id), role=role)
                execution = self.runner.start(first.execution_id, understood)
                if execution.syntax_error is not None:
                    raise invalid(execution.syntax_error, "MALFORMED_QUERY")
                self.executions[execution.id] = execution
        return {"QueryExecutionId": first.execution_id}

    def understand(self, request: Parameters, group: WorkGroup, execution_id: str) -> Request:
        """What a call of StartQueryExecution means."""
        context = request.get("QueryExecutionContext", {})
        database, catalog = context.get("Database"), context.get("Catalog")
        if catalog is not None and catalog.lower() != ICEBERG_CATALOG:
            raise invalid(f"Catalog {catalog} does not exist", "CATALOG_NOT_FOUND")
        output = group.output_of(request.get("ResultConfiguration", {}).get("OutputLocation"))
        self.check_bucket(output)
        understood = Context(
            schema=(database or "default").lower(),
            tables_location=f"{output}tables/{execution_id}",
            is_location_enforced=group.is_location_enforced,
        )
        try:
            plan = translate(request["QueryString"], understood)
        except SqlError as error:
            raise invalid(str(error), "MALFORMED_QUERY") from error
        return Request(
            statement=request["QueryString"],
            plan=plan,
            work_group=group.name,
            output=output,
            database=database and database.lower(),
            catalog=catalog,
            parameters=tuple(request.get("ExecutionParameters", ())),
            cutoff_bytes=group.cutoff_bytes,
        )

    def check_bucket(self, output: str) -> None:
        bucket, _ = split_location(output)
        try:
            self.s3.get_bucket_location(Bucket=bucket)
        except ClientError as error:
            raise invalid(f"Unable to verify/create output bucket {bucket}") from error

    def find(self, execution_id: str) -> Execution:
        if execution_id not in self.executions:
            raise invalid(f"QueryExecution {execution_id} was not found", "QUERY_EXECUTION_NOT_FOUND")
        return self.executions[execution_id]

    def stop_query_execution(self, request: Parameters) -> dict[str, Any]:
        self.find(request["QueryExecutionId"]).stop.set()
        return {}

    def get_query_execution(self, request: Parameters) -> dict[str, Any]:
        return {"QueryExecution": self.find(request["QueryExecutionId"]).describe()}

    def batch_get_query_execution(self, request: Parameters) -> dict[str, Any]:
        asked = request["QueryExecutionIds"]
        if not 1 <= len(asked) <= 50:
            raise invalid("between 1 and 50 QueryExecutionIds are allowed")
        unknown = {"ErrorCode": "INTERNAL_FAILURE", "ErrorMessage": "QueryExecution was not found"}
        return {
            "QueryExecutions": [self.executions[one].describe() for one in asked if one in self.executions],
            "UnprocessedQueryExecutionIds": [
                {"QueryExecutionId": one} | unknown for one in asked if one not in self.executions
            ],
        }

    def list_query_executions(self, request: Parameters) -> dict[str, Any]:
        group = self.work_groups.get(request.get("WorkGroup", "primary"))
        newest_first = [one.id for one in list(self.executions.values())[::-1] if one.request.work_group == group.name]
        return paged("QueryExecutionIds", newest_first, request, 50)

    def get_query_results(self, request: Parameters) -> dict[str, Any]:
        execution = self.find(request["QueryExecutionId"])
        size = request.get("MaxResults", LARGEST_PAGE)
        if not 1 <= size <= LARGEST_PAGE:
            raise invalid(f"MaxResults is more than maximum allowed length {LARGEST_PAGE}.")
        if not execution.state.is_final:
            raise invalid(
                f"Query has not yet finished. Current state: {execution.state}", "INVALID_QUERY_EXECUTION_STATE"
            )
        if execution.state is State.CANCELLED:
            raise invalid("Could not find results", "RESULT_NOT_FOUND")
        if execution.state is State.FAILED:
            raise invalid(
                f"Query did not finish successfully. Final query state: {execution.state}",
                "INVALID_QUERY_EXECUTION_STATE",
            )
        header: list[list[str | None]] = (
            [[column["Name"] for column in execution.columns]] if execution.is_query else []
        )
        rows = self.runner.shelf.rows(execution) if execution.is_query else execution.rows
        where, following = pages(len(header) + len(rows), request.get("NextToken"), size)
        answer = {
            "UpdateCount": execution.update_count,
            "ResultSet": {
                "Rows": [values(row) for row in (header + rows)[where]],
                "ResultSetMetadata": {"ColumnInfo": execution.columns},
            },
        }
        return answer if following is None else answer | {"NextToken": following}

    # Work groups

    def list_work_groups(self, request: Parameters) -> dict[str, Any]:
        described = [group.describe() for group in self.work_groups.groups.values()]
        keys = ("Name", "State", "Description", "CreationTime")
        return paged("WorkGroups", [{key: one[key] for key in keys} for one in described], request, 50)

    def create_work_group(self, request: Parameters) -> dict[str, Any]:
        self.work_groups.create(request["Name"], request.get("Configuration", {}), request.get("Description", ""))
        return {}

    def update_work_group(self, request: Parameters) -> dict[str, Any]:
        self.work_groups.update(request["WorkGroup"], request)
        return {}

    def delete_work_group(self, request: Parameters) -> dict[str, Any]:
        self.work_groups.delete(request["WorkGroup"])
        return {}

    # The catalog, from Glue

    def get_data_catalog(self, request: Parameters) -> dict[str, Any]:
        check_catalog(request["Name"])
        return {"DataCatalog": {"Name": "AwsDataCatalog", "Type": "GLUE", "Description": "", "Parameters": {}}}

    def list_data_catalogs(self, _request: Parameters) -> dict[str, Any]:
        return {"DataCatalogsSummary": [{"CatalogName": "AwsDataCatalog", "Type": "GLUE"}]}

    def get_database(self, request: Parameters) -> dict[str, Any]:
        check_catalog(request["CatalogName"])
        with_name = self.from_glue("get_database", Name=request["DatabaseName"].lower())
        return {"Database": database_metadata(with_name["Database"])}

    def list_databases(self, request: Parameters) -> dict[str, Any]:
        check_catalog(request["CatalogName"])
        found = [database_metadata(one) for one in self.from_glue("get_databases")["DatabaseList"]]
        return paged("DatabaseList", found, request, 50)

    def get_table_metadata(self, request: Parameters) -> dict[str, Any]:
        check_catalog(request["CatalogName"])
        found = self.from_glue(
            "get_table", DatabaseName=request["DatabaseName"].lower(), Name=request["TableName"].lower()
        )
        return {"TableMetadata": table_metadata(found["Table"])}

    def list_table_metadata(self, request: Parameters) -> dict[str, Any]:
        check_catalog(request["CatalogName"])
        expression = {"Expression": request["Expression"]} if request.get("Expression") else {}
        found = self.from_glue("get_tables", DatabaseName=request["DatabaseName"].lower(), **expression)
        return paged("TableMetadataList", [table_metadata(table) for table in found["TableList"]], request, 50)

    def from_glue(self, call: str, **arguments: Any) -> dict[str, Any]:
        """An answer of Glue's; its errors are Athena's MetadataException."""
        try:
            answer: dict[str, Any] = getattr(self.glue, call)(**arguments)
        except ClientError as error:
            raise ApiError("MetadataException", str(error.response["Error"]["Message"])) from error
        return answer


def check_catalog(name: str) -> None:
    if name.lower() != ICEBERG_CATALOG:
        raise invalid(f"Data catalog {name} was not found", "CATALOG_NOT_FOUND")


def paged(name: str, things: list[Any], request: Parameters, size: int) -> dict[str, Any]:
    """A page of a list operation."""
    where, following = pages(len(things), request.get("NextToken"), request.get("MaxResults", size))
    return {name: things[where]} if following is None else {name: things[where], "NextToken": following}


def database_metadata(database: Parameters) -> dict[str, Any]:
    """Athena's Database, from Glue's."""
    return {
        "Name": database["Name"],
        "Description": database.get("Description") or "",
        "Parameters": database.get("Parameters") or {},
    }


def table_metadata(table: Parameters) -> dict[str, Any]:
    """Athena's TableMetadata, from Glue's Table; what Glue keeps of the storage is among the parameters."""
    storage = table.get("StorageDescriptor") or {}
    serde = storage.get("SerdeInfo") or {}
    extra = {
        "location": storage.get("Location"),
        "inputformat": storage.get("InputFormat"),
        "outputformat": storage.get("OutputFormat"),
        "serde.serialization.lib": serde.get("SerializationLibrary"),
    }
    return {
        "Name": table["Name"],
        "CreateTime": table["CreateTime"].timestamp(),
        "TableType": table.get("TableType", ""),
        "Columns": [_column(column) for column in storage.get("Columns", [])],
        "PartitionKeys": [_column(column) for column in table.get("PartitionKeys", [])],
        "Parameters": (table.get("Parameters") or {}) | {name: text for name, text in extra.items() if text},
    }


def _column(column: Parameters) -> dict[str, str]:
    return {key: column[key] for key in ("Name", "Type", "Comment") if column.get(key)}


class Handler(BaseHTTPRequestHandler):
    """One connection of a client; the server holds the API."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: the second would wait for the client's word on the first
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            request = json.loads(body or b"{}")
            if self.path == FAULTS_PATH:
                self.server.athena.faults.add(request)
                self.answer(200, {})
                return
            target = self.headers.get("X-Amz-Target", "")
            if not target.startswith(TARGET):
                raise ApiError("UnknownOperationException", f"no operation of Athena: {target!r}")
            self.answer(
                200, self.server.athena.call(target.removeprefix(TARGET), request, sender_of(dict(self.headers)))
            )
        except ApiError as error:
            self.answer(error.status, {"__type": error.name, "Message": str(error)} | error.details)
        except Exception as error:
            self.log_error("%r", error)
            self.answer(500, {"__type": "InternalServerException", "Message": f"{type(error).__name__}: {error}"})

    def do_DELETE(self) -> None:
        self.server.athena.faults.clear()
        self.answer(200, {})

    def answer(self, status: int, content: Parameters) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not every call; errors are logged."""


class Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1."""

    daemon_threads = True
    request_queue_size = 128  # clients that come at the same time; with five places the others wait a second

    def __init__(self, athena: Athena) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.athena = athena

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed hangs up in the middle of a call; that is no error of this one."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"
