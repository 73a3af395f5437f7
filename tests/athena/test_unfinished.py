"""What a killed run left under way on Athena has ended before the next one writes, and nothing else has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowlake.lake.athena import AthenaError, AthenaLake
from flowlake.lake.files import open_files
from flowlake.lake.unfinished import NOTE, Work, noted
from flowlake.settings import Settings, SettingsError
from local_athena.queries import Database
from local_athena.server import LocalAthena

HEAVY = (
    "select count(*) from unnest(sequence(1, 5000)) a(x), unnest(sequence(1, 5000)) b(y), unnest(sequence(1, 400)) c(z)"
)

STAGING, PUBLISH = Work("run", "build_staging"), Work("run", "publish")

COMMENT = '-- /* {"app": "dbt", "node_id": "model.flowlake.t"} */\n'


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def fail_in_a_step(settings: Settings) -> None:
    """A step that began, and did not come to its end."""
    with pytest.raises(RuntimeError), noted(settings, STAGING):
        raise RuntimeError


@pytest.mark.parametrize("kind", ["queued", "running"])
def test_an_insert_of_a_dead_run_adds_no_row_to_what_the_next_one_writes(
    surroundings: LocalAthena, settings: Settings, core: Database, kind: str
) -> None:
    fail_in_a_step(settings)
    if kind == "queued":
        surroundings.inject(statement="1 as late", delay=6)
        late = core.start(f'{COMMENT}insert into "awsdatacatalog"."{core.name}"."t" select 1 as late')
    else:
        late = core.start(f'insert into "{core.name}"."t" select cast(x % 2 as integer) from ({HEAVY}) as heavy(x)')
    with noted(settings, STAGING):
        core.do("delete from t where true")
        core.do("insert into t select 2")
        answer = core.wait(late)
    assert answer.state == "CANCELLED"
    assert core.rows("select * from t") == [("2",)]
    assert open_files(settings).read(NOTE) is None


def test_a_dead_run_is_looked_for_in_the_work_group_that_it_used(
    surroundings: LocalAthena, settings: Settings, core: Database
) -> None:
    fail_in_a_step(settings)
    surroundings.inject(statement="1 as late", delay=6)
    late = core.start(f'insert into "{core.name}"."t" select 1 as late')
    surroundings.client("athena").create_work_group(
        Name="later", Configuration={"EnforceWorkGroupConfiguration": False}
    )
    assert settings.athena is not None
    with noted(replace(settings, athena=replace(settings.athena, work_group="later")), STAGING):
        pass
    assert core.wait(late).state == "CANCELLED"


@pytest.mark.parametrize("asked", ["", "/results", "/elsewhere/"])
def test_a_work_group_that_hides_results_is_refused(surroundings: LocalAthena, settings: Settings, asked: str) -> None:
    assert settings.athena is not None
    place = {"ResultConfiguration": {"OutputLocation": f"{settings.athena.location}{asked}"}} if asked else {}
    name = f"enforcing_{len(asked)}"
    surroundings.client("athena").create_work_group(
        Name=name, Configuration={"EnforceWorkGroupConfiguration": True, **place}
    )
    lake = AthenaLake(replace(settings, athena=replace(settings.athena, work_group=name)))
    if asked != "/elsewhere/":
        lake.require_work_group()
        return
    with pytest.raises(AthenaError, match=f"{name} puts the results of queries into .+elsewhere.+: no run could be"):
        lake.require_work_group()


def test_a_work_group_that_is_not_there_is_a_mistake_of_the_settings(
    surroundings: LocalAthena, settings: Settings
) -> None:
    assert settings.athena is not None
    wrong = replace(settings, athena=replace(settings.athena, work_group="analitics"))
    with pytest.raises(SettingsError, match=r"athena\.work_group: .*analitics is not found"), noted(wrong, STAGING):
        pass


def test_what_cannot_be_stopped_any_more_is_waited_for(
    surroundings: LocalAthena, settings: Settings, core: Database
) -> None:
    """DDL that has begun: it is short, and half of it would be worse.."""
    late = core.start(f"alter table `{core.name}`.`t` add columns (`y` int)")
    lake = AthenaLake(settings)
    lake.end_leftovers(an_hour_ago(), patience=60)
    assert core.wait(late).state == "SUCCEEDED"


def test_readers_and_other_lakes_are_left_alone(surroundings: LocalAthena, settings: Settings, core: Database) -> None:
    other = f"{core.name}_other"
    surroundings.client("glue").create_database(DatabaseInput={"Name": other})
    core.do(
        f'create table "{other}"."t" with (table_type=\'ICEBERG\', is_external=false, '
        f"location='{core.location('other')}') as select 1 as x"
    )
    surroundings.inject(statement="-- slow", delay=4, times=4)
    mine = core.start(f'insert into "{core.name}"."t" select 3 -- slow')
    others = [
        core.start(f'select x from "{core.name}"."t" -- slow'),
        core.start(f'insert into "{other}"."t" select x from "{core.name}"."t" -- slow'),
        core.start(f'/* insert into "{core.name}"."t" */ insert into "{other}"."t" select 2 -- slow'),
    ]
    assert AthenaLake(settings).end_leftovers(an_hour_ago(), patience=60) == 1
    assert core.wait(mine).state == "CANCELLED"
    assert [core.wait(one).state for one in others] == ["SUCCEEDED"] * 3


def test_a_step_that_ended_well_leaves_nothing_to_look_for(
    surroundings: LocalAthena, settings: Settings, core: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise AssertionError("nothing is left, and every look costs calls")

    with noted(settings, PUBLISH):
        assert open_files(settings).read(NOTE) is not None
    monkeypatch.setattr(AthenaLake, "end_leftovers", refuse)
    with noted(settings, PUBLISH):
        pass


def test_one_that_does_not_end_stops_the_run_with_its_name(
    surroundings: LocalAthena, settings: Settings, core: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = AthenaLake(settings)
    surroundings.inject(statement="7 as stuck", delay=5)
    late = core.start(f'insert into "{core.name}"."t" select 7 as stuck')
    monkeypatch.setattr(lake._athena, "stop_query_execution", lambda **_: None)
    with pytest.raises(AthenaError, match=rf"{late}, which does not end: stop it"):
        lake.end_leftovers(an_hour_ago(), patience=0.5)
    core.wait(late)


def test_looking_for_them_ends_with_the_pages_of_that_time(
    surroundings: LocalAthena, settings: Settings, core: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(60):
        core.start("select 1")
    last = core.do("select 1").execution["Status"]["SubmissionDateTime"]
    lake, asked = AthenaLake(settings), []
    original = lake._athena.batch_get_query_execution

    def counted(**request: object) -> object:
        asked.append(request)
        return original(**request)

    monkeypatch.setattr(lake._athena, "batch_get_query_execution", counted)
    lake.end_leftovers(last + timedelta(seconds=1), patience=1)
    assert len(asked) == 1


def test_on_duckdb_nothing_is_noted(tmp_path: Path) -> None:
    from flowlake.settings import LakeSettings

    with noted(Settings(sources=(), lake=LakeSettings(tmp_path)), PUBLISH):
        assert list(tmp_path.iterdir()) == []
