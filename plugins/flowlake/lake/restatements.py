"""`ops.restatements`: which hours that readers had seen were changed, by which run, by how much, and why.

A marts gate that passes notes the event hours that its run has written anew (`ops.unpublished_hours`). `publish`
compares those hours as readers see them with what they are about to see, and writes down the ones that differ with the
move of the views (docs/adr/0027-restatements.md). So what is noted may be more than what changed, never less, and a
publish that was killed is compared again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from flowlake.lake.aws import athena_settings
from flowlake.lake.duck import columns_of, connect, lake_exists, retried
from flowlake.lake.files import open_files
from flowlake.lake.ledger import open_ledger
from flowlake.lake.tables import in_window, read_rows
from flowlake.lake.windows import Window, format_hour, parse_hour
from flowlake.settings import Target
from flowlake.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb
    import pyarrow as pa

    from flowlake.settings import Settings

TABLE = "restatements"
NOTES = "unpublished_hours"

COLUMNS: Mapping[str, tuple[str, str]] = {
    "table_name": ("varchar", "The published table whose rows changed: `fct_edges` or `fct_gateway_flows`."),
    "event_hour": ("timestamp", "The hour of the records, UTC."),
    "why": ("varchar", "The first of these that holds: `correction`, `replay`, `late`, `delivery`, `learnt`."),
    "run_id": ("varchar", "The run that did it; of several between two publications the last one for `why`."),
    "arrival_from": ("varchar", "The first arrival hour of that run's window."),
    "arrival_to": ("varchar", "The arrival hour before which its window ends."),
    "published_at": ("timestamp", "When readers were shown it, UTC."),
    "version": ("bigint", "The version that shows it first: of the lake; on Athena the number of the publication."),
    "flows_before": ("bigint", "The hour's counted flows (`where is_counted`), as readers saw them until then."),
    "packets_before": ("bigint", "Its counted packets until then."),
    "bytes_before": ("bigint", "Its counted bytes until then."),
    "flows_change": ("bigint", "What came to the flows, or, below zero, was taken from them."),
    "packets_change": ("bigint", "Likewise of the packets."),
    "bytes_change": ("bigint", "Likewise of the bytes."),
}
"""The columns of `ops.restatements`, each with its type and what it means."""

_NOTES = {
    "arrival_hour": "varchar",
    "event_hour": "timestamp",
    "is_late": "boolean",
    "is_correction": "boolean",
    "run_id": "varchar",
    "arrival_from": "varchar",
    "arrival_to": "varchar",
    "noted_at": "timestamp",
}

_NUMBERS = ("flows", "packets", "bytes")

_COMPARED: Mapping[str, tuple[str, ...]] = {
    "fct_edges": (
        *("src_device_id", "dst_device_id", "protocol", "service_port", "src_role", "action"),
        *(*_NUMBERS, "is_counted"),
    ),
    "fct_gateway_flows": (
        *("flow_log_id", "tgw_id", "attachment_id", "pair_attachment_id", "flow_direction"),
        *("src_vpc_id", "dst_vpc_id", "src_address", "dst_address", "protocol", "service_port", "src_role"),
        *("packets_lost_no_route", "packets_lost_blackhole", "packets_lost_mtu_exceeded", "packets_lost_ttl_expired"),
        *(*_NUMBERS, "is_counted"),
    ),
}
"""The facts, each with the columns in which a difference is a restatement: who, to whom, how much, and whether it
counts. The key `edge_id` is made of them and would double what Athena reads."""

LOOKED_AT = (*_COMPARED, "fct_coverage")
"""The published tables that `find_restated` reads, if they are shown."""

_MOST_RANGES = 400
"""So many separate ranges of hours stand in a statement; Athena takes none beyond 262,144 bytes."""

_HOUR = timedelta(hours=1)

_PUBLICATIONS_A_FILE = 1000


class Why(StrEnum):
    """Why the rows of an hour changed. Where several hold, the one that stands first here is written down."""

    CORRECTION = "correction"
    REPLAY = "replay"
    LATE = "late"
    DELIVERY = "delivery"
    LEARNT = "learnt"


MEANINGS: Mapping[Why, str] = {
    Why.CORRECTION: "Objects that had been read were overwritten or removed at the source.",
    Why.REPLAY: "An arrival hour that readers had seen was run again.",
    Why.LATE: "Objects came over an hour after the time in their name, or later than in the next hour.",
    Why.DELIVERY: "Objects came in time: the end of an hour is delivered in the next one, every hour.",
    Why.LEARNT: "No record of the hour came; what was learnt of an interface or flow log changes what they mean.",
}
"""What each word says, for docs/tables.md."""


@dataclass(frozen=True)
class Restatement:
    """An event hour whose rows in a published table changed; sums are of what counts, each packet once."""

    table_name: str
    event_hour: datetime
    """Naive UTC."""
    why: Why
    run_id: str
    arrival_from: str
    arrival_to: str
    flows_before: int
    packets_before: int
    bytes_before: int
    flows_change: int
    packets_change: int
    bytes_change: int


@dataclass(frozen=True)
class Note:
    """What a run has said of an event hour that it wrote anew, and of an arrival hour that brought records of it.

    `arrival_hour` is None where its window has never brought any.
    """

    arrival_hour: str | None
    event_hour: datetime
    is_late: bool
    is_correction: bool
    run_id: str
    arrival_from: str
    arrival_to: str
    noted_at: datetime


def ensure_tables(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables where they are missing; on Athena only the notes are a ledger of `open_ledger`."""
    wanted = {NOTES: _NOTES}
    if settings.target is not Target.ATHENA:
        wanted[TABLE] = {name: type_ for name, (type_, _) in COLUMNS.items()}

    def create() -> None:
        for table, columns in wanted.items():
            if not columns_of(connection, f"ops.{table}"):
                connection.execute("create schema if not exists lake.ops")
                listed = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
                connection.execute(f"create table if not exists lake.ops.{table} ({listed})")

    retried(create)


# --- what runs note ---


def note_corrected(settings: Settings, hours: Collection[str]) -> None:
    """Write down arrival hours of which objects that had been read were overwritten or removed; before they change.

    The gate of the run that builds these hours takes it up (`note_restated`), also when that is another one. Of a lake
    without tables nobody has seen anything.
    """
    if not lake_exists(settings):
        return
    with open_ledger(settings, read_only=False) as connection:
        ensure_tables(settings, connection)
        retried(
            lambda: connection.execute(
                f"insert into lake.ops.{NOTES} (arrival_hour, is_correction, noted_at) "
                "select unnest(?::varchar[]), true, now() at time zone 'UTC'",
                [sorted(hours)],
            )
        )


@dataclass(frozen=True)
class WrittenHour:
    """An event hour that the marts were last built of, and an arrival hour of the window that brought records of it."""

    event_hour: datetime
    arrival_hour: str | None
    has_late: bool
    """Whether objects brought some that arrived over an hour after the time in their name."""


def written_hours(settings: Settings, window: Window) -> list[WrittenHour]:
    """What the marts were last built of, by event hour and arrival hour of the window. One statement."""
    here = in_window(window)
    rows = read_rows(
        settings,
        "with late as (select distinct arrival_hour, event_hour from {staging}.stg_flow_logs__lines "
        f"where {here} and line_kind = 'record' and source_uri in ("
        f"select source_uri from {{intermediate}}.int_objects__accounted where {here} and is_late)), "
        f"touched as (select arrival_hour, event_hour from {{intermediate}}.int_hours__touched where {here}) "
        "select cast(restated.event_hour as varchar), touched.arrival_hour, "
        "case when late.event_hour is null then 0 else 1 end from {intermediate}.int_hours__restated as restated "
        "left join touched on restated.event_hour = touched.event_hour "
        "left join late on touched.event_hour = late.event_hour and touched.arrival_hour = late.arrival_hour",
    )
    return [WrittenHour(_event_hour(event), arrival, bool(int(late))) for event, arrival, late in rows]


def note_restated(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    window: Window,
    run_id: str,
    written: Sequence[WrittenHour],
) -> None:
    """Write down what a run over the window has written anew, before its hours count as validated."""
    ensure_tables(settings, connection)
    start, end = str(window).split("/")
    hours = list(window.hours)
    of_hours = f"from lake.ops.{NOTES} where event_hour is null and arrival_hour in (select unnest(?))"

    def work() -> None:
        connection.execute("begin")
        corrected = connection.execute(f"select arrival_hour {of_hours}", [hours]).fetchall()
        if corrected:
            connection.execute(f"delete {of_hours}", [hours])
        connection.execute(
            f"insert into lake.ops.{NOTES} ({', '.join(_NOTES)}) select unnest(?::varchar[]), unnest(?::timestamp[]), "
            "unnest(?::boolean[]), unnest(?::boolean[]), ?, ?, ?, now() at time zone 'UTC'",
            [
                [hour.arrival_hour for hour in written],
                [hour.event_hour for hour in written],
                [hour.has_late or _is_after(hour) for hour in written],
                [(hour.arrival_hour,) in corrected for hour in written],
                *(run_id, start, end),
            ],
        )
        connection.execute("commit")

    retried(work)


def _is_after(hour: WrittenHour) -> bool:
    """Whether the arrival hour is later than the one that follows the event hour."""
    if hour.arrival_hour is None:
        return False
    return parse_hour(hour.arrival_hour).replace(tzinfo=None) - hour.event_hour > _HOUR


def read_notes(connection: duckdb.DuckDBPyConnection) -> tuple[Note, ...]:
    """What runs have noted of event hours since the last publish, in the order in which they did."""
    if not columns_of(connection, f"ops.{NOTES}"):
        return ()
    rows = connection.execute(
        f"select {', '.join(_NOTES)} from lake.ops.{NOTES} where event_hour is not null order by noted_at"
    ).fetchall()
    return tuple(Note(*row) for row in rows)


FORGET_NOTES = f"delete from lake.ops.{NOTES} where event_hour is not null"
"""What `publish` has compared. What was noted of arrival hours alone is of runs that have not come to their gate."""


# --- what publish compares ---


def find_restated(
    settings: Settings,
    notes: Sequence[Note],
    shown: Mapping[str, Collection[str]],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> tuple[Restatement, ...]:
    """The noted hours whose rows readers are about to see changed, by hour; one statement, none without notes.

    `shown` are the columns of what is published now, by name; what is not published yet cannot be restated. Nor can an
    hour of which readers have seen no row. `connection` is one to a DuckLake, where it is open already.
    """
    tables = [name for name, columns in _COMPARED.items() if {"event_hour", *columns} <= set(shown.get(name, ()))]
    if not notes or not tables:
        return ()
    rows = read_rows(settings, _comparison(settings, notes, tables, shown), connection=connection)
    sides: dict[tuple[str, str], dict[datetime, tuple[Any, ...]]] = {}
    seen: set[str] = set()
    for table, side, hour, *found in rows:
        if table == "fct_coverage":
            seen.add(hour)
        else:
            sides.setdefault((table, side), {})[_event_hour(hour)] = tuple(found)
    words = _strongest(notes, seen)
    restated = []
    for table in tables:
        after = sides.get((table, "after"), {})
        for hour, (mark, *before) in sorted(sides.get((table, "before"), {}).items()):
            new_mark, *now = after.get(hour, (None, 0, 0, 0))
            if new_mark != mark and hour in words:
                why, note = words[hour]
                sums = [int(number) for number in before]
                changes = [int(number) - old for number, old in zip(now, sums, strict=True)]
                said = (note.run_id, note.arrival_from, note.arrival_to)
                restated.append(Restatement(table, hour, why, *said, *sums, *changes))
    return tuple(sorted(restated, key=lambda one: (one.event_hour, one.table_name)))


def _comparison(
    settings: Settings, notes: Sequence[Note], tables: Sequence[str], shown: Mapping[str, Collection[str]]
) -> str:
    hours = _condition({note.event_hour for note in notes})
    sums = ", ".join(f"cast(sum(case when is_counted then {name} else 0 end) as bigint)" for name in _NUMBERS)
    parts = [
        f"select '{table}' as table_name, '{side}' as side, cast(event_hour as varchar) as hour, "
        f"{_fingerprint(settings, _COMPARED[table])}, {sums} "
        f"from {{{schema}}}.{table} where {hours} group by event_hour"
        for table in tables
        for side, schema in (("before", "flowlake"), ("after", "core"))
    ]
    arrivals = [note.arrival_hour for note in notes if note.arrival_hour is not None]
    if arrivals and "fct_coverage" in shown:
        first, last = (format_hour(parse_hour(hour)) for hour in (min(arrivals), max(arrivals)))
        nothing = ", ".join(["cast(null as varchar)", *["cast(0 as bigint)"] * len(_NUMBERS)])
        parts.append(
            f"select distinct 'fct_coverage', 'before', arrival_hour, {nothing} from {{flowlake}}.fct_coverage "
            f"where arrival_hour between '{first}' and '{last}'"
        )
    return " union all ".join(parts)


def _fingerprint(settings: Settings, columns: Sequence[str]) -> str:
    """What is the same for the same rows in whatever order."""
    listed = ", ".join(columns)
    if settings.target is Target.ATHENA:
        return f"to_hex(checksum(row({listed})))"
    return f"cast(sum(cast(hash({listed}) as hugeint)) as varchar)"


def _condition(hours: Iterable[datetime]) -> str:
    """The event hours as ranges, by which either engine prunes files; one around all where they are too many."""
    ranges: list[list[datetime]] = []
    for hour in sorted(hours):
        if ranges and ranges[-1][1] == hour:
            ranges[-1][1] = hour + _HOUR
        else:
            ranges.append([hour, hour + _HOUR])
    if len(ranges) > _MOST_RANGES:
        ranges = [[ranges[0][0], ranges[-1][1]]]
    listed = (f"(event_hour >= timestamp '{start}' and event_hour < timestamp '{end}')" for start, end in ranges)
    return f"({' or '.join(listed)})"


def _strongest(notes: Sequence[Note], seen: Collection[str]) -> dict[datetime, tuple[Why, Note]]:
    """Of each event hour the strongest reason, and the last note that gives it."""
    strength = list(Why)
    found: dict[datetime, tuple[Why, Note]] = {}
    for note in notes:
        why = _why(note, seen)
        known = found.get(note.event_hour)
        if known is None or strength.index(why) <= strength.index(known[0]):
            found[note.event_hour] = why, note
    return found


def _why(note: Note, seen: Collection[str]) -> Why:
    if note.arrival_hour is None:
        return Why.LEARNT
    if note.is_correction:
        return Why.CORRECTION
    if note.arrival_hour in seen:
        return Why.REPLAY
    return Why.LATE if note.is_late else Why.DELIVERY


def _event_hour(text: str) -> datetime:
    """An event hour as naive UTC, of what either engine writes for a timestamp."""
    return datetime.strptime(text[:13], "%Y-%m-%d %H")


# --- the ledger ---


def as_arrow(restated: Sequence[Restatement], version: int, published_at: datetime) -> pa.Table:
    """Rows of `ops.restatements`."""
    import pyarrow as pa

    types = {"varchar": pa.string(), "timestamp": pa.timestamp("us"), "bigint": pa.int64()}
    schema = pa.schema([(name, types[type_]) for name, (type_, _) in COLUMNS.items()])
    told = {"version": version, "published_at": published_at.astimezone(UTC).replace(tzinfo=None)}
    return pa.Table.from_pylist([{**asdict(one), "why": str(one.why), **told} for one in restated], schema)


def folder(database: str) -> str:
    """Where the ledger lies on Athena, among the data that analysts may read; `database` is `athena.database`."""
    return f"data/{database}_ops/{TABLE}"


def write_on_athena(settings: Settings, restated: Sequence[Restatement], version: int, published_at: datetime) -> None:
    """Write what a publication is about to show, in the place of what a killed one wrote under the same number.

    A file holds 1,000 publications, so that neither a write nor their number grows with history.
    """
    path = _athena_file(settings, version)
    files = open_files(settings)
    before = files.read(path)
    table = as_arrow(restated, version, published_at)
    if before is not None:
        import pyarrow as pa
        import pyarrow.compute as pc

        known = _read_parquet(before)
        table = pa.concat_tables([known.filter(pc.not_equal(known["version"], version)), table])
    elif not restated:
        return
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    if content != before:
        files.write(path, content)


def written_on_athena(settings: Settings, version: int) -> tuple[Restatement, ...]:
    """What was written under the number of a publication."""
    content = open_files(settings).read(_athena_file(settings, version))
    rows = _read_parquet(content).to_pylist() if content else []
    return tuple(
        Restatement(**{**{item.name: row[item.name] for item in fields(Restatement)}, "why": Why(row["why"])})
        for row in rows
        if row["version"] == version
    )


def _athena_file(settings: Settings, version: int) -> str:
    return f"{folder(athena_settings(settings).database)}/{version // _PUBLICATIONS_A_FILE:06d}.parquet"


def _read_parquet(content: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    return parquet.read_table(pa.BufferReader(content), use_threads=False)


def recently(settings: Settings, since: datetime, version: int) -> Counter[str]:
    """How many event hours of edges were restated since a moment, by why; `version` is the published one.

    On Athena it is read from the newest files, without a statement.
    """
    if settings.target is Target.ATHENA:
        import duckdb
        import pyarrow as pa

        tables = [as_arrow((), version, since), *_newest_on_athena(settings, since, version)]
        with duckdb.connect() as connection:
            connection.register(TABLE, pa.concat_tables(tables))
            return _counted(connection, TABLE, since)
    with connect(settings) as connection:
        if not columns_of(connection, f"ops.{TABLE}"):
            return Counter()
        return _counted(connection, f"lake.ops.{TABLE}", since)


def _newest_on_athena(settings: Settings, since: datetime, version: int) -> Iterator[pa.Table]:
    """The files from the published one back to the first that begins before a moment."""
    import pyarrow.compute as pc

    files = open_files(settings)
    for newest in range(version, -1, -_PUBLICATIONS_A_FILE):
        if (content := files.read(_athena_file(settings, newest))) is not None:
            yield (table := _read_parquet(content))
            # None of a file that a killed publication has left without rows.
            begun = pc.min(table["published_at"]).as_py()
            if begun is not None and begun < since.astimezone(UTC).replace(tzinfo=None):
                return


def _counted(connection: duckdb.DuckDBPyConnection, table: str, since: datetime) -> Counter[str]:
    rows = connection.execute(
        f"select why, count(distinct event_hour) from {table} "
        "where table_name = 'fct_edges' and published_at >= ?::timestamp group by why",
        [since.astimezone(UTC).replace(tzinfo=None)],
    ).fetchall()
    return Counter(dict(rows))


def by_hour(restated: Iterable[Restatement]) -> dict[datetime, Why]:
    """Why each event hour was restated, whichever tables it concerned; the hours are aware."""
    strength = list(Why)
    hours: dict[datetime, Why] = {}
    for one in restated:
        hour = one.event_hour.replace(tzinfo=UTC)
        hours[hour] = min(one.why, hours.get(hour, one.why), key=strength.index)
    return hours


def by_word(restated: Iterable[Restatement]) -> Counter[str]:
    """How many event hours were restated for each reason."""
    return Counter(str(why) for why in by_hour(restated).values())


def in_words(words: Mapping[str, int]) -> str:
    """`3 event hours (late 2, delivery 1)`."""
    listed = ", ".join(f"{why} {words[why]:,}" for why in Why if words.get(why))
    return f"{counted(sum(words.values()), 'event hour')}{f' ({listed})' if listed else ''}"
