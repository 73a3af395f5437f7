"""Every report against a plain question to the edges, on a lake of generated logs over two days.

The reports are read as people read them: in the schema `flowlake`, pinned.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from flowlake.dbt import manifest_path
from flowlake.lake.duck import connect
from flowlake.lake.ledger import HourState, StagingState, mark_hours, mark_staging
from flowlake.lake.publish import publish
from flowlake.lake.windows import Window
from flowlake.sample import SampleSpec, generate
from flowlake.settings import load_settings
from flowlake.steps import RunContext, run_step
from shared_dbt.start import shared_dbt

EDGES = "(select *, cast(event_hour as date) as event_date from flowlake.fct_edges where is_counted)"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("reports")
    sample = generate(
        SampleSpec(seed=11, start=datetime(2026, 11, 20, 22, tzinfo=UTC), hours=4, scale=0.08), folder / "sample"
    )
    config = folder / "flowlake.yaml"
    facts = yaml.safe_load(sample.network.read_text())["settings"]
    source = {"name": "logs", "uri": str(sample.logs)}
    config.write_text(yaml.safe_dump({"sources": [source], "lake": {"path": str(folder / "lake")}, **facts}))
    settings = load_settings(config, environ={})
    # Two windows, so that late objects restate hours that were there before.
    for window in (
        Window.parse(sample.arrival_from, "2026-11-21T00"),
        Window.parse("2026-11-21T00", sample.arrival_to),
    ):
        context = RunContext(settings, window, "test")
        for step in ("register", "build_staging"):
            with shared_dbt():
                run_step(step, context)
        with connect(settings, read_only=False) as connection:
            mark_staging(connection, window, StagingState.PASSED, "test")
        with shared_dbt():
            run_step("build_marts", context)
        with connect(settings, read_only=False) as connection:
            mark_hours(connection, window, HourState.VALIDATED, "test")
    publish(settings, manifest_path(settings, "marts"))
    with connect(settings) as connection:
        yield connection


def rows(lake: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return lake.execute(query).fetchall()


def test_the_sample_can_tell_right_from_wrong(lake: duckdb.DuckDBPyConnection) -> None:
    ((days, hours, rejects, translated, names),) = rows(
        lake,
        "select count(distinct cast(event_hour as date)), count(distinct event_hour),"
        " count(*) filter (where is_counted and action = 'REJECT'), count(*) filter (where not is_counted),"
        " (select count(*) from flowlake.dim_devices where name is not null) from flowlake.fct_edges",
    )
    assert days == 2
    assert hours >= 4
    assert min(rejects, translated, names) > 20


REPORTS = {
    "talkers of each hour": (
        "select event_hour, device_id, sent_packets, sent_bytes, received_packets, received_bytes, rejected_bytes"
        " from flowlake.rpt_talkers_hourly",
        "select event_hour, device_id,"
        " sum(packets) filter (where is_source), sum(bytes) filter (where is_source),"
        " sum(packets) filter (where not is_source and action <> 'REJECT'),"
        " sum(bytes) filter (where not is_source and action <> 'REJECT'),"
        " sum(bytes) filter (where is_source and action = 'REJECT') from ("
        f" select *, src_device_id as device_id, true as is_source from {EDGES}"
        f" union all select *, dst_device_id, false from {EDGES}) where is_source or action <> 'REJECT' group by all",
    ),
    "top talkers": (
        "select event_date, place, device_id, bytes from flowlake.rpt_top_talkers",
        "select * from (select event_date, row_number() over (partition by event_date order by sum(bytes) desc,"
        " device_id), device_id, sum(bytes) from ("
        f" select event_date, src_device_id as device_id, bytes from {EDGES}"
        f" union all select event_date, dst_device_id, bytes from {EDGES} where action <> 'REJECT')"
        " group by event_date, device_id) as t (event_date, place, device_id, bytes) where place <= 10",
    ),
    "top pairs": (
        "select event_date, place, device_id, peer_device_id, bytes, packets from flowlake.rpt_top_pairs",
        "select * from (select event_date, row_number() over (partition by event_date order by sum(bytes) desc,"
        " pair[1], pair[2]), pair[1], pair[2], sum(bytes), sum(packets) from (select event_date, bytes, packets,"
        f" list_sort([src_device_id, dst_device_id]) as pair from {EDGES}) group by event_date, pair)"
        " as t (event_date, place, a, b, bytes, packets) where place <= 10",
    ),
    "rejects by destination port": (
        "select event_date, protocol, dst_port, bytes, packets, flows from flowlake.rpt_rejected_by_port",
        "select event_date, protocol, if(src_role = 'client', service_port, null) as port, sum(bytes), sum(packets),"
        f" sum(flows) from {EDGES} where action = 'REJECT' group by all",
    ),
    "rejects by protocol": (
        "select event_date, place, protocol, packets from flowlake.rpt_rejected_by_protocol",
        "select event_date, row_number() over (partition by event_date order by sum(packets) desc, protocol),"
        f" protocol, sum(packets) from {EDGES} where action = 'REJECT' group by event_date, protocol",
    ),
    "rejected sources of the last 14 days": (
        "select place, src_device_id, bytes, packets from flowlake.rpt_rejected_sources",
        "select row_number() over (order by sum(bytes) desc, src_device_id) as place, src_device_id, sum(bytes),"
        f" sum(packets) from {EDGES} where action = 'REJECT' group by src_device_id order by place limit 10",
    ),
    "internal or external": (
        "select event_hour, src_scope, dst_scope, action, bytes, packets from flowlake.rpt_internal_external",
        "select event_hour, (select scope from flowlake.dim_devices where device_id = src_device_id) as src_scope,"
        " (select scope from flowlake.dim_devices where device_id = dst_device_id) as dst_scope, action, sum(bytes),"
        f" sum(packets) from {EDGES} group by all",
    ),
    "https servers": (
        "select event_date, place, server_device_id, received_bytes, received_packets from flowlake.rpt_https_servers",
        "select * from (select event_date, row_number() over (partition by event_date order by sum(bytes) desc,"
        f" dst_device_id), dst_device_id, sum(bytes), sum(packets) from {EDGES} where src_role = 'client' and"
        " service_port = 443 and protocol in (6, 17) and action <> 'REJECT' group by event_date, dst_device_id)"
        " as t (event_date, place, server, bytes, packets) where place <= 10",
    ),
    "services": (
        "select distinct event_date, service_place, protocol, service_port, service_bytes"
        " from flowlake.rpt_top_services",
        "select event_date, row_number() over (partition by event_date order by sum(bytes) desc, protocol,"
        f" service_port), protocol, service_port, sum(bytes) from {EDGES} where src_role <> 'peer' and"
        " action <> 'REJECT' group by event_date, protocol, service_port",
    ),
    "servers of each service": (
        "select event_date, protocol, service_port, place, server_device_id, bytes from flowlake.rpt_top_services",
        "select * from (select event_date, protocol, service_port, row_number() over (partition by event_date,"
        " protocol, service_port order by sum(bytes) desc, server), server, sum(bytes) from (select *,"
        f" if(src_role = 'client', dst_device_id, src_device_id) as server from {EDGES}) where src_role <> 'peer' and"
        " action <> 'REJECT' group by event_date, protocol, service_port, server)"
        " as t (event_date, protocol, port, place, server, bytes) where place <= 10",
    ),
    "size of the graph": (
        "select event_date, vertices, pairs, edges from flowlake.rpt_graph_size",
        "select event_date, len(list_distinct(flatten(list([src_device_id, dst_device_id])))),"
        " count(distinct (src_device_id, dst_device_id)),"
        " count(distinct (src_device_id, dst_device_id, protocol, service_port, src_role, action))"
        f" from {EDGES} group by all",
    ),
    "size of each hour's graph": (
        "select event_hour, vertices, pairs, edges from flowlake.rpt_graph_size_hourly",
        "select event_hour, len(list_distinct(flatten(list([src_device_id, dst_device_id])))),"
        f" count(distinct (src_device_id, dst_device_id)), count(*) from {EDGES} group by all",
    ),
    "recipients": (
        "select event_date, src_device_id, recipients, targets, packets from flowlake.rpt_recipients",
        "select event_date, src_device_id, count(distinct dst_device_id) filter (where action <> 'REJECT'),"
        " count(distinct dst_device_id), coalesce(sum(packets) filter (where action <> 'REJECT'), 0)"
        f" from {EDGES} group by all",
    ),
    "top recipients": (
        "select event_date, src_device_id, place, dst_device_id, packets, bytes from flowlake.rpt_top_recipients",
        "select * from (select event_date, src_device_id, row_number() over (partition by event_date, src_device_id"
        " order by sum(packets) desc, dst_device_id), dst_device_id, sum(packets), sum(bytes)"
        f" from {EDGES} where action <> 'REJECT' group by event_date, src_device_id, dst_device_id)"
        " as t (event_date, src, place, dst, packets, bytes) where place <= 20",
    ),
    "rejects by quarter of an hour": (
        "select event_hour, quarter_at, protocol, packets from flowlake.rpt_rejected_quarter_hourly",
        # The sample's rejections are each logged once: those of the pairs that count, by their own time.
        "select event_hour, time_bucket(interval '15 minutes', start_at) as quarter, protocol, sum(packets)"
        " from lake.staging.stg_flow_logs__records where action = 'REJECT' and resource_type is null"
        " and (event_hour, coalesce(pkt_srcaddr, srcaddr), coalesce(pkt_dstaddr, dstaddr), protocol) in ("
        f" select (event_hour, src_device_id, dst_device_id, protocol) from {EDGES} where action = 'REJECT')"
        " group by all",
    ),
}


@pytest.mark.parametrize(("report", "question"), REPORTS.values(), ids=REPORTS.keys())
def test_a_report_says_what_the_edges_say(lake: duckdb.DuckDBPyConnection, report: str, question: str) -> None:
    def comparable(query: str) -> list[tuple[str, ...]]:
        # A sum over nothing is null in the plain question and zero in the report.
        return sorted(tuple(str(value or 0) for value in row) for row in rows(lake, query))

    expected = comparable(question)
    assert expected
    assert comparable(report) == expected


def test_correlations_are_those_of_the_edges(lake: duckdb.DuckDBPyConnection) -> None:
    found = {row[:2]: row[2] for row in rows(lake, "select event_date, action, correlation from rpt_size_correlation")}
    expected = rows(lake, f"select event_date, action, corr(bytes, packets) from {EDGES} group by all")
    assert found == {(day, action): pytest.approx(value, abs=1e-9) for day, action, value in expected}
    # What Opsgenie found on real logs holds for the sample: rejected packets are alike, accepted ones less so.
    assert all(value > 0.9 for (_, action), value in found.items() if action == "REJECT")


def test_quarters_add_up_to_the_rejected_packets_of_the_edges(lake: duckdb.DuckDBPyConnection) -> None:
    quarters = "select event_hour, protocol, sum(packets) from rpt_rejected_quarter_hourly group by all order by all"
    edges = f"select event_hour, protocol, sum(packets) from {EDGES} where action = 'REJECT' group by all order by all"
    assert rows(lake, quarters) == rows(lake, edges)
    assert rows(lake, "select count(*) from rpt_rejected_quarter_hourly where is_estimated") == [(0,)]


def test_names_and_scopes_stand_beside_the_devices(lake: duckdb.DuckDBPyConnection) -> None:
    wrong = rows(
        lake,
        "select * from rpt_top_talkers as report left join dim_devices as devices using (device_id)"
        " where report.name is distinct from devices.name or report.scope is distinct from devices.scope",
    )
    assert wrong == []
    assert rows(lake, "select count(*) from rpt_top_talkers where name is not null")[0][0] > 5
    assert rows(lake, "select distinct service from rpt_rejected_by_port where dst_port = 22") == [("ssh",)]


KEYS = {
    "rpt_top_talkers": ("event_date, place", "event_date, device_id"),
    "rpt_top_pairs": ("event_date, place", "event_date, device_id, peer_device_id"),
    "rpt_top_services": ("event_date, protocol, service_port, place", "event_date, service_place, server_device_id"),
    "rpt_https_servers": ("event_date, place", "event_date, server_device_id"),
    "rpt_rejected_by_port": ("event_date, place", "event_date, protocol, dst_port"),
    "rpt_rejected_by_protocol": ("event_date, place", "event_date, protocol"),
    "rpt_rejected_sources": ("place", "src_device_id"),
    "rpt_size_correlation": ("event_date, action",),
    "rpt_graph_size": ("event_date",),
    "rpt_internal_external": ("event_hour, src_scope, dst_scope, action",),
    "rpt_rejected_quarter_hourly": ("quarter_at, protocol",),
    "rpt_recipients": ("event_date, src_device_id",),
    "rpt_top_recipients": ("event_date, src_device_id, place", "event_date, src_device_id, dst_device_id"),
}


@pytest.mark.parametrize(("report", "keys"), KEYS.items(), ids=KEYS.keys())
def test_a_view_has_one_row_per_key(lake: duckdb.DuckDBPyConnection, report: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        assert rows(lake, f"select {key}, count(*) from {report} group by all having count(*) > 1") == []


def test_a_day_without_a_history_has_no_spikes(lake: duckdb.DuckDBPyConnection) -> None:
    assert rows(lake, "select * from rpt_denied_spikes") == []


def test_the_sampled_query_estimates_the_whole(lake: duckdb.DuckDBPyConnection) -> None:
    from flowlake.dbt import PROJECT

    query = Path(PROJECT / "analyses" / "internal_external_sampled.sql").read_text()
    query = query.replace(
        '{{ sample_of(ref("fct_edges"), 10) }}', "flowlake.fct_edges tablesample bernoulli (10 percent)"
    )
    query = query.replace('{{ ref("dim_devices") }}', "flowlake.dim_devices")
    assert "{{" not in query
    sampled = sum(row[3] for row in rows(lake, query))
    ((counted,),) = rows(lake, f"select count(*) from {EDGES}")
    # Ten percent of some thousand edges, within ten standard deviations: it fails once in 10^20 runs.
    assert abs(sampled - counted / 10) < 10 * (counted * 0.09) ** 0.5
