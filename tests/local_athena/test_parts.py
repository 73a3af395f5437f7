from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from pathlib import Path

import pytest

from local_athena import parts
from local_athena.parts import Installation, MissingPartError, Part, installation

MAVEN = """#!/bin/sh
for word in "$@"; do case "$word" in
  -Dmaven.repo.local=*) repository="${word#*=}" ;;
  -Dartifact=*) name=$(echo "$word" | cut -d: -f2); version=$(echo "$word" | cut -d: -f3) ;;
esac; done
folder="$repository/io/trino/$name/$version"
mkdir -p "$folder" && cp "$ARCHIVE" "$folder/$name-$version.zip" && echo "$name" >> "$CALLS"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven that has one archive for everything; the file that says what it was asked for."""
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(MAVEN)
    maven.chmod(0o755)
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("trino-thing-476/thing.jar", "jar")
    monkeypatch.setenv("PATH", str(maven.parent), prepend=os.pathsep)
    monkeypatch.setenv("ARCHIVE", str(archive))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    for name in ("SERVER", "HIVE", "ICEBERG"):
        monkeypatch.setattr(parts, name, Part(name.lower(), "zip", digest))
    return tmp_path / "calls"


def test_parts_are_fetched_once_even_by_two_at_a_time(tmp_path: Path, calls: Path) -> None:
    cache = tmp_path / "cache"
    found: list[Installation] = []
    fetchers = [threading.Thread(target=lambda: found.append(installation(cache))) for _ in range(2)]
    for fetcher in fetchers:
        fetcher.start()
    for fetcher in fetchers:
        fetcher.join()
    assert found == [Installation(cache / "trino-476")] * 2
    assert (found[0].plugins / "trino-thing-476" / "thing.jar").read_text() == "jar"
    assert sorted(calls.read_text().split()) == ["hive", "iceberg", "server"]
    assert sorted(path.name for path in cache.iterdir()) == ["trino-476", "trino-476.lock"]


def test_what_a_killed_one_left_is_removed(tmp_path: Path, calls: Path) -> None:
    (tmp_path / "cache" / "trino-476-left" / "repository").mkdir(parents=True)
    installation(tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["trino-476", "trino-476.lock"]


def test_what_is_not_pinned_is_refused_and_leaves_nothing(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ICEBERG", Part("iceberg", "zip", "0" * 64))
    with pytest.raises(MissingPartError, match="is not what is pinned"):
        installation(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["trino-476.lock"]


def test_a_maven_that_fails_is_quoted(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE", "/nowhere")
    with pytest.raises(MissingPartError, match=r"could not fetch io\.trino:server:476:zip: .*/nowhere"):
        installation(tmp_path / "cache")


def test_without_maven_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FLOWLAKE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingPartError, match="apt-get install maven"):
        installation()


def test_what_is_there_needs_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "trino-476").mkdir()
    assert installation(tmp_path) == Installation(tmp_path / "trino-476")
