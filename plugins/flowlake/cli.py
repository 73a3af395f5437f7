"""`flowlake`: the steps of a run, and the lake that they fill, from a terminal.

Results go to standard output, progress and messages to standard error. What goes wrong is one line; a traceback is
for whoever asks for it (--debug, FLOWLAKE_DEBUG=1).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from flowlake import __version__
from flowlake.errors import FlowlakeError, storage_error
from flowlake.lake.objects import shown
from flowlake.lake.windows import Window, WindowError, parse_hour
from flowlake.settings import Settings, SettingsError, load_settings
from flowlake.steps import STEPS, RunContext, run_window

if TYPE_CHECKING:
    from flowlake.quarantine import Selection

DEBUG_VARIABLE = "FLOWLAKE_DEBUG"
FAILED, MISTAKE, UNEXPECTED, INTERRUPTED, NO_READER = 1, 2, 70, 130, 141
TABLE_ROWS = 100

_Command = TypeVar("_Command", bound=Callable[..., Any])

HELP = """\
AWS VPC Flow Logs as tables that people can trust and afford.

\b
A first session:
  flowlake sample --out sample --hours 2
  flowlake --config sample/flowlake.yaml inspect --from 2026-11-20T12 --to 2026-11-20T15
  flowlake --config sample/flowlake.yaml run --from 2026-11-20T12 --to 2026-11-20T15
  flowlake --config sample/flowlake.yaml query "show tables"

\b
Hours are UTC and those in which objects arrived; the end is exclusive.
2026-11-20 stands for 2026-11-20T00.

\b
Exit codes:
  0    done
  1    a run, a gate or the world failed: the message says what and where
  2    a mistake in the command, the settings or the SQL
  70   an error of flowlake itself
  130  interrupted: nothing half done is published, run again to go on
"""


@dataclass
class Session:
    """What the options before the command say."""

    config: Path | None
    debug: bool

    def settings(self, config: Path | None = None) -> Settings:
        """The settings that apply. Raises SettingsError."""
        return load_settings(config or self.config)


class HourType(click.ParamType[datetime]):
    """An hour as `2026-11-20T12`, or a day as `2026-11-20`, which is its first hour."""

    name = "hour"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The start of the hour."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_hour(f"{value}T00" if len(value) == 10 else value)
        except WindowError:
            self.fail(f"{value!r} is not an hour: write it as 2026-11-20T12 or 2026-11-20, in UTC", param, ctx)


HOUR = HourType()


def _window_options(command: _Command) -> _Command:
    """--from and --to, handed over as `window`."""

    @wraps(command)
    def with_window(*args: Any, start: datetime, end: datetime, **options: Any) -> Any:
        return command(*args, window=Window(start, end), **options)

    decorated = click.option(
        "--to", "end", type=HOUR, required=True, metavar="HOUR", help="The hour to stop before (exclusive)."
    )(with_window)
    first = click.option("--from", "start", type=HOUR, required=True, metavar="HOUR", help="The first arrival hour.")
    return first(decorated)  # type: ignore[return-value]  # click's stubs lose what a decorated function returns


_config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="The settings file.  [default: $FLOWLAKE_CONFIG, else ./flowlake.yaml]",
)


class _NoReaderError(Exception):
    """Whoever read the output has enough."""


class _Group(click.Group):
    """Commands whose reader may leave: click would end the process with 1, which means a failed run here."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _NoReaderError from None
        return answer


@click.group(cls=_Group, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@_config_option
@click.option("--debug", is_flag=True, help=f"Show tracebacks (also {DEBUG_VARIABLE}=1).")
@click.version_option(__version__, "--version", prog_name="flowlake", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config: Path | None, debug: bool) -> None:
    """Keep the options for the command."""
    context.obj = Session(config, debug)


@cli.command("run", short_help="Run the steps of the hourly DAG over a window.")
@_window_options
@click.option(
    "--step",
    "only",
    multiple=True,
    type=click.Choice([step.name for step in STEPS]),
    metavar="NAME",
    help=f"Only this step; may be repeated. One of: {', '.join(step.name for step in STEPS)}.",
)
@click.option(
    "--accept-missing", is_flag=True, help="Drop the rows of objects that were registered before and are gone."
)
@click.option("--estimate", "only_estimate", is_flag=True, help="Run nothing: say what it is going to cost (Athena).")
@click.option("-v", "--verbose", is_flag=True, help="Log every step in full, dbt's own lines too.")
@_config_option
@click.pass_obj
def run_command(
    session: Session,
    *,
    window: Window,
    only: tuple[str, ...],
    accept_missing: bool,
    only_estimate: bool,
    verbose: bool,
    config: Path | None,
) -> None:
    """Run the steps of the hourly DAG over a window, in order; the first error ends the run.

    What is run again is replaced: running a window twice leaves the same rows as once.

    \b
    Examples:
      flowlake run --from 2026-11-20T12 --to 2026-11-20T15
      flowlake run --from 2026-11-01 --to 2026-12-01
      flowlake run --from 2026-11-20T12 --to 2026-11-20T13 --step register --step build_staging -v
      flowlake run --from 2026-11-01 --to 2026-12-01 --estimate
      flowlake run --from $(date -u -d '1 hour ago' +%FT%H) --to $(date -u +%FT%H)     # from cron: escape each %
    """
    from flowlake.progress import StepProgress, showing, start_logging
    from flowlake.terminal import counted, make_console

    settings = session.settings(config)
    if only_estimate:
        from flowlake.estimating import estimate

        click.echo(str(estimate(settings, window)))
        return
    console = make_console(stderr=True)
    start_logging(console, verbose=verbose)
    names = [step.name for step in STEPS if not only or step.name in only]
    now = datetime.now(UTC)
    context = RunContext(settings, window, f"cli-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}", accept_missing=accept_missing)
    started = time.monotonic()
    with showing(StepProgress(console, names)) as progress:
        reports = run_window(context, progress.on_step, only)
    seconds = time.monotonic() - started
    published = next((report for report in reports if report.step == "publish"), None)
    if published is None:
        click.echo(f"{window}: {counted(len(reports), 'step')} in {seconds:.1f} s; nothing was published")
        return
    tables = published.details.get("tables")
    click.echo(
        f"{window}: published {counted(tables, 'table') if isinstance(tables, int) else 'the tables'}"
        f" at version {published.details.get('version')} in {seconds:.1f} s"
    )
    if cost := published.details.get("cost of the run"):
        click.echo(f"cost: {cost}")


@cli.command("backfill", short_help="Run a long range window by window; what is done is skipped.")
@_window_options
@click.option(
    "--window",
    "size",
    default="day",
    show_default=True,
    metavar="SIZE",
    help="What one run takes: day, month (UTC), or so many hours, as 6h.",
)
@click.option("--dry-run", is_flag=True, help="Say what there is to run, and how long it takes; change nothing.")
@click.option("--again", is_flag=True, help="Run windows that are done, too.")
@click.option(
    "--accept-missing", is_flag=True, help="Drop the rows of objects that were registered before and are gone."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every step in full, dbt's own lines too.")
@_config_option
@click.pass_context
def backfill_command(
    command: click.Context,
    *,
    window: Window,
    size: str,
    dry_run: bool,
    again: bool,
    accept_missing: bool,
    verbose: bool,
    config: Path | None,
) -> None:
    """Run a long range window by window, oldest first, each through the steps of the hourly DAG.

    A window is done, and skipped, when all of its hours are validated and its objects are still those that were read.
    So a backfill that was stopped or killed goes on when it is typed again. It holds the lake for one window at a time:
    the hourly DAG may run beside it. The first window that fails ends it.

    \b
    Examples:
      flowlake backfill --from 2026-10-01 --to 2026-11-01 --dry-run
      flowlake backfill --from 2026-10-01 --to 2026-11-01
      flowlake backfill --from 2026-01-01 --to 2026-11-01 --window month
      flowlake backfill --from 2026-11-20 --to 2026-11-21 --window 6h --again
    """
    from flowlake import backfill
    from flowlake.progress import BackfillProgress, showing, start_logging
    from flowlake.terminal import counted, human_duration, make_console, print_table

    session: Session = command.obj
    console = make_console(stderr=True)
    start_logging(console, verbose=verbose)
    run_id = f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    context = RunContext(session.settings(config), window, run_id, accept_missing=accept_missing)
    working: AbstractContextManager[Any] = console.status(f"listing {window}") if console.is_terminal else nullcontext()
    with working:
        planned = backfill.plan(context, size, again=again)
    if dry_run:
        print_table(make_console(), backfill.plan_table(planned))
        click.echo(f"{planned}; nothing was changed")
        return
    console.print(str(planned))
    options = [f"--config {shlex.quote(str(path))}" for path in (config or session.config,) if path]
    options += [f"--window {size}", *(["--again"] if again else []), *(["--accept-missing"] if accept_missing else [])]
    started = time.monotonic()
    with showing(BackfillProgress(console, planned, window, " ".join(options))) as progress:
        filled = backfill.walk(context, planned, again=again, watch=progress)
    ran = sum(each.ran for each in filled)
    click.echo(
        f"{window}: {counted(ran, 'window')} run, {len(filled) - ran:,} skipped, published"
        f" in {human_duration(time.monotonic() - started)}"
    )


@cli.command("inspect", short_help="Show what a window would read and what looks wrong.")
@_window_options
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@_config_option
@click.pass_obj
def inspect_command(session: Session, *, window: Window, form: str, config: Path | None) -> None:
    """Show what a window would read and what looks wrong; writes nothing.

    Per source: accounts, regions, flow logs, layouts, formats, objects and bytes. Then objects that cannot be read,
    fields that nobody knows yet, late objects, and flow logs that delivered in the last registered hour and not now.
    Findings do not change the exit code.

    \b
    Examples:
      flowlake inspect --from 2026-11-20T12 --to 2026-11-20T15
      flowlake inspect --from 2026-11-20 --to 2026-11-21 --format json | jq '.problems'
    """
    from flowlake.inspection import inspect_window, show_inspection
    from flowlake.terminal import make_console

    settings = session.settings(config)
    console = make_console()
    working: AbstractContextManager[Any] = nullcontext()
    if sys.stderr.isatty():
        working = make_console(stderr=True).status(f"listing {window}")
    with working:
        inspection = inspect_window(settings, window)
    if form == "json":
        click.echo(json.dumps(inspection.as_json(), indent=2))
    else:
        show_inspection(inspection, settings, console)


@cli.command("query", short_help="Ask the lake in SQL, read only.")
@click.argument("sql")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    metavar="ROWS",
    help=f"Show at most so many rows.  [default: {TABLE_ROWS} for a table, else all]",
)
@_config_option
@click.pass_obj
def query_command(session: Session, *, sql: str, form: str, limit: int | None, config: Path | None) -> None:
    """Ask the lake in SQL, read only: DuckDB's, or Athena's where the lake is there.

    The schema `flowlake` comes first: the published tables, as of the last validated run. The layers behind it can be
    read as staging.…, core.…, ops.…, as they are at the moment; on Athena as <database>_staging.… and so on. SQL is
    read from standard input for `-`.

    csv: a header, then rows; NULL is empty. json: one object per line. Times are ISO 8601, UTC.

    \b
    Examples:
      flowlake query "show tables"
      flowlake query "describe fct_edges"
      flowlake query "from fct_edges where is_counted order by bytes desc limit 10"
      flowlake query --format csv - < talkers.sql > talkers.csv
    """
    from flowlake.querying import WRITERS, OutputFormat, open_query, table_cell
    from flowlake.terminal import make_console, make_table, print_table

    settings = session.settings(config)
    text = sys.stdin.read() if sql == "-" else sql
    output = OutputFormat(form)
    with open_query(settings, text) as result:
        if output is OutputFormat.TABLE:
            wanted = limit or TABLE_ROWS
            rows = list(islice(result.rows, wanted + 1))
            if result.is_plan:
                for line in (line for row in rows for line in str(row[-1]).splitlines()):
                    click.echo(shown(line))
                return
            cells = [[table_cell(value) for value in row] for row in rows[:wanted]]
            print_table(make_console(), make_table(result.columns, cells, right=result.numeric))
            if len(rows) > wanted:
                click.echo(f"the first {wanted:,} rows: there are more (--limit, or --format csv for all)", err=True)
        else:
            some = replace(result, rows=islice(result.rows, limit))
            WRITERS[output](some, sys.stdout)


@cli.command("sample", short_help="Write sample flow logs and settings that run them.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@click.option("--hours", type=click.IntRange(1, 9600), default=3, show_default=True, help="Hours of traffic.")
@click.option("--start", type=HOUR, default="2026-11-20T12", show_default=True, metavar="HOUR")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="The same seed, the same bytes.")
@click.option("--scale", type=float, default=None, help="1.0 is about 88,000 records an hour.  [default: 1.0]")
@click.option("--records", type=click.IntRange(min=1), default=None, help="About so many records in all.")
@click.option("--no-faults", is_flag=True, help="No broken, late or malformed objects.")
@click.option("-v", "--verbose", is_flag=True, help="Say how far it is.")
def sample_command(
    *,
    out: Path,
    hours: int,
    start: datetime,
    seed: int,
    scale: float | None,
    records: int | None,
    no_faults: bool,
    verbose: bool,
) -> None:
    """Write sample flow logs: a network that people recognise, what AWS would have logged of it, and the truth.

    DIR/logs is a source's root, DIR/truth.parquet says who really sent how much to whom, DIR/network.yaml has the
    network's facts. DIR/flowlake.yaml, settings that run it, is written unless it exists.

    \b
    Examples:
      flowlake sample --out sample
      flowlake sample --out big --records 5000000 --hours 6 --seed 1
    """
    from flowlake.sampling import write_sample, written_lines

    if scale is not None and records is not None:
        raise click.UsageError("--scale and --records exclude each other: give one of them")
    show = sys.stderr.isatty() or verbose
    progress: Callable[[str], None] = (lambda line: click.echo(line, err=True)) if show else (lambda line: None)
    written = write_sample(
        out,
        hours=hours,
        start=start,
        seed=seed,
        scale=scale,
        records=records,
        faults=not no_faults,
        progress=progress,
    )
    for line in written_lines(written):
        click.echo(line)


@cli.command("report", short_help="Say what a window brought and what it says.")
@_window_options
@_config_option
@click.pass_obj
def report_command(session: Session, *, window: Window, config: Path | None) -> None:
    """Report on a window that was run: what arrived, what was missing, who talked, what the gates said.

    \b
    Example:
      flowlake report --from 2026-11-20T12 --to 2026-11-20T15
    """
    from flowlake.reporting import print_report
    from flowlake.terminal import make_console

    print_report(session.settings(config), window, make_console())


@cli.command("status", short_help="Say what is published and which hours are not.")
@_config_option
@click.pass_obj
def status_command(session: Session, *, config: Path | None) -> None:
    """Say what is published and which hours are held, failed or under way.

    \b
    Example:
      flowlake status
    """
    from flowlake.status import show_status
    from flowlake.terminal import make_console

    show_status(session.settings(config), make_console())


@cli.command("unregistered", short_help="Say which objects of the sources no run has registered, and why.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@_config_option
@click.pass_obj
def unregistered_command(session: Session, *, form: str, config: Path | None) -> None:
    """List the sources whole, and say what no run has registered, why, and what reads it; writes nothing.

    Runs list a few days' folders. This lists all, at 1,000 objects a request: a million takes some minutes. What came
    in the hour that is not over is left out. Findings do not change the exit code.

    \b
    Examples:
      flowlake unregistered
      flowlake unregistered --format json | jq '.[].advice'
    """
    from flowlake.terminal import make_console
    from flowlake.unregistered import as_rows, find_unregistered, show_unregistered

    settings = session.settings(config)
    working: AbstractContextManager[Any] = nullcontext()
    if sys.stderr.isatty():
        working = make_console(stderr=True).status("listing the sources")
    with working:
        found = find_unregistered(settings)
    if form == "json":
        click.echo(json.dumps(as_rows(found), indent=2))
    else:
        show_unregistered(found, make_console())


@cli.group("quarantine", short_help="List, show and read again what could not be read.")
def quarantine_group() -> None:
    """Malformed lines and unreadable objects: what there is, why, and how to read it again after a cure.

    \b
    Examples:
      flowlake quarantine list --from 2026-11-20 --to 2026-11-21
      flowlake quarantine show --from 2026-11-20T12 --to 2026-11-20T13 --reason bad_field
      flowlake quarantine replay --dry-run
    """


_SELECTION = (
    click.option("--reason", metavar="WORD", help="Only what has this reason, one word as `list` shows it."),
    click.option("--flow-log", metavar="ID", help="Only what is of this flow log."),
    click.option(
        "--to", "end", type=HOUR, metavar="HOUR", help="The hour to stop before (exclusive).  [default: none]"
    ),
    click.option("--from", "start", type=HOUR, metavar="HOUR", help="The first arrival hour.  [default: the first]"),
)


def _selection_options(command: _Command) -> _Command:
    """--from, --to, --flow-log and --reason, handed over as `selection`."""

    @wraps(command)
    def with_selection(
        *args: Any,
        start: datetime | None,
        end: datetime | None,
        flow_log: str | None,
        reason: str | None,
        **options: Any,
    ) -> Any:
        from flowlake.quarantine import Selection

        return command(*args, selection=Selection(start, end, flow_log, reason), **options)

    decorated: Any = with_selection
    for option in _SELECTION:
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's stubs lose what a decorated function returns


_form_option = click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)


@quarantine_group.command("list", short_help="What is quarantined, by hour, flow log and reason.")
@_selection_options
@_form_option
@_config_option
@click.pass_obj
def quarantine_list_command(session: Session, *, selection: Selection, form: str, config: Path | None) -> None:
    """Count what is quarantined by arrival hour, flow log and reason, with one object as an example.

    An unreadable object counts under its own reason, a malformed line under the first word of its reason. The bytes
    are those of the objects as delivered, or of the lines. csv: what is not printable is escaped; json: texts exactly.

    \b
    Examples:
      flowlake quarantine list
      flowlake quarantine list --from 2026-11-20 --flow-log fl-0123456789abcdef0 --format json
    """
    from flowlake.quarantine import list_groups, show_groups
    from flowlake.querying import OutputFormat
    from flowlake.terminal import make_console

    groups = list_groups(session.settings(config), selection)
    show_groups(groups, OutputFormat(form), make_console(), sys.stdout)


@quarantine_group.command("show", short_help="The quarantined objects and lines themselves.")
@_selection_options
@_form_option
@click.option("--limit", type=click.IntRange(min=1), default=TABLE_ROWS, show_default=True, metavar="ROWS")
@_config_option
@click.pass_obj
def quarantine_show_command(
    session: Session, *, selection: Selection, form: str, limit: int, config: Path | None
) -> None:
    """Show what is quarantined: the object, the reason, and the line's text or what was seen of the object.

    A table escapes texts and cuts them; csv has them escaped and whole, json exactly. A malformed line of a text object
    has one character for each byte. Lines have no number: their text finds them in the object.

    \b
    Examples:
      flowlake quarantine show --from 2026-11-20T12 --to 2026-11-20T13
      flowlake quarantine show --from 2026-11-20 --to 2026-11-21 --reason field_count --format json --limit 1000
    """
    from flowlake.quarantine import SHOWN_CHARACTERS, list_entries, show_entries
    from flowlake.querying import OutputFormat
    from flowlake.terminal import make_console

    if selection.start is None or selection.end is None:
        raise click.UsageError("give --from and --to: `flowlake quarantine list` says which hours hold something")
    output = OutputFormat(form)
    characters = SHOWN_CHARACTERS + 1 if output is OutputFormat.TABLE else None
    entries = list_entries(session.settings(config), selection, limit=limit + 1, characters=characters)
    show_entries(entries[:limit], output, make_console(), sys.stdout)
    if len(entries) > limit:
        click.echo(f"the first {limit:,}: there are more (--limit)", err=True)


@quarantine_group.command("replay", short_help="Run the hours again that hold something quarantined.")
@_selection_options
@click.option("--dry-run", is_flag=True, help="Say which hours, and how much; run nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Log every step in full, dbt's own lines too.")
@_config_option
@click.pass_obj
def quarantine_replay_command(
    session: Session, *, selection: Selection, dry_run: bool, verbose: bool, config: Path | None
) -> None:
    """Run exactly the arrival hours again that hold something quarantined, after a cure.

    The cure may be an object that can be read by now, a setting, or another version of flowlake. Consecutive hours are
    run together, a day at most, by the steps of `flowlake run`; the first error ends the replay. An hour is read whole,
    whatever selected it. Objects that hold nothing to be read (duplicates, copies, markers, foreign ones) select
    no hour, unless their reason is given. At its end the replay says what came free and what is still quarantined.

    \b
    Examples:
      flowlake quarantine replay --dry-run
      flowlake quarantine replay --from 2026-11-20 --to 2026-11-21 --reason access_denied
    """
    from flowlake.backfill import publish
    from flowlake.progress import StepProgress, showing, start_logging
    from flowlake.quarantine import Replayed, plan_replay, replay_window, show_plan, show_replayed
    from flowlake.terminal import make_console

    settings = session.settings(config)
    planned = plan_replay(settings, selection)
    if not planned:
        click.echo("nothing that is quarantined matches: there is nothing to replay")
        return
    if dry_run:
        show_plan(planned, make_console())
        click.echo("nothing was run")
        return
    console = make_console(stderr=True)
    start_logging(console, verbose=verbose)
    run_id = f"replay-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    replayed: list[Replayed] = []
    try:
        for number, one in enumerate(planned, 1):
            click.echo(f"{one.window} ({number} of {len(planned)})", err=True)
            with showing(StepProgress(console, [step.name for step in STEPS])) as progress:
                context = RunContext(settings, one.window, f"{run_id}-{number}")
                replayed.append(replay_window(context, progress.on_step))
        if replayed[-1].held_back is not None:
            publish(context)
    finally:
        click.echo(f"replayed {len(replayed)} of {len(planned)} windows")
        show_replayed(replayed, make_console())


@cli.command("maintain", short_help="Merge small files, expire old versions, remove what was left behind.")
@click.option("--dry-run", is_flag=True, help="Say what there is to do; change nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done.")
@_config_option
@click.pass_obj
def maintain_command(session: Session, *, dry_run: bool, verbose: bool, config: Path | None) -> None:
    """Merge small files, expire old versions, and remove what killed runs and time left behind.

    No row of any table is deleted, and what people read stays as it is. How long things are kept stands in the
    settings under `maintenance`. It waits for a run under way; a dry run does not.

    \b
    Examples:
      flowlake maintain --dry-run
      flowlake maintain
    """
    from flowlake.lake.maintain import maintain
    from flowlake.progress import start_logging
    from flowlake.terminal import human_bytes, human_count, make_console, make_table, print_table

    settings = session.settings(config)
    start_logging(make_console(stderr=True), verbose=verbose)
    report = maintain(settings, dry_run=dry_run)
    columns = ["what", "found", "bytes", "done"][: 3 if dry_run else 4]
    rows = [
        (finding.kind, human_count(finding.count), human_bytes(finding.bytes), human_count(finding.done))
        for finding in report.findings
    ]
    table = make_table(columns, [row[: len(columns)] for row in rows], right=columns[1:], whole=columns[:1])
    print_table(make_console(), table)
    click.echo("nothing was changed" if dry_run else f"published views: {report.pins}")


@cli.command("demo", short_help="Run the hourly DAG over sample logs through Airflow.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/demo"),
    show_default=True,
    metavar="DIR",
)
@click.option("--hours", type=click.IntRange(1, 48), default=2, show_default=True, help="Hours of traffic.")
def demo_command(*, out: Path, hours: int) -> None:
    """Run the hourly DAG over sample logs through a real Airflow, then report.

    What was done before is not done again. Airflow is started for the demo and ended with it; its state, the lake and
    the logs all lie in DIR.

    \b
    Example:
      flowlake demo
    """
    from flowlake.orchestration.demo import Progress, run_hours
    from flowlake.reporting import print_report
    from flowlake.sampling import obtain_sample
    from flowlake.terminal import make_console

    progress = Progress()
    sample = obtain_sample(out, hours=hours, say=progress.line)
    started = time.monotonic()
    runs = run_hours(sample.window, home=out.resolve() / "airflow", config=sample.config.resolve(), progress=progress)
    ran = sum(run.ran for run in runs)
    if ran:
        progress.line(f"{ran} of {len(runs)} hours through Airflow in {time.monotonic() - started:.0f} s")
    print_report(load_settings(sample.config), sample.window, make_console())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command line; ends the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error becomes one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Without a command there is nothing to do but to say which there are.
        answer = cli.main(given or ["--help"], prog_name="flowlake", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except _NoReaderError:
        # The interpreter must not complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except (Exception, KeyboardInterrupt) as error:
        if _wants_traceback(given) and not isinstance(error, click.ClickException | click.exceptions.Abort):
            click.echo(traceback.format_exc(), err=True, nl=False)
        message, code = _explain(error)
        # What other packages raise may quote a line as it is.
        click.echo(f"flowlake: error: {shown(' '.join(message.split()))}", err=True)
        return code
    return answer if isinstance(answer, int) else 0


def _explain(error: BaseException) -> tuple[str, int]:
    """An error as a sentence and an exit code."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return "interrupted: nothing half done is published, run again to go on", INTERRUPTED
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        return error.format_message() + (f" (see {context.command_path} --help)" if context else ""), MISTAKE
    error = storage_error(error) or error
    if isinstance(error, FlowlakeError):
        return str(error), MISTAKE if _is_mistake(error) else FAILED
    what = f"unexpected {type(error).__name__}: {error}"
    return f"{what} (this is an error of flowlake: --debug shows where)", UNEXPECTED


def _is_mistake(error: FlowlakeError) -> bool:
    """Whether the person who typed the command can mend it by typing or by editing the settings."""
    from flowlake.lake.storage import SourceMistake
    from flowlake.querying import QueryError
    from flowlake.sample.spec import SampleError

    return isinstance(error, SettingsError | SourceMistake | WindowError | QueryError | SampleError)


def _wants_traceback(arguments: Sequence[str]) -> bool:
    return "--debug" in arguments or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


__all__ = ["cli", "main", "run"]
