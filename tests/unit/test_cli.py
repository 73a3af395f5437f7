"""The command line: what it answers, what it refuses, and how it says so."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import flowlake.inspection
from flowlake import cli, steps
from flowlake.lake.duck import connect
from flowlake.lake.windows import Window
from flowlake.sample import SampleSpec, generate
from flowlake.settings import Settings, load_settings
from flowlake.steps import STEPS, GateFailed, RunContext, Step, StepReport
from flowlake.terminal import human_bytes
from wrapped_logs import comma, subscription

HOURS = ("--from", "2026-11-20T12", "--to", "2026-11-20T13")
FLOWLAKE = Path(sys.executable).parent / "flowlake"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWLAKE_CONFIG", "FLOWLAKE_LAKE_PATH", "FLOWLAKE_TARGET", "FLOWLAKE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a lake that does not exist yet, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    path = tmp_path / "flowlake.yaml"
    path.write_text("sources: [{name: here, uri: logs}]\nlake: {path: lake}\n")
    return path


@pytest.fixture(scope="module")
def made_lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake in which `people` is published at its first version, and has a row more since."""
    folder = tmp_path_factory.mktemp("lake")
    (folder / "logs").mkdir()
    (folder / "facts.csv").write_text("secret\n")
    (folder / "flowlake.yaml").write_text("sources: [{name: here, uri: logs}]\nlake: {path: lake}\n")
    settings = load_settings(folder / "flowlake.yaml")
    with connect(settings, read_only=False) as connection:
        connection.execute("create schema lake.core")
        connection.execute("create schema lake.flowlake")
        connection.execute(
            "create table lake.core.people as select 'a' || chr(27) || '[31m[bold]' as name, 1 as age, "
            "timestamp '2026-11-20 12:30:00' as seen_at, [1, 2] as marks, null::varchar as nothing"
        )
        (version,) = connection.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchone() or (0,)
        connection.execute(
            f"create view lake.flowlake.people as select * from core.people at (version => {int(version)})"
        )
        connection.execute("insert into lake.core.people values ('later', 2, null, [], null)")
    return settings


@pytest.fixture
def lake(made_lake: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The lake, with its settings in the working folder. Queries leave it as it is, or a test fails."""
    monkeypatch.chdir(made_lake.lake.path.parent)
    return made_lake


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _files(folder: Path) -> set[Path]:
    """The files of a folder; not those that SQLite keeps beside an open catalogue."""
    return {path for path in _contents(folder) if path.suffix not in (".sqlite-shm", ".sqlite-wal")}


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    """The error, which must be a single line."""
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("flowlake: error: ")
    return lines[0]


# --- help ---


@pytest.mark.parametrize("name", sorted(cli.cli.commands))
def test_every_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    examples = capsys.readouterr().out.split("Example", maxsplit=1)[1]
    assert f"\n    flowlake {name}" in examples


def test_the_help_documents_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    text = capsys.readouterr().out
    for code in (0, cli.FAILED, cli.MISTAKE, cli.UNEXPECTED, cli.INTERRUPTED):
        assert f"\n    {code:<4} " in text


# --- errors ---


def test_an_unknown_key_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("sources: [{name: here, uri: logs, lokback_days: 2}]\nlake: {path: lake}\n")
    assert cli.run(["inspect", *HOURS]) == cli.MISTAKE
    assert "sources[0].lokback_days" in _error(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--from", "20.11.2026", "--to", "2026-11-21"], "'20.11.2026' is not an hour"),
        (["run", "--from", "2026-11-20T12:30", "--to", "2026-11-21"], "'2026-11-20T12:30' is not an hour"),
        (["run", "--from", "2026-11-20", "--to", "2026-11-20"], "is empty"),
        (["run", "--from", "2026-11-20"], "--to"),
        (["run", *HOURS, "--step", "regster"], "register"),
        (["rnu"], "Did you mean 'run'"),
        (["query", "--format", "xml", "select 1"], "xml"),
        (["--config", "missing.yaml", "status"], "missing.yaml"),
        (["sample", "--out", "x", "--scale", "1", "--records", "5"], "exclude each other"),
        (["sample", "--out", "x", "--scale", "-1"], "scale"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    config: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == cli.MISTAKE
    assert said in _error(capsys)


@pytest.mark.parametrize("arguments", [["query", "select 1"], ["status"], ["report", *HOURS]])
def test_without_a_lake_the_answer_is_what_to_do(
    config: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == cli.FAILED
    assert "flowlake run" in _error(capsys)
    assert not (config.parent / "lake").exists()


@pytest.mark.usefixtures("config")
def test_publishing_what_was_never_built_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["run", *HOURS, "--step", "publish"]) == cli.FAILED
    assert "build_marts first" in capsys.readouterr().err.splitlines()[-1]


def test_a_traceback_is_only_for_those_who_ask(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--debug", "query", "select 1"]) == cli.FAILED
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FLOWLAKE_DEBUG", "1")
    assert cli.run(["query", "select 1"]) == cli.FAILED
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FLOWLAKE_DEBUG", "0")
    assert cli.run(["query", "select 1"]) == cli.FAILED
    _error(capsys)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RuntimeError("two\nlines"), cli.UNEXPECTED, "unexpected RuntimeError: two lines"),
        (RuntimeError("a\x1b[2J\u202eb"), cli.UNEXPECTED, r"unexpected RuntimeError: a\x1b[2J\u202eb"),
        (KeyboardInterrupt(), cli.INTERRUPTED, "interrupted"),
    ],
)
@pytest.mark.usefixtures("config")
def test_what_nobody_expected_is_one_line_too(
    raised: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(flowlake.inspection, "inspect_window", fail)
    assert cli.run(["inspect", *HOURS]) == code
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_settings_may_be_named_before_or_after_the_command(
    lake: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert cli.run(["query", "select 1"]) == cli.MISTAKE
    assert cli.run(["--config", str(lake.config_path), "query", "select 1"]) == 0
    assert cli.run(["query", "--config", str(lake.config_path), "select 1"]) == 0


# --- query ---


def test_the_published_schema_comes_first(lake: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["query", "--format", "csv", "select count(*) as n from people"]) == 0
    assert capsys.readouterr().out == "n\n1\n"
    assert cli.run(["query", "--format", "csv", "select count(*) as n from core.people"]) == 0
    assert capsys.readouterr().out == "n\n2\n"


def test_a_table_shows_control_characters_and_markup_as_text(
    lake: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["query", "from people"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "a\\x1b[31m[bold]" in text
    assert "2026-11-20T12:30:00" in text


def test_csv_is_what_a_csv_reader_reads_back(lake: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["query", "--format", "csv", "select *, 'x,\"y' || chr(10) as odd from people"]) == 0
    header, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["name", "age", "seen_at", "marks", "nothing", "odd"]
    assert row == ["a\x1b[31m[bold]", "1", "2026-11-20T12:30:00", "[1, 2]", "", 'x,"y\n']


def test_a_carriage_return_is_no_end_of_a_row(lake: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "select 'a' || chr(13) || 'b' as one, null as two union all select 'c', 'd' order by 1"
    assert cli.run(["query", "--format", "csv", sql]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert rows == [["one", "two"], ["a\rb", ""], ["c", "d"]]


def test_json_is_one_object_per_line(lake: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "select *, 'nan'::double as no, 1.50::decimal(4, 2) as price, {'k': true} as s, age from people"
    assert cli.run(["query", "--format", "json", sql]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "name": "a\x1b[31m[bold]",
        "age": 1,
        "seen_at": "2026-11-20T12:30:00",
        "marks": [1, 2],
        "nothing": None,
        "no": None,
        "price": 1.5,
        "s": {"k": True},
        "age_1": 1,
    }


def test_a_table_is_cut_and_says_so(lake: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["query", f"from range({cli.TABLE_ROWS + 1})"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == cli.TABLE_ROWS + 2
    assert f"the first {cli.TABLE_ROWS} rows" in said.err
    assert cli.run(["query", f"from range({cli.TABLE_ROWS})"]) == 0
    assert not capsys.readouterr().err
    assert cli.run(["query", "--limit", "3", "from range(4)"]) == 0
    assert "the first 3 rows" in capsys.readouterr().err
    assert cli.run(["query", "--format", "csv", "from range(5000)"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5001
    assert cli.run(["query", "--format", "json", "--limit", "2", "from range(5000)"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_sql_may_come_from_standard_input(
    lake: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("select age\nfrom people;\n"))
    assert cli.run(["query", "--format", "csv", "-"]) == 0
    assert capsys.readouterr().out == "age\n1\n"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selct 1", "(line 1, column 1)"),
        ("select age,\n  agge from people", "(line 2, column 3)"),
        ("select 1/'x'::int", "Conversion Error"),
        ("", "no SQL"),
        ("/* nothing */", "no SQL"),
    ],
)
def test_wrong_sql_is_one_line_with_its_place(
    lake: Settings, sql: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["query", sql]) == cli.MISTAKE
    assert said in _error(capsys)


@pytest.mark.parametrize(
    "sql",
    [
        "delete from core.people",
        "insert into core.people select * from core.people",
        "update core.people set age = 0",
        "drop table core.people",
        "create table core.more as select 1",
        "create table memory.main.more as select 1",
        "create temp table more as select 1",
        "select 1; drop table core.people",
        "copy (select 1) to 'written.csv'",
        "export database 'written'",
        "attach 'written.db'",
        "install httpfs",
        "load httpfs",
        "set memory_limit = '1GB'",
        "begin",
        "call ducklake_expire_snapshots('lake', older_than => now())",
        "from ducklake_cleanup_old_files('lake', cleanup_all => true)",
        "select * from \"ducklake_delete_orphaned_files\"('lake', cleanup_all => true)",
        "explain analyze from ducklake_cleanup_old_files('lake', cleanup_all => true)",
        "with x as (select * from ducklake_cleanup_old_files('lake', cleanup_all => true)) from x",
        "select (select count(*) from ducklake_cleanup_old_files('lake', cleanup_all => true))",
        "from query('from ducklake_cleanup_old_files(''lake'', cleanup_all => true)')",
        "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "from sqlite_scan('lake/catalog.sqlite', 'ducklake_table')",
        "from read_text('flowlake.yaml')",
        "from 'flowlake.yaml'",
        "from 'facts.csv'",
        "from glob('*')",
        "select * from settings",
    ],
)
def test_only_reading_of_the_lake_is_allowed(lake: Settings, sql: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = _files(Path.cwd())
    assert cli.run(["query", sql]) == cli.MISTAKE
    assert "secret" not in _error(capsys)
    assert _files(Path.cwd()) == before
    with connect(lake) as connection:
        assert connection.execute("select count(*), sum(age) from core.people").fetchone() == (2, 3)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "with x as (select 1 as a) select * from x",
        "from people",
        "describe people",
        "show tables",
        "summarize people",
        "explain select count(*) from people",
        "values (1)",
        "pivot people on age in (1, 2) using count(*)",
        "from ducklake_snapshots('lake')",
        "select unnest([1, 2])",
        "select 'read_text' as name",
    ],
)
def test_every_way_of_reading_is_allowed(lake: Settings, sql: str) -> None:
    assert cli.run(["query", sql]) == 0


def test_a_reader_that_leaves_is_no_error(lake: Settings) -> None:
    command = [str(FLOWLAKE), "query", "--format", "csv", "from range(1000000)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "range\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == cli.NO_READER


# --- inspect ---


@pytest.fixture(scope="module")
def sample_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    return generate(SampleSpec(seed=5, hours=1, scale=0.01), folder).logs


@pytest.fixture
def sampled(config: Path, sample_logs: Path) -> Path:
    config.write_text(f"sources: [{{name: here, uri: '{sample_logs}'}}]\nlake: {{path: lake}}\n")
    return config


def test_inspect_shows_the_window_and_writes_nothing(
    sampled: Path, sample_logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _contents(sample_logs), _contents(sampled.parent)
    assert cli.run(["inspect", *HOURS, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not (sampled.parent / "lake").exists()
    assert (_contents(sample_logs), _contents(sampled.parent)) == before
    assert found["window"] == {"from": "2026-11-20T12", "to": "2026-11-20T13"}
    assert found["objects"] == sum(flow_log["objects"] for flow_log in found["flow_logs"]) + 2  # foreign files
    assert {flow_log["region"] for flow_log in found["flow_logs"]} == {"us-east-1", "us-west-2"}
    assert "v2-default" in {name for flow_log in found["flow_logs"] for name in flow_log["formats"]}
    assert any("not_a_flow_log" in problem for problem in found["problems"])


def test_inspect_shows_people_a_table(sampled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["inspect", *HOURS]) == 0
    text = capsys.readouterr().out
    for word in ("account", "flow log", "hive_hourly", "parquet", "what looks wrong", "nothing was written"):
        assert word in text


def test_inspect_shows_lines_without_a_header_and_what_they_are_taken_for(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.parent / "logs/AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/11/20"
    folder.mkdir(parents=True)
    record = "2 123456789012 eni-0a1b2c3d4e5f60718 10.0.0.1 10.0.0.2 5 443 6 10 1000 1795176000 1795176060 ACCEPT OK"
    texts = {"fl-1": f"{record}\n", "fl-2": "[bold]\u0085 who knows\n"}
    for flow_log, text in {**texts, "fl-3": subscription(record), "fl-4": comma(record)}.items():
        path = folder / f"123456789012_vpcflowlogs_us-east-1_{flow_log}_20261120T1205Z_0a1b2c3d.log"
        path.write_bytes(gzip.compress(text.encode("latin-1")))
        os.utime(path, (1795176000, 1795176000))
    assert cli.run(["inspect", *HOURS]) == 0
    shown = capsys.readouterr().out
    assert "fl-1: 1 object without a header, for example /" in shown
    assert f"    line 1: {record}" in shown
    assert "    format v2-default: inferred, v2-default, 1 of 1 line" in shown
    assert "    line 1: [bold]\\x85 who knows" in shown
    assert "    not read: it starts with: [bold]\\x85 who knows (0 of 1 lines are records" in shown
    assert "fl-3: 1 object in JSON of a subscription, for example /" in shown
    assert "fl-4: 1 object in CSV, for example /" in shown
    assert shown.count(f": {record}") == 3
    assert "    format v2-default: named in its header" in shown


def test_inspect_leaves_a_lake_as_it_is_and_names_silent_flow_logs(
    sampled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flowlake.lake.register import register

    settings = load_settings(sampled)
    register(settings, Window.parse("2026-11-20T12", "2026-11-20T14"))
    before = _contents(settings.lake.path)
    assert cli.run(["inspect", "--from", "2026-11-20T14", "--to", "2026-11-20T15", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert _contents(settings.lake.path) == before
    assert found["compared_with"] == "2026-11-20T13"
    assert sum(": silent, it delivered in 2026-11-20T13" in problem for problem in found["problems"]) == 5
    assert any("no object arrived" in problem for problem in found["problems"])


# --- run ---


def _fake_run(reports: dict[str, StepReport], fails: str = "") -> Any:
    def run_window(context: RunContext, on_step: Any, only: tuple[str, ...] = ()) -> list[StepReport]:
        done = []
        for step in STEPS:
            on_step(step, None)
            if step.name == fails:
                raise GateFailed(f"the gate failed for {context.window}: 3 objects are gone")
            report = reports.get(step.name, StepReport(step.name, seconds=0.25))
            on_step(step, report)
            done.append(report)
        return done

    return run_window


def test_run_shows_each_step_on_a_line_and_what_was_published(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = {
        "register": StepReport(
            "register", 1.5, objects=3, lines=1200, bytes=4_200_000, details={"problems": ("1 object\x1b not read",)}
        ),
        "validate_staging": StepReport(
            "validate_staging", 2.0, details={"checks": 3, "warnings": ["much; rows: /x"], "pages": "/pages"}
        ),
        "publish": StepReport("publish", 0.5, details={"version": 9, "tables": 4}),
    }
    monkeypatch.setattr(cli, "run_window", _fake_run(reports))
    assert cli.run(["run", *HOURS]) == 0
    said = capsys.readouterr()
    lines = [line.rstrip() for line in said.err.splitlines()]
    assert lines[0] == "[1/6] register            1.5 s  3 objects, 1,200 lines, 4.2 MB"
    assert lines[1] == "      1 object\\x1b not read"
    assert "[3/6] validate_staging    2.0 s  3 checks" in lines
    assert "      much" in lines
    assert "2026-11-20T12/2026-11-20T13: published 4 tables at version 9" in said.out


def test_a_failed_gate_is_code_1_and_names_its_step(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "run_window", _fake_run({}, fails="validate_marts"))
    assert cli.run(["run", *HOURS]) == cli.FAILED
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("[5/6] validate_marts")
    assert lines[-2].endswith("did not end well")
    assert lines[-1].startswith("flowlake: error: the gate failed for 2026-11-20T12/2026-11-20T13")


def test_single_steps_run_in_their_order_and_publish_nothing_by_themselves(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(step: Step, context: RunContext, *_: Any) -> StepReport:
        ran.append(step.name)
        assert context.accept_missing
        return StepReport(step.name)

    monkeypatch.setattr(steps, "_run", run)
    arguments = ["run", *HOURS, "--step", "build_staging", "--step", "register", "--accept-missing"]
    assert cli.run(arguments) == 0
    assert ran == ["register", "build_staging"]
    assert "nothing was published" in capsys.readouterr().out


def test_days_stand_for_their_first_hour() -> None:
    hour = cli.HourType()
    assert hour.convert("2026-11-20", None, None) == hour.convert("2026-11-20T00", None, None)
    with pytest.raises(click.BadParameter):
        hour.convert("2026-11-31", None, None)


# --- sample ---


def test_a_sample_comes_with_settings_that_run_it(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sample", "--out", "some", "--hours", "1", "--scale", "0.01", "--start", "2026-11-19T23"]
    assert cli.run(arguments) == 0
    settings = load_settings(tmp_path / "some" / "flowlake.yaml")
    assert settings.sources[0].uri == str(tmp_path / "some" / "logs")
    assert settings.device_names
    assert not settings.nat_gateways
    text = capsys.readouterr().out
    assert "run --from 2026-11-19T23 --to 2026-11-20T01" in text
    assert (
        cli.run(["--config", "some/flowlake.yaml", "inspect", "--from", "2026-11-19T23", "--to", "2026-11-20T01"]) == 0
    )


def test_a_sample_never_overwrites(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "some" / "flowlake.yaml"
    mine.parent.mkdir()
    mine.write_text("mine")
    arguments = ["sample", "--out", "some", "--hours", "1", "--scale", "0.01"]
    assert cli.run(arguments) == 0
    assert mine.read_text() == "mine"
    assert "left as it is" in capsys.readouterr().out
    assert cli.run(arguments) == cli.MISTAKE
    assert "not empty" in _error(capsys)


# --- units ---


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_300_000_000, "1.3 GB"),
        (None, "-"),
    ],
)
def test_bytes_are_shown_in_decimal_units(size: int | None, text: str) -> None:
    assert human_bytes(size) == text
