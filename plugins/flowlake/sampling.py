"""`flowlake sample`: the generator's logs, with settings beside them that run them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from flowlake.lake.windows import Window
from flowlake.sample import SampleReport, SampleSpec, generate
from flowlake.settings import INTERNAL_CIDRS
from flowlake.terminal import counted, human_bytes

CONFIG = "flowlake.yaml"
FACTS = "sample.json"


@dataclass(frozen=True)
class Sample:
    """A sample on disk: its folder, the settings that run it, and the arrival hours that it fills."""

    folder: Path
    config: Path
    window: Window


@dataclass(frozen=True)
class Written:
    """What the generator wrote, and whether the settings are new."""

    sample: Sample
    report: SampleReport
    is_config_new: bool


def write_sample(
    out: Path,
    *,
    hours: int,
    start: datetime,
    seed: int,
    scale: float | None = None,
    records: int | None = None,
    faults: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Written:
    """Generate a sample below `out` and write settings for it unless there are some.

    Raises SampleError when an argument is out of range or `out/logs` holds something.
    """
    if records is not None:
        spec = replace(SampleSpec.for_records(records, hours=hours, seed=seed, faults=faults), start=start)
    else:
        spec = SampleSpec(seed=seed, start=start, hours=hours, scale=1.0 if scale is None else scale, faults=faults)
    report = generate(spec, out, progress)
    config = out / CONFIG
    is_new = not config.exists()
    if is_new:
        config.write_text(_settings_text(report), encoding="utf-8")
    window = Window.parse(report.arrival_from, report.arrival_to)
    facts = {"from": report.arrival_from, "to": report.arrival_to, "seed": seed, "hours": hours}
    facts |= {"records": report.records, "record_bytes": report.record_bytes, "true_bytes": report.true_bytes}
    # Last: it says that the sample is whole.
    (out / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return Written(Sample(out, config, window), report, is_new)


def obtain_sample(out: Path, *, hours: int, say: Callable[[str], None]) -> Sample:
    """The sample that lies in `out`; one is made when there is none, or only half of one."""
    facts = out / FACTS
    if facts.is_file() and (out / CONFIG).is_file():
        known = json.loads(facts.read_text(encoding="utf-8"))
        say(f"Sample logs are there: {known['records']:,} records in {out / 'logs'}")
        return Sample(out, out / CONFIG, Window.parse(known["from"], known["to"]))
    shutil.rmtree(out / "logs", ignore_errors=True)
    spec = SampleSpec()
    written = write_sample(out, hours=hours, start=spec.start, seed=spec.seed)
    report = written.report
    say(
        f"Sample logs written: {report.records:,} records in {report.objects:,} objects,"
        f" {human_bytes(report.bytes)}, in {report.logs}"
    )
    return written.sample


def written_lines(written: Written) -> list[str]:
    """What was written, for people."""
    report, sample = written.report, written.sample
    lines = [
        f"{report.logs}: {counted(report.objects, 'object')}, {human_bytes(report.bytes)},"
        f" {counted(report.records, 'record')} and {counted(report.gap_records, 'gap')}"
        f" of {counted(len(report.flow_logs), 'flow log')}",
        f"{report.truth}: {counted(report.truth_rows, 'edge')}; {human_bytes(report.true_bytes)} moved,"
        f" a plain sum over the records says {report.double_count:.2f} times as much",
    ]
    if report.faults:
        kinds = sorted({fault.kind.value.replace("_", " ") for fault in report.faults})
        lines.append(f"faults on purpose: {', '.join(kinds)}")
    state = "written" if written.is_config_new else "there already, left as it is"
    lines.append(f"{sample.config}: settings ({state})")
    start, end = str(sample.window).split("/")
    lines.append(f"next: flowlake --config {sample.config} run --from {start} --to {end}")
    return lines


def _settings_text(report: SampleReport) -> str:
    """Settings of four lines, and the facts about the network that no log can tell.

    NAT gateways are not among them: flowlake finds the sample's by `interface_type` and by their balance.
    """
    facts: dict[str, Any] = yaml.safe_load(report.network.read_text(encoding="utf-8"))["settings"]
    internal = [*INTERNAL_CIDRS, *(cidr for cidr in facts["internal_cidrs"] if cidr not in INTERNAL_CIDRS)]
    settings: dict[str, Any] = {
        "sources": [{"name": "sample", "uri": "logs"}],
        "lake": {"path": "lake"},
        "internal_cidrs": internal,
        "device_names": facts["device_names"],
        "gates": {"silent_flow_log": "warn"},
    }
    return (
        "# Settings for the sample logs beside this file. `sources` and `lake` are all that flowlake needs;\n"
        "# the rest says which networks are one's own, how people call the hosts in them, and that hours beyond the\n"
        "# sample, in which nothing comes, are no error.\n" + yaml.safe_dump(settings, sort_keys=False, width=120)
    )
