"""The benchmarks' child processes: how they are measured, and that floor and peer read all that there is to read."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import psutil
import pytest

from bench import floor, peer
from bench.processes import BenchError, measure
from flowlake.lake.duck import install_extensions
from flowlake.sample.worst_case import WorstCaseReport, generate_worst_case

CHILD = """
import subprocess, sys, time
held = bytearray(60_000_000)
subprocess.run([sys.executable, "-c", "import time; held = bytearray(60_000_000); time.sleep(1)"])
print("done")
"""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> WorstCaseReport:
    return generate_worst_case(3000, tmp_path_factory.mktemp("bench"), objects=2)


def test_a_child_is_measured_with_its_own_children(tmp_path: Path) -> None:
    measured = measure([sys.executable, "-c", CHILD], log=tmp_path / "log", cwd=tmp_path, environ=os.environ)
    assert measured.output == "done\n"
    assert measured.peak_memory > 120_000_000
    assert measured.seconds >= 1
    assert measured.cpu_seconds > 0


def test_the_height_of_a_folder_is_kept(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    script = "import pathlib, time; p = pathlib.Path('spill'); p.mkdir(); f = p / 'a'; f.write_bytes(bytes(5000))"
    script += "; time.sleep(1); f.unlink()"
    measured = measure(
        [sys.executable, "-c", script], log=tmp_path / "log", cwd=tmp_path, environ=os.environ, spill=spill
    )
    assert measured.peak_spill == 5000


def test_a_child_that_fails_is_an_error_that_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    script = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.exit('too bad')"
    with pytest.raises(BenchError, match=r"failed with 1.*too bad"):
        measure([sys.executable, "-c", script], log=tmp_path / "log", cwd=tmp_path, environ=os.environ)
    left = int((tmp_path / "log").read_text().split()[0])
    with contextlib.suppress(psutil.NoSuchProcess):
        # Killed, but a busy machine may take a moment to bury it; a minute would be the sleep's own end.
        psutil.Process(left).wait(timeout=20)


def test_the_floor_writes_every_record(
    logs: WorstCaseReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import duckdb

    floor.main(logs.logs, tmp_path / "lake")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(floor.TABLES)
    install_extensions()
    with duckdb.connect() as connection:
        for name in floor.EXTENSIONS:
            connection.load_extension(name)
        connection.execute(f"attach 'ducklake:sqlite:{tmp_path}/lake/catalog.sqlite' as lake")
        edges = connection.execute("select count(*), sum(packets), sum(bytes) from lake.floor.edges").fetchone()
        bad = connection.execute("select count(malformed_reason) from lake.floor.lines").fetchone()
    assert edges == (3000, logs.packets, logs.record_bytes)
    assert bad == (0,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_peer_reads_every_record(logs: WorstCaseReport, capsys: pytest.CaptureFixture[str]) -> None:
    peer.main(logs.logs)
    assert capsys.readouterr().out == f"3000 {logs.record_bytes}\n"
