"""The field lists and layouts of the sample's flow logs.

They are written out here, not taken from `flowlake.records`: a generator that shares its field catalogue with the
reader could not find an error in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


def _fields(names: str) -> tuple[str, ...]:
    """Return the field names of a header line."""
    return tuple(names.split())


V2_DEFAULT = _fields(
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)

# The order of the customer-managed example in the AWS user guide (flow-logs-records-examples), log-status last.
V5_CUSTOM_ORDER = _fields(
    "version srcaddr dstaddr srcport dstport protocol start end type packets bytes account-id vpc-id subnet-id "
    "instance-id interface-id region az-id sublocation-type sublocation-id action tcp-flags pkt-srcaddr pkt-dstaddr "
    "pkt-src-aws-service pkt-dst-aws-service traffic-path flow-direction log-status"
)

V5_ALL = V2_DEFAULT + _fields(
    "vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id "
    "pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path"
)

V11_ALL = V5_ALL + _fields(
    "ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id "
    "ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id reject-reason "
    "resource-id encryption-status instance-tag instance-tag-2 interface-tag interface-tag-2 asg-tag asg-tag-2 "
    "interface-type next-hop-interface-id next-hop-subnet-id next-hop-az-id next-hop-vpc-id "
    "next-hop-interface-type"
)

V3_CUSTOM = _fields(
    "version vpc-id subnet-id instance-id interface-id account-id type srcaddr dstaddr srcport dstport pkt-srcaddr "
    "pkt-dstaddr protocol bytes packets start end action tcp-flags log-status"
)

INT32_FIELDS = frozenset(
    {"version", "srcport", "dstport", "protocol", "tcp-flags", "traffic-path", "encryption-status"}
)


class Layout(StrEnum):
    """How the keys of a flow log's objects are built (DestinationOptions of CreateFlowLogs)."""

    PLAIN = "plain"
    HOURLY = "hourly"
    HIVE = "hive"
    HIVE_HOURLY = "hive_hourly"


class FileFormat(StrEnum):
    """FileFormat of the DestinationOptions."""

    TEXT = "text"
    PARQUET = "parquet"


class TrafficType(StrEnum):
    """Which verdicts a flow log logs."""

    ALL = "ALL"
    ACCEPT = "ACCEPT"
    REJECT = "REJECT"


@dataclass(frozen=True)
class FlowLog:
    """One flow log of the sample: whose it is, what it logs, in which fields, and how its objects lie."""

    letter: str
    flow_log_id: str
    account_id: str
    region: str
    fields: tuple[str, ...]
    version: int
    layout: Layout
    file_format: FileFormat
    traffic: TrafficType = TrafficType.ALL
    organization_id: str = ""

    @property
    def has_packet_addresses(self) -> bool:
        """Whether both packet-level addresses are among the fields."""
        return {"pkt-srcaddr", "pkt-dstaddr"} <= set(self.fields)
