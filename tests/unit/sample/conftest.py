from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml

from flowlake.sample import SampleReport, SampleSpec, generate

COLUMNS = (
    "interface_id srcaddr dstaddr pkt_srcaddr pkt_dstaddr srcport dstport protocol packets bytes start end action "
    "log_status flow_direction tcp_flags"
).split()
NUMBERS = {"srcport", "dstport", "protocol", "packets", "bytes", "start", "end", "tcp_flags"}


@dataclass(frozen=True)
class Sample:
    report: SampleReport
    network: dict[str, Any]
    db: duckdb.DuckDBPyConnection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.execute(sql).fetchall()


def read_object(path: Path) -> pa.Table:
    """One readable object as a table of COLUMNS, dashes as nulls; what the format lacks is null."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        text = gzip.decompress(path.read_bytes())
        names = text.split(b"\n", 1)[0].decode().split()
        table = pacsv.read_csv(
            io.BytesIO(text),
            parse_options=pacsv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        ).rename_columns([name.replace("-", "_") for name in names])
    columns = {}
    for name in COLUMNS:
        kind = pa.int64() if name in NUMBERS else pa.string()
        if name not in table.column_names:
            columns[name] = pa.nulls(len(table), kind)
            continue
        values = table[name]
        if pa.types.is_string(values.type):
            values = pa.compute.if_else(pa.compute.equal(values, "-"), pa.scalar(None, pa.string()), values)
        columns[name] = values.cast(kind)
    return pa.table(columns)


def open_sample(spec: SampleSpec, out: Path) -> Sample:
    report = generate(spec, out)
    network = yaml.safe_load(report.network.read_text(encoding="utf-8"))
    db = duckdb.connect()
    paths = sorted(path for path in report.logs.rglob("*_vpcflowlogs_*") if path.is_file())
    tables = [read_object(path) for path in paths]
    numbered = [t.append_column("object_number", pa.array([n] * len(t), pa.int64())) for n, t in enumerate(tables)]
    db.register("lines_", pa.concat_tables(numbered))
    db.execute("create table lines as select * from lines_")
    db.execute("create view records as select * from lines where log_status = 'OK'")
    db.execute("create table truth as select * from read_parquet(?)", [str(report.truth)])
    db.register("enis_", pa.Table.from_pylist(network["interfaces"]))
    db.execute(
        """create table enis as
        select e.*, f.traffic_type, f.fields, f.flow_log_id from enis_ e
        left join (select unnest(?::json[]) ->> 'name' as name, unnest(?::json[]) ->> 'traffic_type' as traffic_type,
                          unnest(?::json[]) ->> 'fields' as fields, unnest(?::json[]) ->> 'flow_log_id' as flow_log_id) f
          on f.name = e.flow_log""",
        [[_json(log) for log in network["flow_logs"]]] * 4,
    )
    return Sample(report, network, db)


def _json(value: object) -> str:
    import json

    return json.dumps(value)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """The default network, small and without faults, so that every object can be read as it stands."""
    yield open_sample(SampleSpec(seed=7, hours=3, scale=0.1, faults=False), tmp_path_factory.mktemp("sample"))
