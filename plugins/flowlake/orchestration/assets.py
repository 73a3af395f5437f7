"""The published tables as Airflow assets, so that other people's DAGs can follow them.

A DAG that should run whenever a table was published schedules itself on the table's asset:

    from airflow.sdk import DAG, Asset

    with DAG("my_dag", schedule=[Asset("x-flowlake://flowlake/fct_edges")]): ...

The event's extra says which event hours readers see otherwise than before, and why (`told`). Who has nothing to do but
when such hours changed after their time follows `x-flowlake://ops/restatements`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias  # noqa: TID253 - this package is where Airflow is imported

from flowlake.lake.windows import Window, format_hour

if TYPE_CHECKING:
    from flowlake.lake.restatements import Restatement

PUBLISHED_SCHEMA = "flowlake"

PUBLISHED_TABLES: tuple[str, ...] = (
    "dim_devices",
    "dim_interfaces",
    "fct_coverage",
    "fct_edges",
    "fct_flow_log_hours",
    "fct_gateway_flows",
    "fct_interface_hours",
    "rpt_completeness",
    "rpt_denied_spikes",
    "rpt_double_subscriptions",
    "rpt_gateway_flows",
    "rpt_gateway_flows_hourly",
    "rpt_graph_size",
    "rpt_graph_size_hourly",
    "rpt_https_servers",
    "rpt_internal_external",
    "rpt_pairs_hourly",
    "rpt_recipients",
    "rpt_rejected_by_port",
    "rpt_rejected_by_protocol",
    "rpt_rejected_ports_hourly",
    "rpt_rejected_protocols_hourly",
    "rpt_rejected_quarter_hourly",
    "rpt_rejected_sources",
    "rpt_rejected_sources_hourly",
    "rpt_scopes_hourly",
    "rpt_servers_hourly",
    "rpt_silences",
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


RESTATEMENTS = "x-flowlake://ops/restatements"
"""The asset of `ops.restatements`, and the alias by which a task adds its event: an outlet proper has one each time."""

HOURS_TOLD = 100
"""So many event hours an event names, the newest ones; their number is always whole."""


def publishing_outlets() -> list[Asset | AssetAlias]:
    """What a task that publishes has as outlets; `tell` gives the events what they say."""
    return [*published_assets(), AssetAlias(RESTATEMENTS)]


def told(window: Window, restated: Iterable[Restatement]) -> dict[str, Any]:
    """What an event says of a publication: plain values, of a bounded size.

    `window` are the arrival hours of the run; `restated_hours` counts event hours by why (`ops.restatements` has the
    numbers of each); `restated` names the newest of them.
    """
    from flowlake.lake.restatements import by_hour

    hours = sorted(by_hour(restated).items(), reverse=True)
    return {
        "window": str(window),
        "restated_hours": dict(Counter(str(why) for _, why in hours)),
        "restated": [{"event_hour": format_hour(hour), "why": str(why)} for hour, why in hours[:HOURS_TOLD]],
    }


def told_together(window: Window, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What an event says of several publications; an hour that several restated is counted by each."""
    counts: Counter[str] = Counter()
    named: list[dict[str, str]] = []
    for part in parts:
        counts.update(part["restated_hours"])
        named += part["restated"]
    named.sort(key=lambda one: one["event_hour"], reverse=True)
    return {"window": str(window), "restated_hours": dict(counts), "restated": named[:HOURS_TOLD]}


def tell(outlet_events: Any, said: Mapping[str, Any]) -> None:
    """Give the events of a publication their extra, and add the one of `ops.restatements` where there is news for it.

    `outlet_events` are those of the task's context. That the end of an hour came with the next one is no news.
    """
    for one in published_assets():
        outlet_events[one].extra = dict(said)
    if said["restated_hours"].keys() - {"delivery"}:
        outlet_events[AssetAlias(RESTATEMENTS)].add(Asset(RESTATEMENTS), extra=dict(said))
