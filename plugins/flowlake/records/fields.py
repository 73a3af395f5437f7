"""The fields that a flow-log record may hold: data only.

Source: the Amazon VPC user guide, "Flow log records" (versions 2 to 11, as of June 2026), and the Transit Gateway
guide, "Transit Gateway Flow Logs records" (version 6). A field that is missing here is kept
aside and reported, never fatal; when AWS publishes a new version, add its fields here and to the staging models.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FieldType(StrEnum):
    """The type of a field in Parquet objects; in text every field is text, and `-` where it does not apply."""

    STRING = "string"
    INT32 = "int32"
    INT64 = "int64"


class FlowLog(StrEnum):
    """The kind of flow log that introduced a field."""

    VPC = "vpc"
    TRANSIT_GATEWAY = "transit_gateway"


@dataclass(frozen=True)
class RecordField:
    """One field: its name in text headers, its type, and the record version that introduced it."""

    name: str
    type: FieldType
    version: int
    flow_log: FlowLog = FlowLog.VPC

    @property
    def column(self) -> str:
        """The field's name in Parquet objects and in tables."""
        return self.name.replace("-", "_")


_STRING, _INT32, _INT64 = FieldType.STRING, FieldType.INT32, FieldType.INT64

VPC_FIELDS: tuple[RecordField, ...] = (
    RecordField("version", _INT32, 2),
    RecordField("account-id", _STRING, 2),
    RecordField("interface-id", _STRING, 2),
    RecordField("srcaddr", _STRING, 2),
    RecordField("dstaddr", _STRING, 2),
    RecordField("srcport", _INT32, 2),
    RecordField("dstport", _INT32, 2),
    RecordField("protocol", _INT32, 2),
    RecordField("packets", _INT64, 2),
    RecordField("bytes", _INT64, 2),
    RecordField("start", _INT64, 2),
    RecordField("end", _INT64, 2),
    RecordField("action", _STRING, 2),
    RecordField("log-status", _STRING, 2),
    RecordField("vpc-id", _STRING, 3),
    RecordField("subnet-id", _STRING, 3),
    RecordField("instance-id", _STRING, 3),
    RecordField("tcp-flags", _INT32, 3),
    RecordField("type", _STRING, 3),
    RecordField("pkt-srcaddr", _STRING, 3),
    RecordField("pkt-dstaddr", _STRING, 3),
    RecordField("region", _STRING, 4),
    RecordField("az-id", _STRING, 4),
    RecordField("sublocation-type", _STRING, 4),
    RecordField("sublocation-id", _STRING, 4),
    RecordField("pkt-src-aws-service", _STRING, 5),
    RecordField("pkt-dst-aws-service", _STRING, 5),
    RecordField("flow-direction", _STRING, 5),
    RecordField("traffic-path", _INT32, 5),
    RecordField("ecs-cluster-arn", _STRING, 7),
    RecordField("ecs-cluster-name", _STRING, 7),
    RecordField("ecs-container-instance-arn", _STRING, 7),
    RecordField("ecs-container-instance-id", _STRING, 7),
    RecordField("ecs-container-id", _STRING, 7),
    RecordField("ecs-second-container-id", _STRING, 7),
    RecordField("ecs-service-name", _STRING, 7),
    RecordField("ecs-task-definition-arn", _STRING, 7),
    RecordField("ecs-task-arn", _STRING, 7),
    RecordField("ecs-task-id", _STRING, 7),
    RecordField("reject-reason", _STRING, 8),
    RecordField("resource-id", _STRING, 9),
    RecordField("encryption-status", _INT32, 10),
    RecordField("instance-tag", _STRING, 11),
    RecordField("instance-tag-2", _STRING, 11),
    RecordField("interface-tag", _STRING, 11),
    RecordField("interface-tag-2", _STRING, 11),
    RecordField("asg-tag", _STRING, 11),
    RecordField("asg-tag-2", _STRING, 11),
    RecordField("interface-type", _STRING, 11),
    RecordField("next-hop-interface-id", _STRING, 11),
    RecordField("next-hop-subnet-id", _STRING, 11),
    RecordField("next-hop-az-id", _STRING, 11),
    RecordField("next-hop-vpc-id", _STRING, 11),
    RecordField("next-hop-interface-type", _STRING, 11),
)

TRANSIT_GATEWAY_FIELDS: tuple[RecordField, ...] = (
    RecordField("resource-type", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-attachment-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-src-vpc-account-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-dst-vpc-account-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-src-vpc-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-dst-vpc-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-src-subnet-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-dst-subnet-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-src-eni", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-dst-eni", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-src-az-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-dst-az-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("tgw-pair-attachment-id", _STRING, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("packets-lost-no-route", _INT64, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("packets-lost-blackhole", _INT64, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("packets-lost-mtu-exceeded", _INT64, 6, FlowLog.TRANSIT_GATEWAY),
    RecordField("packets-lost-ttl-expired", _INT64, 6, FlowLog.TRANSIT_GATEWAY),
)

FIELDS: tuple[RecordField, ...] = VPC_FIELDS + TRANSIT_GATEWAY_FIELDS

FIELDS_BY_NAME: dict[str, RecordField] = {field.name: field for field in FIELDS}
FIELDS_BY_COLUMN: dict[str, RecordField] = {field.column: field for field in FIELDS}

V2_DEFAULT_HEADER = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)
"""The default format of VPC flow logs."""

TGW_DEFAULT_HEADER = (
    "version resource-type account-id tgw-id tgw-attachment-id tgw-src-vpc-account-id tgw-dst-vpc-account-id "
    "tgw-src-vpc-id tgw-dst-vpc-id tgw-src-subnet-id tgw-dst-subnet-id tgw-src-eni tgw-dst-eni tgw-src-az-id "
    "tgw-dst-az-id tgw-pair-attachment-id srcaddr dstaddr srcport dstport protocol packets bytes start end "
    "log-status type packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded "
    "packets-lost-ttl-expired tcp-flags region flow-direction pkt-src-aws-service pkt-dst-aws-service"
)
"""The default format of Transit Gateway flow logs: their fields of versions 2 to 6, in AWS' order."""
