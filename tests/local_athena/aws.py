"""S3, Glue, STS, IAM and CloudFormation: moto's server, and what Trino and Athena ask of Glue beyond it.

Sessions of roles are held to their policies (`gate.py`).

Run as a process of its own (`python -m local_athena.aws FILE`, which says its port there), so that it and the Athena
API do not share one interpreter's lock. Everything is in memory, and gone when it ends.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from moto.core.responses import ActionResult
from moto.glue import utils
from moto.glue.exceptions import EntityNotFoundException, GlueClientError
from moto.glue.responses import GlueResponse
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import FakeBucket, s3_backends
from werkzeug.serving import make_server

from local_athena.calls import Call, Credential, credential, glue_call, s3_call
from local_athena.faults import ApiError, Faults
from local_athena.gate import Gate
from local_athena.policies import Need

ACCOUNT = "123456789012"
"""Whose everything is, for moto."""

LOCAL_PATH = "/local/"
"""What tests and the Athena before this ask for, and AWS has no call for, is below it."""

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


def no_permission(_bucket: FakeBucket, _action: str, _resource: str) -> PermissionResult:
    """Nothing said: moto takes a refusal with a condition for one without. The gate looks at buckets' policies."""
    return PermissionResult.NEUTRAL


def install_overlay() -> None:
    """Give moto's Glue what it lacks, in this process, and leave policies to the gate."""
    FakeBucket.get_permission = no_permission  # type: ignore[assignment,method-assign] # it says no types
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
    """moto behind the gate, with errors on demand, and paths beside it for what AWS has no call for."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        # moto looks through its own folder for each call.
        self.get_backend_for_host = cache(super().get_backend_for_host)  # type: ignore[method-assign]
        self.gate = Gate(ACCOUNT)
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(LOCAL_PATH):
            status, answer = self.local(environ)
            return respond(start_response, status, "application/json", json.dumps(answer).encode())
        signed = credential(environ.get("HTTP_AUTHORIZATION", ""))
        if signed is not None:
            with self._counting:
                self.requests[billed_as(signed.service, environ)] += 1
            if signed.service == "cloudformation":
                # It imports all of moto, which a test without a stack need not wait for.
                from local_athena.stacks import install_stacks

                install_stacks()
            try:
                self.pass_gate(signed, environ)
            except PermissionError as error:
                return refuse(environ, start_response, signed, str(error))
        return self.answer(environ, start_response)

    def pass_gate(self, signed: Credential, environ: dict[str, Any]) -> None:
        """Let a call pass. Raises PermissionError when its role may not make it."""
        role, by = self.gate.role_of(signed.key, environ.get("HTTP_X_AMZ_SECURITY_TOKEN"))
        if role:
            self.gate.require(role, by, needed(signed, environ))

    def local(self, environ: dict[str, Any]) -> tuple[int, Any]:
        """Answer a call of a path of ours: a status, and JSON."""
        request = json.loads(body_of(environ) or b"{}")
        answer: Any = {}
        match environ["PATH_INFO"].removeprefix(LOCAL_PATH):
            case "arrivals":
                set_arrival(**request)
            case "faults" if environ["REQUEST_METHOD"] == "POST":
                self.faults.add(request)
            case "faults":
                self.faults.clear()
            case "role":
                needs = Call(tuple(Need(action, resource) for action, resource in request["needs"]))
                try:
                    answer, by = self.gate.role_of(request["key"], request["token"])
                    if answer:
                        self.gate.require(answer, by, needs)
                except PermissionError as error:
                    return 403, str(error)
            case "begin":
                self.gate.begin(**request)
            case "end":
                self.gate.end(**request)
            case "needs":
                answer = self.gate.listed()
            case "requests":
                with self._counting:
                    answer = dict(self.requests)
            case unknown:
                return 404, unknown
        return 200, answer

    def answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        """What moto says, unless a fault is due, before or after."""
        operation = operation_of(environ)
        try:
            self.faults.call(operation)
            if not self.faults.has_lost(operation):
                return super().__call__(environ, start_response)
            body_of(environ)  # moto reads it to its end, and who reads it again must not wait for more
            for _ in super().__call__(environ, lambda *_, **__: None):
                pass
            self.faults.call(operation, is_done=True)
        except ApiError as error:
            kind, content = refusal(error, environ)
            body_of(environ)  # what was not read would be taken for the next call
            return respond(start_response, error.status, kind, content)
        raise AssertionError(operation)


def billed_as(service: str, environ: dict[str, Any]) -> str:
    """What kind of request a call is to the bill: `s3 write` is S3's PUT, COPY, POST and LIST; to delete is free."""
    method = environ["REQUEST_METHOD"]
    if service != "s3":
        return str(service)
    if method == "DELETE" or re.search(r"(^|&)delete(=|&|$)", environ["QUERY_STRING"]):
        return "s3 delete"
    is_list = method == "GET" and operation_of(environ) == "GetBucket"
    return "s3 read" if method in ("GET", "HEAD") and not is_list else "s3 write"


def needed(signed: Credential, environ: dict[str, Any]) -> Call:
    """What a call needs; of services that no role of ours calls, a permission by the operation's name."""
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if signed.service == "s3":
        # Only lists of keys to delete: an object may be large, and is streamed.
        body = body_of(environ) if environ["REQUEST_METHOD"] == "POST" and "delete" in environ["QUERY_STRING"] else b""
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        headers = {"x-amz-copy-source": environ.get("HTTP_X_AMZ_COPY_SOURCE", "")}
        return s3_call(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], headers, body)
    if signed.service == "glue":
        return glue_call(target, body_of(environ), signed.region, ACCOUNT)
    form = dict(urllib.parse.parse_qsl(body_of(environ).decode("utf-8", "replace")))
    operation = target or form.get("Action", environ["REQUEST_METHOD"])
    if (signed.service, operation) == ("sts", "GetCallerIdentity"):  # which nobody can be refused
        return Call(())
    return Call((Need(f"{signed.service}:{operation}", "*"),))


def body_of(environ: dict[str, Any]) -> bytes:
    """A request's body, which stays there for who comes next."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def refuse(environ: dict[str, Any], start_response: Any, signed: Credential, message: str) -> list[bytes]:
    """AWS's answer to what is not permitted, in the words of each service's protocol."""
    body_of(environ)  # what was not read would be taken for the next call
    if signed.service == "glue":
        body = json.dumps({"__type": "AccessDeniedException", "Message": message}).encode()
        return respond(start_response, 400, "application/x-amz-json-1.1", body)
    error = f"<Code>AccessDenied</Code><Message>{escape(message)}</Message>"
    document = f"<Error>{error}</Error>"
    if signed.service != "s3":
        document = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>"
    return respond(start_response, 403, "application/xml", document.encode())


def respond(start_response: Any, status: int, kind: str, body: bytes) -> list[bytes]:
    """Answer without moto."""
    start_response(
        f"{status} {HTTPStatus(status).phrase}", [("Content-Type", kind), ("Content-Length", str(len(body)))]
    )
    return [body]


class Handler(MotoRequestHandler):
    """Headers and body are two writes; the second one must not wait until the client has confirmed the first."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not every call; errors are logged."""


def serve(port_file: Path) -> None:
    """Answer on 127.0.0.1 until the process ends, on a port that the system gives: nobody else can have it."""
    install_overlay()
    application = Application()
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    aside = port_file.with_suffix(".new")
    aside.write_text(str(server.port))
    aside.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
