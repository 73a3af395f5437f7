"""The same lake on either engine, and everything in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowlake import dbt
from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.settings import Settings, load_settings
from flowlake.steps import RunContext, run_window
from parity.compare import Table
from parity.engines import AthenaReader, read_duckdb
from shared_dbt.start import shared_dbt

LEFT_OUT = {
    "raw.objects": ("read_path",),  # where an engine reads an object: a local copy, or S3 itself
    "ops.windows": ("updated_at",),  # when a run said so
}
"""Columns that are about one engine's own run."""

READ_AT_THE_SAME_TIME = 4


@dataclass(frozen=True)
class Lake:
    """A lake of either target."""

    settings: Settings

    def run(self, window: Window, *steps: str, accept_missing: bool = False) -> None:
        """A run, or some of its steps."""
        with shared_dbt():
            run_window(RunContext(self.settings, window, "parity", accept_missing=accept_missing), only=steps)

    @property
    def models(self) -> set[str]:
        """All tables and views that dbt makes, seeds too, as `schema.name`."""
        return {name for name, _ in self._relations()}

    @property
    def reports(self) -> set[str]:
        """The views among them that people read word for word in the schema `flowlake`: they hold nothing."""
        return {name for name, published in self._relations() if published == "view"}

    def _relations(self) -> Iterator[tuple[str, object]]:
        manifest = json.loads(dbt.manifest_path(self.settings, "marts").read_text())
        return relations(manifest)


def relations(manifest: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[str, object]]:
    """What dbt makes that can be read, and as what it is published.

    Named by the schema of the design, the folder's `+schema`, on whichever engine.
    """
    for node in manifest["nodes"].values():
        config = node["config"]
        if node["resource_type"] in ("model", "seed") and config["materialized"] != "ephemeral":
            yield f"{config['schema']}.{node['alias']}", config["meta"].get("published")


def make_lake(folder: Path, uri: str, target: Mapping[str, object], extra: Mapping[str, object]) -> Lake:
    """A lake's settings, written as a user would. `target`: what says on which engine it is."""
    folder.mkdir(parents=True)
    config = folder / "flowlake.yaml"
    source = {"name": "logs", "uri": uri}
    config.write_text(yaml.safe_dump({"sources": [source], "lake": {"path": str(folder / "lake")}, **target, **extra}))
    return Lake(load_settings(config, environ={}))


def on_duckdb(lake: Lake, but: Collection[str] = ()) -> dict[str, Table]:
    """All tables of a lake on DuckDB, but some."""
    raw = lake.settings.lake.raw
    with connect(lake.settings) as connection:
        views = connection.execute(
            "select view_name from duckdb_views() where database_name = 'lake' and schema_name = 'flowlake'"
        ).fetchall()
        names = [*lake.models, "ops.windows", *(f"flowlake.{name}" for (name,) in views)]
        sources = {name: f"lake.{name}" for name in names} | {
            "raw.objects": f"read_parquet('{raw}/objects/*/objects.parquet', hive_partitioning = false)",
            "raw.formats": f"read_parquet('{raw}/formats/*.parquet', hive_partitioning = false)",
        }
        return {
            name: comparable(name, read_duckdb(connection, source))
            for name, source in sources.items()
            if name not in but
        }


def on_athena(lake: Lake, reader: AthenaReader, but: Collection[str] = ()) -> dict[str, Table]:
    """All tables of a lake on Athena, but some."""
    settings = lake.settings.athena
    assert settings is not None
    shown = (f"flowlake.{name}" for name in reader.names(settings.schema("flowlake")))
    names = [name for name in (*lake.models, "raw.objects", "raw.formats", "ops.windows", *shown) if name not in but]

    def read(name: str) -> Table:
        schema, _, table = name.partition(".")
        return comparable(name, reader.read(settings.schema(schema), table))

    with ThreadPoolExecutor(READ_AT_THE_SAME_TIME) as pool:
        return dict(zip(names, pool.map(read, names), strict=True))


def comparable(name: str, table: Table) -> Table:
    """A table without what is about one engine's own run."""
    return table.without(LEFT_OUT.get(name, ()))
