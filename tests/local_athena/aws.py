"""S3, Glue and STS: moto's server, and what Trino and Athena ask of Glue beyond it.

Run as a process of its own (`python -m local_athena.aws FILE`, which says its port there), so that it and the Athena
API do not share one interpreter's lock. Everything is in memory, and gone when it ends.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from moto.core.responses import ActionResult
from moto.glue import utils
from moto.glue.exceptions import EntityNotFoundException, GlueClientError
from moto.glue.responses import GlueResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from local_athena.faults import ApiError, Faults

ACCOUNT = "123456789012"
"""Whose everything is, for moto."""

ARRIVALS_PATH = "/local/arrivals"
FAULTS_PATH = "/local/faults"

_changes = threading.Lock()


def update_table(response: GlueResponse) -> ActionResult:
    """Glue's optimistic lock: an update that names a version which is no longer the newest changes nothing.

    Iceberg's commits rest on it. Without the check two writers both succeed, and the rows of one are lost.
    `SkipArchive` keeps no older version, or a test of many commits would keep all of their metadata.
    """
    request = response.parameters
    with _changes:
        table = response.glue_backend.get_table(request["DatabaseName"], request["TableInput"]["Name"])
        current = str(table.as_dict()["VersionId"])
        expected = request.get("VersionId")
        if expected is not None and expected != current:
            raise GlueClientError("ConcurrentModificationException", f"Version {expected} is not {current}.")
        table.update(request["TableInput"])
        if request.get("SkipArchive"):
            table.versions.pop(current, None)
    return ActionResult({})


def create_table(response: GlueResponse) -> ActionResult:
    """Of two that make the same table one fails: moto looks and makes in two steps, and its calls are threads."""
    with _changes:
        return _moto_create_table(response)


def create_partitions(response: GlueResponse) -> ActionResult:
    """As `create_table`, for partitions."""
    with _changes:
        return _moto_create_partitions(response)


def get_partitions(response: GlueResponse) -> ActionResult:
    """Partitions by segments: Trino asks for several at once, and moto would answer each with all partitions."""
    answer = _moto_get_partitions(response)
    segment = response.parameters.get("Segment")
    if segment is None:
        return answer
    result: dict[str, Any] = answer.result  # type: ignore[assignment] # moto does not say
    number, total = segment["SegmentNumber"], segment["TotalSegments"]
    return ActionResult(result | {"Partitions": result["Partitions"][number::total]})


def no_column_statistics(_response: GlueResponse) -> ActionResult:
    """A table without statistics, which Glue allows; moto has no such call, and Trino plans every query with one."""
    return ActionResult({"ColumnStatisticsList": [], "Errors": []})


def forget_column_statistics(_response: GlueResponse) -> ActionResult:
    """Taken and not kept."""
    return ActionResult({"Errors": []})


def no_functions(response: GlueResponse) -> ActionResult:
    """A database without functions of its own; Trino looks for them when it meets a function's name."""
    response.glue_backend.get_database(response.parameters["DatabaseName"])
    return ActionResult({"UserDefinedFunctions": []})


def no_function(response: GlueResponse) -> ActionResult:
    """As `no_functions`, by name."""
    raise EntityNotFoundException(f"Function {response.parameters.get('FunctionName')} not found.")


OVERLAY: dict[str, Callable[[GlueResponse], ActionResult]] = {
    "create_table": create_table,
    "update_table": update_table,
    "batch_create_partition": create_partitions,
    "get_partitions": get_partitions,
    "get_column_statistics_for_table": no_column_statistics,
    "get_column_statistics_for_partition": no_column_statistics,
    "update_column_statistics_for_table": forget_column_statistics,
    "update_column_statistics_for_partition": forget_column_statistics,
    "delete_column_statistics_for_table": forget_column_statistics,
    "delete_column_statistics_for_partition": forget_column_statistics,
    "get_user_defined_functions": no_functions,
    "get_user_defined_function": no_function,
}
"""Calls of Glue, by moto's names for them."""

_moto_create_table = GlueResponse.create_table
_moto_create_partitions = GlueResponse.batch_create_partition
_moto_get_partitions = GlueResponse.get_partitions
_moto_cast = utils._cast


def cast_partition_value(type_name: str, value: Any) -> Any:
    """A partition's value by its type, for filters: moto knows no types with a length."""
    return _moto_cast(type_name.partition("(")[0].strip().lower(), value)


def install_overlay() -> None:
    """Give moto's Glue what it lacks, in this process."""
    for name, answer in OVERLAY.items():
        setattr(GlueResponse, name, answer)
    utils._cast = cast_partition_value  # type: ignore[assignment] # returns more types


def set_arrival(bucket: str, key: str, seconds: int) -> None:
    """Say when an object was written, which S3 itself decides: in Unix time."""
    s3: Any = s3_backends[ACCOUNT]["aws"]
    s3.get_object(bucket, key).last_modified = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def operation_of(environ: dict[str, Any]) -> str:
    """The name of a call of Glue or S3: `UpdateTable`, `PutObject`."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    kind = "Object" if environ["PATH_INFO"].strip("/").count("/") else "Bucket"
    return f"{environ['REQUEST_METHOD'].capitalize()}{kind}"


def refusal(error: ApiError, environ: dict[str, Any]) -> tuple[str, bytes]:
    """An error as Glue (JSON) or S3 (XML) says it: the type of its content, and that."""
    if "HTTP_X_AMZ_TARGET" in environ:
        return "application/x-amz-json-1.1", json.dumps({"__type": error.name, "message": str(error)}).encode()
    text = f"<Error><Code>{escape(error.name)}</Code><Message>{escape(str(error))}</Message></Error>"
    return "application/xml", text.encode()


class Application(DomainDispatcherApplication):
    """moto, with errors on demand, and a path beside it for what tests want and AWS has no call for."""

    faults = Faults()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == ARRIVALS_PATH:
            set_arrival(**_body(environ))
        elif path == FAULTS_PATH and method == "POST":
            self.faults.add(_body(environ))
        elif path == FAULTS_PATH:
            self.faults.clear()
        else:
            return self.answer(environ, start_response)
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    def answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        """What moto says, unless a fault is due, before or after."""
        operation = operation_of(environ)
        try:
            self.faults.call(operation)
            if not self.faults.has_lost(operation):
                return super().__call__(environ, start_response)
            for _ in super().__call__(environ, lambda *_, **__: None):
                pass
            self.faults.call(operation, is_done=True)
        except ApiError as error:
            kind, content = refusal(error, environ)
            # A body that was not read would be taken for the next call.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            head = [("Content-Type", kind), ("Content-Length", str(len(content)))]
            start_response(f"{error.status} {error.name}", head)
            return [content]
        raise AssertionError(operation)


def _body(environ: dict[str, Any]) -> Any:
    return json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))


class Handler(MotoRequestHandler):
    """Headers and body are two writes; the second one must not wait until the client has confirmed the first."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not every call; errors are logged."""


def serve(port_file: Path) -> None:
    """Answer on 127.0.0.1 until the process ends, on a port that the system gives: nobody else can have it."""
    install_overlay()
    application = Application(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    aside = port_file.with_suffix(".new")
    aside.write_text(str(server.port))
    aside.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
