"""The lake's own files and ledgers where the lake is on Athena, in a bucket of the local one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowlake.lake.files import Files, LocalFiles, S3Files, open_files
from flowlake.lake.ledger import (
    BLOCKING,
    HourState,
    LedgerError,
    StagingState,
    begun_hours,
    blocking_hours,
    ensure_ledger,
    ledger_path,
    mark_hours,
    mark_staging,
    open_ledger,
    require_passed,
)
from flowlake.lake.overtaken import OvertakenHour, advance, record, recorded_hours
from flowlake.lake.windows import Window
from flowlake.settings import AthenaSettings, LakeSettings, Settings, Target
from local_athena.server import LocalAthena

WINDOW = Window.parse("2026-11-20T12", "2026-11-20T14")


@pytest.fixture
def settings(athena: LocalAthena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in athena.environment.items():
        monkeypatch.setenv(name, value)
    location = f"s3://{athena.bucket}/files-{uuid.uuid4().hex}"
    return Settings(
        sources=(),
        lake=LakeSettings(tmp_path),
        target=Target.ATHENA,
        athena=AthenaSettings(location, "files", athena.work_group),
    )


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    if request.param == "folder":
        yield LocalFiles(tmp_path / "lake")
    else:
        yield open_files(request.getfixturevalue("settings"))


def test_files_are_written_whole_listed_and_deleted(files: Files) -> None:
    assert files.read("raw/a/one") is None
    assert list(files.list("raw")) == []
    for path in ("raw/a/one", "raw/a/two", "raw/b/three"):
        files.write(path, path.encode())
    files.write("raw/a/one", b"again")
    assert files.read("raw/a/one") == b"again"
    assert sorted(files.list("raw/a")) == ["raw/a/one", "raw/a/two"]
    files.delete(["raw/a/one", "raw/a/never"])
    assert sorted(files.list("raw")) == ["raw/a/two", "raw/b/three"]


def test_a_folder_named_like_the_start_of_another_is_not_listed_with_it(files: Files) -> None:
    files.write("raw/a/one", b"")
    files.write("raw/ab/two", b"")
    assert list(files.list("raw/a")) == ["raw/a/one"]


def test_an_error_says_which_file(settings: Settings) -> None:
    from flowlake.lake.aws import AwsError

    with pytest.raises(AwsError, match=r"cannot write s3://no-such-bucket-here/x/a: there is no such bucket"):
        S3Files("s3://no-such-bucket-here/x").write("a", b"")


def test_the_ledger_is_kept_between_runs(settings: Settings) -> None:
    with open_ledger(settings, read_only=False) as connection:
        ensure_ledger(connection)
        mark_staging(connection, WINDOW, StagingState.PASSED, "one")
        mark_hours(connection, WINDOW, HourState.BUILDING, "one", "it's ☃")
    with open_ledger(settings) as connection:
        require_passed(connection, WINDOW)
        assert [hour for hour, *_ in blocking_hours(connection)] == list(WINDOW.hours)
        assert begun_hours(connection, "one", Window.parse("2026-11-20T13", "2026-11-20T14")) == ("2026-11-20T12",)
        details = connection.execute("select distinct detail from lake.ops.windows").fetchall()
        assert details == [("it's ☃",)]
        with pytest.raises(LedgerError, match="has not passed its gate"):
            require_passed(connection, Window.parse("2026-11-20T12", "2026-11-20T15"))


def test_a_run_that_dies_leaves_the_ledger_as_it_was(settings: Settings) -> None:
    with open_ledger(settings, read_only=False) as connection:
        ensure_ledger(connection)
        mark_hours(connection, WINDOW, HourState.VALIDATED, "one")
    before = open_files(settings).read(ledger_path("windows"))
    with pytest.raises(RuntimeError), open_ledger(settings, read_only=False) as connection:  # noqa: PT012 - half done
        mark_hours(connection, WINDOW, HourState.FAILED, "two")
        raise RuntimeError
    assert open_files(settings).read(ledger_path("windows")) == before


def test_a_reader_writes_nothing(settings: Settings) -> None:
    with open_ledger(settings) as connection:
        ensure_ledger(connection)
        mark_hours(connection, WINDOW, HourState.BUILDING, "reader")
    assert open_files(settings).read(ledger_path("windows")) is None


def test_an_overtaken_hour_is_recorded_until_the_gate(settings: Settings) -> None:
    with open_ledger(settings, read_only=False) as connection:
        ensure_ledger(connection)
    record(settings, WINDOW, [OvertakenHour("2026-11-20T11", 2, "s3://b/k")])
    assert recorded_hours(settings, WINDOW) == ("2026-11-20T11",)
    hull = Window.parse("2026-11-20T11", "2026-11-20T14")
    # A gate that no build came before releases nothing.
    advance(settings, hull, "validate_marts")
    assert recorded_hours(settings, WINDOW) == ("2026-11-20T11",)


def test_states_that_block_are_those_that_changed_marts() -> None:
    assert set(BLOCKING) == {HourState.BUILDING, HourState.FAILED}
