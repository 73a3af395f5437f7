"""The published tables as Airflow assets, so that other people's DAGs can follow them.

A DAG that should run whenever a table was published schedules itself on the table's asset:

    from airflow.sdk import DAG, Asset

    with DAG("my_dag", schedule=[Asset("x-flowlake://flowlake/fct_edges")]): ...
"""

from __future__ import annotations

from airflow.sdk import Asset  # noqa: TID253 - this package is where Airflow is imported

PUBLISHED_SCHEMA = "flowlake"

PUBLISHED_TABLES: tuple[str, ...] = (
    "dim_devices",
    "dim_interfaces",
    "fct_coverage",
    "fct_edges",
    "fct_gateway_flows",
    "rpt_denied_spikes",
    "rpt_gateway_flows",
    "rpt_graph_size",
    "rpt_graph_size_hourly",
    "rpt_https_servers",
    "rpt_internal_external",
    "rpt_pairs_hourly",
    "rpt_recipients",
    "rpt_rejected_by_port",
    "rpt_rejected_by_protocol",
    "rpt_rejected_ports_hourly",
    "rpt_rejected_quarter_hourly",
    "rpt_rejected_sources",
    "rpt_rejected_sources_hourly",
    "rpt_servers_hourly",
    "rpt_size_correlation",
    "rpt_sizes_hourly",
    "rpt_talkers_hourly",
    "rpt_top_pairs",
    "rpt_top_recipients",
    "rpt_top_services",
    "rpt_top_talkers",
)
"""Every published table, ascending. A test compares the list with the dbt models that say `published: true`."""


def asset(table: str) -> Asset:
    """The asset of a published table. Others depend on the URI; it is the name too, so one string finds the asset.

    The scheme starts with `x-` as Airflow wants it for schemes of one's own. Without that, Airflow looks for the scheme
    among all providers while the DAG file is parsed, and imports boto3 to do it.
    """
    return Asset(f"x-flowlake://{PUBLISHED_SCHEMA}/{table}")


def published_assets() -> list[Asset]:
    """The assets of all published tables: one publication moves them together."""
    return [asset(table) for table in PUBLISHED_TABLES]
