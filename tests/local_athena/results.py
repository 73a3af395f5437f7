"""Results as Athena writes them: every value a text, in the form that Java gives it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from local_athena.trino import Column

TYPE_NAMES = {"real": "float", "unknown": "unknown"}
"""Types that Athena calls otherwise than Trino; a type's parameters are in no type name."""

PRECISIONS = {
    "boolean": 0,
    "tinyint": 3,
    "smallint": 5,
    "integer": 10,
    "bigint": 19,
    "float": 17,
    "double": 17,
    "varchar": 2147483647,
    "varbinary": 1073741824,
    "timestamp": 3,
    "timestamp with time zone": 3,
}


def column_info(column: Column) -> dict[str, Any]:
    """Athena's ColumnInfo."""
    name = TYPE_NAMES.get(column.type_name, column.type_name)
    precision, scale = PRECISIONS.get(name, 0), 0
    if name == "decimal":
        precision, scale = (int(argument["value"]) for argument in column.signature["arguments"])
    return {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": column.name,
        "Label": column.name,
        "Type": name,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": name in ("varchar", "char"),
    }


def text_of(value: Any, signature: Mapping[str, Any]) -> str | None:
    """A value of Trino's protocol as Athena shows it; None is a null, which is no text at all."""
    if value is None:
        return None
    convert = CONVERTERS.get(signature["rawType"])
    return str(value) if convert is None else convert(value, signature)


def _boolean(value: Any, _signature: Mapping[str, Any]) -> str:
    return "true" if value else "false"


def _double(value: Any, _signature: Mapping[str, Any]) -> str:
    return java_double(float(value))


def _varbinary(value: Any, _signature: Mapping[str, Any]) -> str:
    return base64.b64decode(value).hex(" ")


def _array(value: Any, signature: Mapping[str, Any]) -> str:
    element = signature["arguments"][0]["value"]
    return f"[{', '.join(_inside(item, element) for item in value)}]"


def _map(value: Any, signature: Mapping[str, Any]) -> str:
    key, item = (argument["value"] for argument in signature["arguments"])
    return f"{{{', '.join(f'{_inside(k, key)}={_inside(v, item)}' for k, v in value.items())}}}"


def _row(value: Any, signature: Mapping[str, Any]) -> str:
    parts = []
    for index, (item, argument) in enumerate(zip(value, signature["arguments"], strict=True)):
        field = argument["value"]
        name = (field.get("fieldName") or {}).get("name") or f"field{index}"
        parts.append(f"{name}={_inside(item, field['typeSignature'])}")
    return f"{{{', '.join(parts)}}}"


def _inside(value: Any, signature: Mapping[str, Any]) -> str:
    """A value within another one, where a null is a word."""
    text = text_of(value, signature)
    return "null" if text is None else text


CONVERTERS: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "boolean": _boolean,
    "real": _double,
    "double": _double,
    "varbinary": _varbinary,
    "array": _array,
    "map": _map,
    "row": _row,
}


def java_double(value: float) -> str:
    """What Java's `Double.toString` says: the shortest digits, with an exponent below 0.001 and from 10,000,000."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else f"{text}.0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    figures = "".join(map(str, digits))
    return f"{'-' if sign else ''}{figures[0]}.{figures[1:] or '0'}E{int(exponent) + len(digits) - 1}"


def csv(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> bytes:
    """Athena's result file: everything in quotes, and nothing at all for a null."""
    lines = [columns, *rows]
    return "".join(
        ",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in line) + "\n" for line in lines
    ).encode()


CELL = re.compile(r'(?:"((?:[^"]|"")*)")?([,\n])')


def parse_csv(text: str) -> list[list[str | None]]:
    """The lines of such a file; Python's own reader takes a null for an empty text."""
    lines: list[list[str | None]] = [[]]
    for match in CELL.finditer(text):
        quoted, end = match.groups()
        lines[-1].append(None if quoted is None else quoted.replace('""', '"'))
        if end == "\n":
            lines.append([])
    return lines[:-1]


def plain(rows: Sequence[Sequence[str | None]]) -> bytes:
    """The file of a statement that is no query: a line a row, tabs between its columns."""
    return "".join("\t".join(cell or "" for cell in row) + "\n" for row in rows).encode()
