from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml

from flowlake.sample import SampleReport, SampleSpec, generate

TEXTS = ("interface_id", "srcaddr", "dstaddr", "pkt_srcaddr", "pkt_dstaddr", "action", "log_status", "flow_direction")
NUMBERS = ("srcport", "dstport", "protocol", "packets", "bytes", "start", "end", "tcp_flags")


@dataclass(frozen=True)
class Sample:
    """A sample with its lines in DuckDB: tables `lines` (all), `records` (with traffic), `truth` and `enis`."""

    report: SampleReport
    network: dict[str, Any]
    db: duckdb.DuckDBPyConnection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.execute(sql).fetchall()

    def value(self, sql: str) -> Any:
        return self.rows(sql)[0][0]


def read_object(path: Path) -> pa.Table:
    """One sound object, dashes as nulls; what its format lacks is null."""
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
    else:
        text = gzip.decompress(path.read_bytes())
        names = text.split(b"\n", 1)[0].decode().split()
        table = pacsv.read_csv(
            io.BytesIO(text),
            parse_options=pacsv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        ).rename_columns([name.replace("-", "_") for name in names])
    columns = {}
    for name in (*TEXTS, *NUMBERS):
        kind = pa.int64() if name in NUMBERS else pa.string()
        values = table[name] if name in table.column_names else pa.nulls(len(table), kind)
        if pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(values, "-"), pa.scalar(None, pa.string()), values)
        columns[name] = values.cast(kind)
    return pa.table(columns)


def open_sample(spec: SampleSpec, out: Path) -> Sample:
    """Generate a sample without faults and read all of it."""
    report = generate(spec, out)
    network = yaml.safe_load(report.network.read_text(encoding="utf-8"))
    db = duckdb.connect()
    tables = [read_object(path) for path in sorted(report.logs.rglob("*_vpcflowlogs_*"))]
    db.register("lines_", pa.concat_tables(tables))
    db.execute("create table lines as from lines_")
    db.execute("create view records as from lines where log_status = 'OK'")
    db.execute("create table truth as from read_parquet(?)", [str(report.truth)])
    traffic = {log["name"]: log["traffic_type"] for log in network["flow_logs"]}
    enis = [eni | {"traffic_type": traffic.get(eni["flow_log"])} for eni in network["interfaces"]]
    db.register("enis_", pa.Table.from_pylist(enis))
    db.execute("create table enis as from enis_")
    return Sample(report, network, db)


@pytest.fixture
def make_sample(tmp_path: Path) -> Callable[[SampleSpec], Sample]:
    def make(spec: SampleSpec) -> Sample:
        return open_sample(spec, tmp_path / f"sample-{spec.seed}")

    return make


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The default network, small and without faults, so that every object can be read as it stands."""
    return open_sample(SampleSpec(seed=7, hours=3, scale=0.1, faults=False), tmp_path_factory.mktemp("sample"))
