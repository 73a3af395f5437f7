"""Progress of a run: a spinner with a clock on a terminal, a line per step everywhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from flowlake.backfill import Pace, named, outcome_line
from flowlake.lake.objects import shown
from flowlake.lake.windows import format_hour
from flowlake.terminal import counted, human_bytes, human_duration

if TYPE_CHECKING:
    from rich.status import Status

    from flowlake.backfill import BackfillPlan, Filled
    from flowlake.lake.windows import Window
    from flowlake.steps import Step, StepReport

SHOWN_REMARKS = 8
"""Remarks shown under a step; the rest is counted."""

_REPEATED = ("flowlake.lake.register", "flowlake.steps")
"""Loggers whose warnings stand under their step already."""


class StepProgress:
    """Shows the steps of a run on a console; pass `on_step` to `flowlake.steps.run_window`."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        """Take the console and the names of the steps to come, in order."""
        self._console = console
        self._names = list(names)
        self._spinner: Progress | None = None
        self._current: tuple[str, float] | None = None

    def on_step(self, step: Step, report: StepReport | None) -> None:
        """Show that a step begins (no report), or what it did."""
        if report is None:
            self._begin(step.name, step.summary)
            return
        self._current = None
        self.stop()
        self._console.print(step_line(self._place(step.name), report))
        for remark in remarks(report):
            self._console.print(Text(f"      {remark}", style="yellow"))

    def fail(self) -> None:
        """Say which step was under way when the run ended before its time."""
        self.stop()
        if self._current is not None:
            name, started = self._current
            seconds = time.monotonic() - started
            self._console.print(Text(f"{self._place(name)} {name:<16} {seconds:6.1f} s  did not end well", style="red"))

    def stop(self) -> None:
        """Take the spinner away: the run has ended, or a line is to stay."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _begin(self, name: str, summary: str) -> None:
        self._current = (name, time.monotonic())
        if not self._console.is_terminal:
            return
        self._spinner = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._spinner.add_task(f"{self._place(name)} {name}: {summary}", total=None)
        self._spinner.start()

    def _place(self, name: str) -> str:
        return f"[{self._names.index(name) + 1}/{len(self._names)}]"


class BackfillProgress:
    """Shows the windows of a backfill on a console, a line each; a `flowlake.backfill.Watch`."""

    def __init__(self, console: Console, planned: BackfillPlan, whole: Window, options: str) -> None:
        """Take the console, the plan, the range, and the options with which the rest of it would be run."""
        self._console = console
        self._pace = Pace(planned)
        self._windows = len(planned.looks)
        self._end = format_hour(whole.end)
        self._options = options
        self._status: Status | None = None
        self._current: tuple[int, Window, float] | None = None
        self._step = ""

    def begin(self, number: int, window: Window) -> None:
        """A window's turn has come."""
        self._current = (number, window, time.monotonic())
        self._step = ""
        if self._console.is_terminal:
            self._status = self._console.status(Text(f"{self._place(number)} {named(window)}"))
            self._status.start()

    def on_step(self, step: Step, report: StepReport | None) -> None:
        """A step of the window begins (no report), or has ended."""
        self._step = step.name
        if self._status is not None and self._current is not None:
            number, window, _ = self._current
            self._status.update(Text(f"{self._place(number)} {named(window)} {step.name}: {step.summary}"))
        if report is not None:
            for remark in remarks(report):
                self._console.print(Text(f"      {remark}", style="yellow"))

    def end(self, number: int, filled: Filled) -> None:
        """A window is over."""
        self.stop()
        self._current = None
        self._pace.passed(filled)
        self._console.print(Text(outcome_line(self._place(number), filled, self._pace.seconds_left)))

    def fail(self) -> None:
        """Say which window ended the backfill, and what to type to go on."""
        self.stop()
        if self._current is None:
            return
        number, window, started = self._current
        at = f" in {self._step}" if self._step else ""
        place, spent = self._place(number), human_duration(time.monotonic() - started)
        self._console.print(Text(f"{place} {named(window)} did not end well{at}, after {spent}", style="red"))
        start = format_hour(window.start)
        self._console.print(f"{number - 1:,} of {counted(self._windows, 'window')} done; mend what stands below, then")
        self._console.print(Text(f"  flowlake backfill --from {start} --to {self._end} {self._options}"))

    def stop(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _place(self, number: int) -> str:
        return f"[{number}/{self._windows}]"


_Shown = TypeVar("_Shown", StepProgress, BackfillProgress)


@contextmanager
def showing(progress: _Shown) -> Iterator[_Shown]:
    """Leave no spinner behind, whatever happens, and name the step or the window at which it happened."""
    try:
        yield progress
    except BaseException:
        progress.fail()
        raise
    progress.stop()


def step_line(place: str, report: StepReport) -> Text:
    """One line: the step, what it went through, how long it took."""
    details = report.details
    facts = []
    for number, noun in ((report.objects, "object"), (report.lines, "line"), (report.records, "record")):
        if number is not None:
            facts.append(counted(number, noun))
    if report.bytes is not None:
        facts.append(human_bytes(report.bytes))
    for key, noun in (("edges", "edge"), ("restated_hours", "event hour"), ("checks", "check"), ("tables", "table")):
        found = details.get(key)
        if isinstance(found, int):
            facts.append(counted(found, noun))
    if "version" in details:
        facts.append(f"version {details['version']}")
    if "restated" in details:
        facts.append(f"restated {details['restated']}")
    return Text(f"{place} {report.step:<16} {report.seconds:6.1f} s  {', '.join(facts)}".rstrip())


def remarks(report: StepReport) -> list[str]:
    """What a step found that a person may want to look at; paths of failing rows are left to the pages and to -v."""
    found: list[str] = []
    for key in ("problems", "warnings"):
        lines = report.details.get(key)
        if isinstance(lines, list | tuple):
            found += [shown(str(line)).split("; rows: ", maxsplit=1)[0] for line in lines]
    if report.details.get("warnings"):
        found.append(f"pages: {report.details.get('pages')}")
    hidden = len(found) - SHOWN_REMARKS
    return found if hidden <= 0 else [*found[:SHOWN_REMARKS], f"and {hidden} more: run with -v"]


class ConsoleHandler(logging.Handler):
    """Log lines through the console, so that they stand above a spinner instead of in it."""

    def __init__(self, console: Console, *, verbose: bool) -> None:
        """Take the console; without `verbose`, warnings that the progress shows anyway are left out."""
        super().__init__(logging.INFO if verbose else logging.WARNING)
        self._console = console
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one line."""
        if not self._verbose and record.name in _REPEATED:
            return
        try:
            line = f"{record.levelname.lower()}: {record.getMessage()}"
            if record.exc_info and self._verbose:
                line = f"{line} ({record.exc_info[1]!r})"
            self._console.print(Text(shown(line), style="dim" if record.levelno < logging.WARNING else "yellow"))
        except Exception:
            self.handleError(record)


def start_logging(console: Console, *, verbose: bool) -> None:
    """Send flowlake's log to the console: all of it when verbose, else warnings."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, ConsoleHandler):
            root.removeHandler(handler)
    root.addHandler(ConsoleHandler(console, verbose=verbose))
    logging.getLogger("flowlake").setLevel(logging.INFO if verbose else logging.WARNING)
