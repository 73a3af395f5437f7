"""The floor: what reading, cleaning, grouping and writing cost at least, in a plain DuckDB script.

It writes the tables that flowlake writes (typed lines, edges, devices, interfaces) into a DuckLake on SQLite, with the
same memory limit and as many threads, and does nothing else: no accounting, no counting of each packet once, no checks,
no publishing, no report, no second run over the same hour.

    .venv/bin/python -m bench.floor LOGS LAKE
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from bench.inputs import Bench, obtain_worst_case
from bench.processes import MEMORY_HELP, measure
from bench.raw import SERVICE_PORT, SRC_ROLE, lines
from bench.results import Findings, Row, Table, Unit
from flowlake.dbt import REPOSITORY
from flowlake.lake.duck import install_extensions, literal

RECORDS = 5_000_000
MEMORY_LIMIT = "4GB"
EXTENSIONS = ("ducklake", "sqlite_scanner", "inet")

TABLES = {
    "lines": "{lines}",
    "edges": f"""
        select
            event_hour, srcaddr, dstaddr, protocol, {SERVICE_PORT} as service_port, {SRC_ROLE} as src_role, action,
            interface_id, count(*) as flows, sum(packets)::bigint as packets, sum(bytes)::bigint as bytes,
            min(start_at) as first_seen_at, max(end_at) as last_seen_at
        from floor.lines
        where malformed_reason is null and log_status = 'OK'
        group by all
    """,
    "devices": """
        select
            address,
            case when bool_or(is_source) and bool_or(not is_source) then 'both' when bool_or(is_source) then 'source'
                else 'dest' end as device_type,
            case when bool_or(
                try_cast(address as inet) <<= inet '10.0.0.0/8' or try_cast(address as inet) <<= inet '172.16.0.0/12'
                or try_cast(address as inet) <<= inet '192.168.0.0/16'
            ) then 'internal' else 'external' end as scope,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at
        from (
            select srcaddr as address, true as is_source, min(first_seen_at) as first_seen_at,
                max(last_seen_at) as last_seen_at
            from floor.edges group by 1
            union all
            select dstaddr, false, min(first_seen_at), max(last_seen_at) from floor.edges group by 1
        )
        group by 1
    """,
    "interfaces": """
        select
            interface_id,
            case when min(dstaddr) = max(dstaddr) then min(dstaddr) when min(srcaddr) = max(srcaddr) then min(srcaddr)
                end as own_address,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at
        from floor.edges
        group by 1
    """,
}


def main(logs: Path, lake: Path) -> None:
    """Write the tables; a line on standard output for each, with its seconds."""
    import duckdb

    lake.mkdir(parents=True)
    install_extensions()
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(lake / "spill")})
    for name in EXTENSIONS:
        connection.load_extension(name)
    connection.execute("set preserve_insertion_order = false")
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(
        f"attach {literal(f'ducklake:sqlite:{lake}/catalog.sqlite')} as lake"
        f" (data_path {literal(f'{lake}/data/')}, meta_journal_mode 'WAL')"
    )
    connection.execute("use lake; create schema floor")
    for name, query in TABLES.items():
        started = time.monotonic()
        text = query.replace("{lines}", lines(literal(f"{logs}/**/*.log.gz")))
        connection.execute(f"create table floor.{name} as {text}")
        sys.stdout.write(f"{name} {time.monotonic() - started:.2f}\n")
    connection.close()


def section(bench: Bench) -> Findings:
    """Run the script over the worst case."""
    logs = obtain_worst_case(bench, bench.scaled(RECORDS))
    lake = bench.folder / "floor-lake"
    shutil.rmtree(lake, ignore_errors=True)
    command = [sys.executable, "-m", "bench.floor", str(logs.folder / "logs"), str(lake)]
    measured = measure(command, log=bench.folder / "floor.log", cwd=REPOSITORY, environ=os.environ)
    rate = logs.records / measured.seconds
    return Findings(
        rows=[
            Row(f"plain DuckDB script, {logs.records:,} records", measured.seconds, Unit.SECONDS),
            Row("its records a second", rate, Unit.RECORDS_PER_SECOND),
            Row("its memory", measured.peak_memory, Unit.BYTES),
        ],
        tables=[
            Table(
                "Seconds by table",
                ("table", "seconds"),
                (
                    *(tuple(line.split()) for line in measured.output.splitlines()),
                    ("the process in all", f"{measured.seconds:.1f}"),
                    ("CPU, user and system", f"{measured.cpu_seconds:.1f}"),
                ),
            )
        ],
        notes=[
            "`bench/floor.py`: typed lines, edges, devices and interfaces into a DuckLake on SQLite, with flowlake's"
            f" own memory limit ({MEMORY_LIMIT}). It checks, accounts for, deduplicates and publishes nothing.",
            MEMORY_HELP,
        ],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
