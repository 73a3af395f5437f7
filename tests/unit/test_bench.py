"""The benchmarks' pure parts. Nothing here is timed: what was measured stands in docs/benchmarks.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import APART, PAGE, RESULTS, chosen
from bench.history_logs import _new_client, _records
from bench.inputs import is_made, mark_made
from bench.page import TITLES, render, shown_row, text_table
from bench.product import TESTS, nodes_of, steps_of
from bench.results import Aim, Bound, Machine, Row, Section, Table, Unit, read_results, write_results
from bench.size import agree
from bench.sizing import Measured
from flowlake.errors import FlowlakeError

MACHINE = Machine(cores=2, memory=8_000_000_000, system="Linux x86_64", python="3.11.7", duckdb="1.5.5")
SECTION = Section(
    measured_at="2026-11-21 04:00",
    commit="abc1234",
    machine=MACHINE,
    load=0.1,
    seconds=60.0,
    rows=(
        Row("whole run", 30.04, Unit.SECONDS, Aim(Bound.AT_MOST, 25), 1.5, "the floor"),
        Row("margin", 400_000, Unit.RECORDS_PER_SECOND, Aim(Bound.AT_LEAST, 350_000)),
        Row("memory", 1_500_000_000, Unit.BYTES),
    ),
    tables=(Table("Seconds by step", ("step", "seconds"), (("register", "0.4"),)),),
    notes=("A note.",),
)

LOG = """\
info: dbt: 04:25:59  1 of 7 START sql replaced model staging.stg_flow_logs__lines ................... [RUN]
info: dbt: 04:26:00  1 of 7 OK created sql replaced model staging.stg_flow_logs__lines .............. [OK in 0.70s]
info: dbt: 04:26:00  6 of 7 PASS unique_int_objects__accounted_source_uri__arrival_window  [PASS in 0.04s]
info: dbt: 04:26:00  7 of 7 WARN 1 unique_service_ports_port ................................... [WARN 1 in 0.02s]
info: dbt: 04:26:08  4 of 53 OK loaded seed file seeds.service_ports ............. [INSERT 92 in 0.09s]
info: dbt: 04:26:00  Finished running 3 replaced models, 1 test in 0 hours 0 minutes and 1.63 seconds (1.63s).
info: build_staging 2026-11-20T12/2026-11-20T13: objects=20 lines=200020 seconds=7.1
[2/6] build_staging       7.1 s  20 objects, 200,020 lines, 200,000 records, 5.0 MB
[6/6] publish            10.3 s  25 tables, version 67
2026-11-20T12/2026-11-20T13: published 25 tables at version 67 in 23.6 s
"""


def test_the_page_is_what_the_results_say() -> None:
    assert PAGE.read_text() == render(read_results(RESULTS)), "run `make bench`; the page is not written by hand"


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "results.json"
    assert read_results(path) == {}
    sections = {"floor": SECTION, "worst": replace(SECTION, rows=())}
    write_results(path, sections)
    assert read_results(path) == sections


def test_a_row_says_whether_its_aim_is_met() -> None:
    assert [shown_row(row) for row in SECTION.rows] == [
        ("whole run", "30.0 s", "at most 25.0 s", "MISSED", "1.5 times the floor"),
        ("margin", "400,000 records/s", "at least 350,000 records/s", "met", ""),
        ("memory", "1.5 GB", "", "", ""),
    ]


def test_the_page_has_every_section_in_order_with_its_circumstances() -> None:
    page = render({"worst": SECTION, "floor": SECTION})
    assert page.index(f"## {TITLES['floor']}") < page.index(f"## {TITLES['worst']}")
    assert '`make bench ONLY="worst"`, 2026-11-21 04:00 UTC, commit abc1234, 60 s in all, load 0.1' in page
    assert "2 cores, 8.0 GB of memory, Linux x86_64, Python 3.11.7, DuckDB 1.5.5" in page
    assert "| register | 0.4 |" in page
    assert "Nothing has been measured" in render({})


def test_a_terminal_table_is_aligned() -> None:
    assert text_table(("a", "b"), [("long", "1"), ("x", "")]) == "a     b\n───────\nlong  1\nx"


def test_a_section_brings_what_it_compares_itself_with() -> None:
    assert chosen("") == [name for name in TITLES if name not in APART]
    assert [name for name in TITLES if name in APART] == chosen("sizing athena") == ["athena", "sizing"]
    assert chosen("fixed worst") == ["floor", "worst", "fixed"]
    with pytest.raises(FlowlakeError, match="no section speed"):
        chosen("speed")


def test_seconds_are_read_from_the_log_of_a_run() -> None:
    assert steps_of(LOG) == {"build_staging": 7.1, "publish": 10.3}
    nodes = nodes_of(LOG)
    assert nodes.pop(TESTS) == pytest.approx(0.06)
    assert nodes == {"staging.stg_flow_logs__lines": 0.70, "seeds.service_ports": 0.09}


def test_an_input_counts_as_made_only_with_the_same_facts(tmp_path: Path) -> None:
    assert is_made(tmp_path, {"records": 5}) is None
    mark_made(tmp_path, {"records": 5, "bytes": 7})
    assert is_made(tmp_path, {"records": 5}) == {"records": 5, "bytes": 7}
    assert is_made(tmp_path, {"records": 6}) is None


def test_answers_agree_when_all_but_an_estimate_is_the_same() -> None:
    one, other = [("a", "b", 100)], [("a", "b", 104)]
    assert agree(one, one, 0.0)
    assert agree(one, other, 0.05)
    assert not agree(one, other, 0.0)
    assert not agree(one, [("a", "c", 100)], 0.05)
    assert not agree(one, [], 0.05)


def test_the_history_has_as_many_records_as_it_says() -> None:
    for pairs in (1, 6, 8, 15_000, 53_334):
        assert _records(pairs) == pairs + sum(pair % 8 != 5 for pair in range(pairs))


def test_new_clients_are_new_in_every_hour() -> None:
    busiest = 53_334 // 15 + 1
    last_of_one_hour, first_of_the_next = _new_client(719, busiest), _new_client(720, 0)
    assert tuple(map(int, last_of_one_hour.split("."))) < tuple(map(int, first_of_the_next.split(".")))


def test_costs_are_reckoned_by_what_was_measured() -> None:
    measured = Measured(
        scanned=1024**3,
        scanned_more=2.0,
        statements=100,
        stored=0.5,
        requests={"s3 write": 1000, "s3 read": 2000, "glue": 1000},
        seconds=20.0,
        seconds_more=1e-6,
        disk=3.0,
    )
    day = 24e9  # a gigabyte an hour, of 1,000 objects
    assert measured.athena_bytes(day) == pytest.approx(1024**3 + 2e9)
    assert measured.athena_dollars(day) == pytest.approx(730 * (1024**3 + 2e9 + 100 * 10 * 1024**2) * 5 / 1024**4)
    assert measured.request_dollars(day) == pytest.approx(730 * (1000 * 5e-6 + 4000 * 4e-7))
    assert measured.storage_dollars(day) == pytest.approx(730 * 1.5 * 0.023)
    assert measured.machine_seconds(day) == pytest.approx(1020)
    assert measured.machine_seconds(measured.machine_most) == pytest.approx(3600)


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(FlowlakeError, match="size was not measured: run `make bench ONLY=size` before"):
        Measured.of({})
