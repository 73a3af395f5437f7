"""Types of Hive (in Glue and its DDL) and of Trino (in queries), each as the other's."""

from __future__ import annotations

import re

TO_TRINO = {"string": "varchar", "int": "integer", "float": "real", "binary": "varbinary", "timestamp": "timestamp(6)"}
"""Hive's types as Trino's, for Iceberg tables; the others have the same name."""

TO_HIVE = {trino: hive for hive, trino in TO_TRINO.items()} | {
    name: name for name in ("boolean", "tinyint", "smallint", "bigint", "double", "date")
}


class UnsupportedTypeError(Exception):
    """A type of Trino's that no table or view of Athena has; the message is Athena's."""


def trino_type(hive: str) -> str:
    """`array<int>` is `array(integer)`, `struct<a:string>` is `row(a varchar)`."""
    name, bracket, inner = hive.partition("<")
    if not bracket:
        return TO_TRINO.get(name, name)
    parts = split_arguments(inner.rstrip()[:-1])
    if name == "struct":
        fields = (part.partition(":") for part in parts)
        return f"row({', '.join(f'{key} {trino_type(value)}' for key, _, value in fields)})"
    return f"{name}({', '.join(map(trino_type, parts))})"


def hive_type(trino: str) -> str:
    """The other way round. What Hive lacks (time zones, JSON, addresses, nulls without a type) Athena refuses."""
    if trino in TO_HIVE:
        return TO_HIVE[trino]
    name, _, inner = trino.partition("(")
    parts = split_arguments(inner[:-1]) if inner.endswith(")") else []
    match name, parts:
        case "timestamp", [_]:
            return "timestamp"
        case (("varchar" | "char" | "decimal"), [_, *_]):
            return f"{name}({','.join(parts)})"
        case "array", [item]:
            return f"array<{hive_type(item)}>"
        case "map", [key, item]:
            return f"map<{hive_type(key)},{hive_type(item)}>"
        case "row", [_, *_]:
            fields = (part.partition(" ") for part in parts)
            return f"struct<{','.join(f'{key}:{hive_type(value)}' for key, _, value in fields)}>"
    raise UnsupportedTypeError(f"Unsupported Hive type: {trino}")


def check_iceberg_type(trino: str) -> None:
    """Athena's Iceberg tables have microseconds only, and no small integers; Trino 476 turns the others into these."""
    for precision in re.findall(r"timestamp\((\d+)\)", trino):
        if precision != "6":
            raise UnsupportedTypeError(
                f'Timestamp precision ({precision}) not supported for Iceberg. Use "timestamp(6)" instead.'
            )
    if trino in ("tinyint", "smallint") or trino.startswith("char("):
        raise UnsupportedTypeError(f"Type not supported for Iceberg: {trino}")


def split_arguments(text: str) -> list[str]:
    """Split at commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
