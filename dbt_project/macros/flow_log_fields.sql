{#-
  The fields of VPC flow logs (versions 2 to 11) and of Transit Gateway flow logs (version 6): text name, our column,
  type. The same table stands in flowlake.records; a test holds the two equal.
-#}
{% macro flow_log_fields() -%}
    {%- set integers = ["version", "srcport", "dstport", "protocol", "tcp-flags", "traffic-path", "encryption-status"] -%}
    {%- set bigints = [
        "packets", "bytes", "start", "end", "packets-lost-no-route", "packets-lost-blackhole",
        "packets-lost-mtu-exceeded", "packets-lost-ttl-expired",
    ] -%}
    {%- set renamed = {"start": "start_at", "end": "end_at"} -%}
    {%- set names = [
        "version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol", "packets",
        "bytes", "start", "end", "action", "log-status", "vpc-id", "subnet-id", "instance-id", "tcp-flags", "type",
        "pkt-srcaddr", "pkt-dstaddr", "region", "az-id", "sublocation-type", "sublocation-id", "pkt-src-aws-service",
        "pkt-dst-aws-service", "flow-direction", "traffic-path", "ecs-cluster-arn", "ecs-cluster-name",
        "ecs-container-instance-arn", "ecs-container-instance-id", "ecs-container-id", "ecs-second-container-id",
        "ecs-service-name", "ecs-task-definition-arn", "ecs-task-arn", "ecs-task-id", "reject-reason", "resource-id",
        "encryption-status", "instance-tag", "instance-tag-2", "interface-tag", "interface-tag-2", "asg-tag",
        "asg-tag-2", "interface-type", "next-hop-interface-id", "next-hop-subnet-id", "next-hop-az-id",
        "next-hop-vpc-id", "next-hop-interface-type",
        "resource-type", "tgw-id", "tgw-attachment-id", "tgw-src-vpc-account-id", "tgw-dst-vpc-account-id",
        "tgw-src-vpc-id", "tgw-dst-vpc-id", "tgw-src-subnet-id", "tgw-dst-subnet-id", "tgw-src-eni", "tgw-dst-eni",
        "tgw-src-az-id", "tgw-dst-az-id", "tgw-pair-attachment-id", "packets-lost-no-route", "packets-lost-blackhole",
        "packets-lost-mtu-exceeded", "packets-lost-ttl-expired",
    ] -%}
    {%- set fields = [] -%}
    {%- for name in names -%}
        {%- set column = name | replace("-", "_") -%}
        {%- do fields.append({
            "name": name,
            "raw_column": column,
            "column": renamed.get(name, column),
            "type": "integer" if name in integers else "bigint" if name in bigints else "varchar",
        }) -%}
    {%- endfor -%}
    {{ return(fields) }}
{%- endmacro %}

{#- The columns of packets that a Transit Gateway lost, a reason each. -#}
{% macro lost_packets() -%}
    {{ return([
        "packets_lost_no_route", "packets_lost_blackhole", "packets_lost_mtu_exceeded", "packets_lost_ttl_expired"
    ]) }}
{%- endmacro %}

{#- What tells one flow through a Transit Gateway from another, in an hour. -#}
{% macro gateway_flow_key() -%}
    {{ return([
        "event_hour", "flow_log_id", "tgw_id", "attachment_id", "pair_attachment_id", "flow_direction",
        "src_vpc_id", "dst_vpc_id", "src_account_id", "dst_account_id", "src_address", "dst_address",
        "protocol", "service_port", "src_role"
    ]) }}
{%- endmacro %}
