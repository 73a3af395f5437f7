"""Lakes in temporary folders, and whether two of them hold the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flowlake.lake.duck import connect
from flowlake.lake.publish import SCHEMA, published_version
from flowlake.settings import Settings, load_settings

BOOKKEEPING = {
    "intermediate.int_hours__restated": "the hours that the last run restated",
    "ops.windows": "which run came how far, and when",
    "ops.overtaken_hours": "what is still to be mended because objects were overwritten",
    "ops.restatements": "what readers had seen otherwise before, which depends on when they were shown what",
    "ops.unpublished_hours": "what runs have written anew since the last publish",
}
"""Tables that say what runs did, with what they say; every other one must not depend on which runs led to it."""

LEAST_TABLES = 20
"""Fewer would mean that the comparison looks past the lake."""


class DifferentLakesError(Exception):
    """Two lakes that should hold the same do not; the message names the first table and rows."""


def write_settings(
    folder: Path, logs: Path, extra: Mapping[str, object] | None = None, catalog: str | None = None
) -> Settings:
    """A lake's settings, written as a user would (`<folder>/flowlake.yaml`). `catalog`: None stands for SQLite."""
    folder.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    lake = {"path": str(folder / "lake"), **({"catalog": catalog} if catalog else {})}
    content = {"sources": [{"name": "logs", "uri": str(logs)}], "lake": lake, **(extra or {})}
    config = folder / "flowlake.yaml"
    config.write_text(yaml.safe_dump(content))
    return load_settings(config, environ={})


Contents = Mapping[str, pa.Table]
"""All that a lake holds, by name: tables, what readers see, and the files of the raw layer."""


def assert_same_contents(expected: Contents, found: Contents) -> None:
    """The same rows everywhere.

    Raises:
        DifferentLakesError: naming the first table that differs, with rows of either side.
    """
    if expected.keys() != found.keys():
        raise DifferentLakesError(f"tables in one of the lakes alone: {sorted(expected.keys() ^ found.keys())}")
    if len(expected) < LEAST_TABLES:
        raise DifferentLakesError(f"there is hardly anything to compare: {sorted(expected)}")
    with duckdb.connect() as connection:
        for name in sorted(expected, key=_upstream_first):
            connection.register("expected", expected[name])
            connection.register("found", found[name])
            rows = connection.execute(
                "(select 'missing', * from (from expected except all from found) limit 3) union all "
                "(select 'too much', * from (from found except all from expected) limit 3)"
            ).fetchall()
            if rows:
                columns = ", ".join(expected[name].column_names)
                shown = "\n".join(f"  {row}" for row in rows)
                raise DifferentLakesError(f"{name} differs from that of a clean run ({columns}):\n{shown}")


def assert_restatements_add_up(settings: Settings) -> None:
    """What each restatement left of an hour is what the next one found, and the last one what readers see.

    So none is lost, and none is there twice. An hour of which nothing was left may come anew without a restatement.

    Raises:
        DifferentLakesError: naming an hour.
    """
    numbers = ("flows", "packets", "bytes")
    left = ", ".join(f"{name}_before + {name}_change" for name in numbers)
    found = ", ".join(f"{name}_before" for name in numbers)
    sums = ", ".join(f"sum({name})" for name in numbers)
    with connect(settings) as connection:
        rows = connection.execute(
            f"with shown as (select event_hour, row({sums}) as sums from lake.flowlake.fct_edges "
            "where is_counted group by event_hour), "
            f"told as (select event_hour, version, why, row({left}) as now, "
            f"lead(row({found})) over (partition by event_hour order by version) as later "
            "from lake.ops.restatements where table_name = 'fct_edges') "
            "select event_hour, version, why, now, coalesce(later, sums) as next from told left join shown "
            "using (event_hour) where now[1] > 0 and next is distinct from now order by all"
        ).fetchall()
    if rows:
        raise DifferentLakesError(f"{len(rows)} restatements do not lead to what came after them: {rows[:3]}")


def published_state(settings: Settings) -> tuple[int | None, int]:
    """The version that readers see (None: nothing yet), and a number that changes when any published row does."""
    if not (settings.lake.path / "dbt").exists():
        return None, hash(())
    with connect(settings) as connection:
        names = _names(connection, "duckdb_views()", "view_name", f"schema_name = '{SCHEMA}'")
        sums = [
            connection.execute(f"select coalesce(bit_xor(hash(t)), 0), count(*) from {name} as t").fetchone()
            for name in names
        ]
        return published_version(connection), hash(tuple(sums))


def contents(settings: Settings) -> Contents:
    """Everything in a lake but its bookkeeping, without where the lake lies."""
    with connect(settings) as connection:
        names = [
            *_names(connection, "duckdb_tables()", "table_name", "true"),
            *_names(connection, "duckdb_views()", "view_name", f"schema_name = '{SCHEMA}'"),
        ]
        tables = {
            name: connection.execute(f"from lake.{name}").to_arrow_table() for name in names if name not in BOOKKEEPING
        }
    raw = settings.lake.raw
    ledgers = sorted(raw.glob("objects/*/objects.parquet"))
    objects = pa.concat_tables([pq.ParquetFile(path).read() for path in ledgers])
    tables["raw.objects"] = objects.drop_columns(["read_path"])
    formats = [pq.ParquetFile(path).read() for path in sorted(raw.glob("formats/*.parquet"))]
    tables["raw.formats"] = pa.concat_tables(formats)
    manifests = sorted(raw.glob("*/**/manifest"))
    lines = [(str(path.parent.relative_to(raw)), line) for path in manifests for line in path.read_text().split("\n")]
    home = str(settings.lake.path.parent)
    tables["raw.manifests"] = pa.table(
        {"manifest": [name for name, _ in lines], "line": [line.replace(home, "") for _, line in lines]}
    )
    return tables


def _names(connection: duckdb.DuckDBPyConnection, kind: str, column: str, condition: str) -> list[str]:
    return [
        f"{schema}.{name}"
        for schema, name in connection.execute(
            f"select schema_name, {column} from {kind} where database_name = 'lake' and {condition} order by all"
        ).fetchall()
    ]


def _upstream_first(name: str) -> tuple[int, str]:
    """So that the first table that differs is near the cause."""
    layers = ("raw", "staging", "intermediate", "core", "ops", "marts", SCHEMA)
    layer = name.split(".", maxsplit=1)[0]
    return (layers.index(layer) if layer in layers else 0, name)
