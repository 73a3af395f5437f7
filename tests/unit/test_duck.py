"""How the lake is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlake.lake import duck
from flowlake.lake.duck import connect, database_config
from flowlake.settings import LakeSettings, Settings

IS_CHECKED_AGAIN = "select current_setting('allow_unsigned_extensions')::varchar <> 'true'"


def test_an_extension_is_checked_once_a_process_and_again_when_its_file_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck, "_checked", {})
    settings = Settings(sources=(), lake=LakeSettings(path=tmp_path / "lake"))

    def is_checked_again() -> object:
        with connect(settings, read_only=False) as connection:
            return connection.execute(IS_CHECKED_AGAIN).fetchone()

    assert is_checked_again() == (True,)
    assert is_checked_again() == (False,)
    for name in ("ducklake", "sqlite_scanner"):
        path, *facts = duck._checked[name]
        duck._checked[name] = (path, *(fact + 1 for fact in facts))  # type: ignore[assignment]
        assert is_checked_again() == (True,)
        assert is_checked_again() == (False,)
    # Loaded unchecked, a file is never taken for a checked one.
    duck._checked["inet"] = (str(tmp_path / "gone"), 0, 0, 0)
    assert database_config(settings) == {}
