"""Two records of AWS's default format, and what they come wrapped in."""

from __future__ import annotations

import json
from typing import Any

from flowlake.records.fields import V2_DEFAULT_HEADER

ONE = "2 123456789012 eni-0a1b2c3d4e5f60718 10.0.0.1 10.0.0.2 5 443 6 10 1000 1795176000 1795176060 ACCEPT OK"
TWO = ONE.replace("443", "22").replace("ACCEPT", "REJECT")


def subscription(*messages: Any, kind: str = "DATA_MESSAGE", **more: Any) -> str:
    """A document as CloudWatch Logs sends it to Firehose or to a Lambda function."""
    events = [{"id": str(number), "timestamp": 1, "message": text, **more} for number, text in enumerate(messages)]
    names = {"owner": "123456789012", "logGroup": "flows", "logStream": "eni-1-all", "subscriptionFilters": ["all"]}
    return json.dumps({"messageType": kind, **names, "logEvents": events})


CONTROL = subscription("CWL CONTROL MESSAGE: Checking health of destination Firehose.", kind="CONTROL_MESSAGE")


def firehose(*messages: Any, between: str = "") -> str:
    """Documents as Firehose writes them of a flow log whose destination it is."""
    return between.join(json.dumps({"message": message}) for message in messages)


def comma(*rows: str, end: str = "\n") -> str:
    """Rows of fields in the order of AWS's default, under a header as SQL writes it, with commas."""
    header = V2_DEFAULT_HEADER.replace("-", "_")
    return end.join([*(row.replace(" ", ",") for row in (header, *rows)), ""])


def console(*messages: str) -> str:
    """What the console of CloudWatch Logs saves of events."""
    return "".join(['"timestamp","message"\n', *(f'1795176000000,"{message}"\n' for message in messages)])
