"""Flow-log records: the fields that are known, and the formats that headers announce. Pure: no I/O."""

from __future__ import annotations

from flowlake.records.fields import FIELDS, FieldType, FlowLog, RecordField
from flowlake.records.formats import Format, format_of, parse_header

__all__ = ["FIELDS", "FieldType", "FlowLog", "Format", "RecordField", "format_of", "parse_header"]
