"""The gates on Athena say of a lake what they say of the same lake on DuckDB."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flowlake.lake.windows import Window
from flowlake.quality.report import Finding, GateError, GateReport, Layer
from flowlake.quality.runner import validate
from flowlake.quality.suites import REPORT_TOTALS, TABLES
from flowlake.settings import AthenaSettings, Settings, Target
from local_athena.queries import Database
from local_athena.server import LocalAthena
from quality import cases

WINDOW = Window.parse("2026-11-20T12", "2026-11-20T13")
SCHEMAS = {
    **TABLES[Layer.STAGING],
    **TABLES[Layer.MARTS],
    **{total.table: total.schema for total in REPORT_TOTALS},
}
ICEBERG = ("stg_flow_logs__lines", "fct_edges")
"""Tables that are Iceberg here too; the others, to save statements, are Parquet files that Glue knows."""

HIVE_TYPES = {
    "VARCHAR": "string",
    "INTEGER": "int",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp",
    "VARCHAR[]": "array<string>",
    "MAP(VARCHAR, VARCHAR)": "map<string,string>",
}

APART = ("hole", "not restated", "few malformed", "objects")
"""Groups of cases that leave nothing for the others to say; their checks are broken below in other ways."""

OTHER_BREAKS = (
    # An hour whose input has no edges, and one that was not restated.
    "insert into intermediate.int_edges__partials select * replace (timestamp '2026-11-20 10:00:00' as event_hour)"
    " from intermediate.int_edges__partials where interface_id = 'eni-0b' and action = 'REJECT'",
    "insert into intermediate.int_hours__restated values (timestamp '2026-11-20 10:00:00')",
    "insert into intermediate.int_edges__partials select * replace (timestamp '2026-11-20 11:00:00' as event_hour)"
    " from intermediate.int_edges__partials where interface_id = 'eni-0b' and action = 'REJECT' limit 1",
)


@dataclass(frozen=True)
class Reports:
    """What the gates of both engines say of one lake."""

    duckdb: dict[Layer, GateReport]
    athena: dict[Layer, GateReport]


@pytest.fixture(scope="module")
def environment(athena: LocalAthena) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in athena.environment.items():
            patch.setenv(name, value)
        yield


class Copy:
    """A DuckDB lake's tables on Athena."""

    def __init__(self, athena: LocalAthena, lake: Any) -> None:
        name = f"gates_{uuid.uuid4().hex[:8]}"
        place = AthenaSettings(location=f"s3://{athena.bucket}/{name}", database=name, work_group=athena.work_group)
        self.settings: Settings = replace(
            lake.settings,
            lake=replace(lake.settings.lake, path=lake.settings.lake.path.parent / name),
            target=Target.ATHENA,
            athena=place,
        )
        self._athena = athena
        self._place = place
        self._glue = athena.client("glue")
        self._s3 = athena.client("s3")
        for schema in {*SCHEMAS.values(), "raw"}:
            self._glue.create_database(DatabaseInput={"Name": place.schema(schema)})
        for table, schema in SCHEMAS.items():
            self._copy(lake, schema, table)
        self._copy_objects(lake)

    def report(self, layer: Layer, window: Window = WINDOW, **gates: object) -> GateReport:
        settings = replace(self.settings, gates=replace(self.settings.gates, **gates))  # type: ignore[arg-type] # of any kind
        return validate(settings, window, layer)

    def drop(self, schema: str, table: str) -> None:
        self._glue.delete_table(DatabaseName=self._place.schema(schema), Name=table)

    def _copy(self, lake: Any, schema: str, table: str) -> None:
        self.settings.lake.path.mkdir(exist_ok=True)
        file = self.settings.lake.path / f"{table}.parquet"
        columns = lake.rows(f"describe {schema}.{table}")
        lake.execute(f"copy {schema}.{table} to '{str(file).replace(chr(39), chr(39) * 2)}' (format parquet)")
        name = f"{table}_files" if table in ICEBERG else table
        key = f"{self._place.database}/files/{table}"
        self._s3.upload_file(str(file), self._athena.bucket, f"{key}/part.parquet")
        self._create(schema, name, columns, f"s3://{self._athena.bucket}/{key}")
        if table in ICEBERG:
            database = Database(self._athena, self._place.schema(schema))
            selected = ", ".join(
                f"cast({column} as timestamp(6)) as {column}" if kind == "TIMESTAMP" else column
                for column, kind, *_ in columns
            )
            database.create_table(table, f'select {selected} from "{database.name}"."{name}"')

    def _copy_objects(self, lake: Any) -> None:
        folder = lake.settings.lake.raw / "objects"
        location = f"{self._place.location}/raw/objects"
        columns = lake.rows(f"describe from read_parquet('{str(folder).replace(chr(39), chr(39) * 2)}/*/*.parquet')")
        table = self._create("raw", "objects", columns, location, partition="arrival_hour")
        for file in folder.rglob("*.parquet"):
            key = f"{self._place.database}/raw/objects/{file.parent.name}"
            self._s3.upload_file(str(file), self._athena.bucket, f"{key}/{file.name}")
            storage = table["StorageDescriptor"] | {"Location": f"s3://{self._athena.bucket}/{key}"}
            self._glue.create_partition(
                DatabaseName=self._place.schema("raw"),
                TableName="objects",
                PartitionInput={"Values": [file.parent.name.partition("=")[2]], "StorageDescriptor": storage},
            )

    def _create(
        self, schema: str, name: str, columns: list[tuple[Any, ...]], location: str, partition: str = ""
    ) -> dict[str, Any]:
        types = [
            {"Name": column, "Type": HIVE_TYPES[kind if kind in HIVE_TYPES else kind.replace("HUGEINT", "BIGINT")]}
            for column, kind, *_ in columns
        ]
        table = {
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "PartitionKeys": [column for column in types if column["Name"] == partition],
            "Parameters": {"EXTERNAL": "TRUE", "classification": "parquet"},
            "StorageDescriptor": {
                "Columns": [column for column in types if column["Name"] != partition],
                "Location": location,
                "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
            },
        }
        self._glue.create_table(DatabaseName=self._place.schema(schema), TableInput=table)
        return table


@pytest.fixture(scope="module")
def sound(athena: LocalAthena, environment: None, built_lake: Any) -> Copy:
    built_lake.reset()
    return Copy(athena, built_lake)


@pytest.fixture(scope="module")
def broken(athena: LocalAthena, environment: None, built_lake: Any) -> Reports:
    """Broken in every way at once that leaves the other ways visible."""
    groups = [group for group in cases.GROUPS if group.name not in APART]
    built_lake.reset()
    built_lake.write_objects(cases.OBJECTS.objects)
    built_lake.execute(*(statement for group in groups for case in group.cases for statement in case.breaks))
    built_lake.execute(*OTHER_BREAKS)
    gates = cases.OBJECTS.gates
    copy = Copy(athena, built_lake)
    return Reports(
        {layer: built_lake.validate(layer, **gates) for layer in Layer},
        {layer: copy.report(layer, **gates) for layer in Layer},
    )


def said(finding: Finding) -> str:
    """The message without its paths, and without the example where there are several to choose from."""
    message = finding.message.partition("; rows:")[0]
    return message if finding.count == 1 else message.partition(" such as ")[0]


@pytest.mark.parametrize("layer", list(Layer))
def test_a_sound_hour_passes(sound: Copy, layer: Layer) -> None:
    report = sound.report(layer)
    assert (report.passed, report.failures, report.warnings) == (True, (), ())
    assert report.checks > 30
    assert report.pages.is_file()


@pytest.mark.parametrize("layer", list(Layer))
def test_both_engines_find_the_same(broken: Reports, layer: Layer) -> None:
    duckdb, athena = broken.duckdb[layer], broken.athena[layer]
    assert len(athena.failures) > 20
    for ours, theirs in ((athena.failures, duckdb.failures), (athena.warnings, duckdb.warnings)):
        assert [(each.check, each.severity, each.count) for each in ours] == [
            (each.check, each.severity, each.count) for each in theirs
        ]
    differing = {
        ours.check: (said(ours), said(theirs))
        for ours, theirs in zip(athena.failures + athena.warnings, duckdb.failures + duckdb.warnings, strict=True)
        if said(ours) != said(theirs)
    }
    assert differing == {}


@pytest.mark.parametrize("layer", list(Layer))
def test_both_engines_keep_the_same_rows(broken: Reports, layer: Layer, rows_of: Any) -> None:
    for ours, theirs in zip(broken.athena[layer].failures, broken.duckdb[layer].failures, strict=True):
        kept, expected = rows_of(ours.rows), rows_of(theirs.rows)
        assert len(kept) == len(expected), ours.check
        assert [set(row) for row in kept] == [set(row) for row in expected], ours.check


def test_nearly_every_check_was_broken(broken: Reports) -> None:
    found = {finding.check for report in broken.athena.values() for finding in report.failures + report.warnings}
    names = {case.check for group in cases.GROUPS for case in group.cases}
    # Beyond the limit a share is not also unusual.
    assert names - found == {"malformed_share_is_usual"}


def test_an_hour_that_was_never_registered_does_not_pass(sound: Copy) -> None:
    with pytest.raises(GateError, match="2026-11-20T13 was never registered: run the step register"):
        sound.report(Layer.STAGING, Window.parse("2026-11-20T12", "2026-11-20T15"))


def test_a_missing_table_is_named(sound: Copy) -> None:
    sound.drop("marts", "rpt_scopes_hourly")
    with pytest.raises(GateError, match=r"no table marts\.rpt_scopes_hourly: run the step"):
        sound.report(Layer.MARTS)
