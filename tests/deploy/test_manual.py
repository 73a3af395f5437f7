"""docs/deploy-aws.md: every command of it, as it stands, in its order, in one shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.played import START
from deploy.stack import PROJECT, TEMPLATE, default_vpc
from flowlake.sample import SampleSpec
from local_athena.server import LocalAthena, start_aws
from parity.world import sampled

MANUAL = PROJECT / "docs/deploy-aws.md"
LOGS = "flowlake-logs-123456789012-us-east-1"
FIRST_HOUR = "The first hour"
"""The section that begins with a look at what was delivered."""

ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ATHENA")
"""All that the shell is told of the local services; the rest is in its AWS profile."""


def commands() -> tuple[list[str], list[str]]:
    """The blocks of commands: those before the first hour, which need no engine, and the others."""
    before: list[str] = []
    after: list[str] = []
    section = ""
    for heading, block in re.findall(r"^## ([^\n]*)$|^```sh\n(.*?)^```$", MANUAL.read_text(), re.MULTILINE | re.DOTALL):
        section = heading or section
        if block:
            (after if after or section == FIRST_HOUR else before).append(block)
    return before, after


@dataclass(frozen=True)
class Desk:
    """A checkout, a home with an AWS profile, and a shell that stops at the first error."""

    folder: Path
    environment: Mapping[str, str]

    def type(self, *blocks: str) -> str:
        """Type blocks of commands; what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def make_desk(local: LocalAthena, folder: Path) -> Desk:
    """As somebody has it who has set up a checkout and `aws`."""
    binaries = Path(sys.executable).parent
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    assert shutil.which("aws", path=path), "there is no aws: make setup"
    checkout, home = folder / "checkout", folder / "home"
    checkout.mkdir()
    (home / ".aws").mkdir(parents=True)
    for name in (".venv", "deploy"):
        (checkout / name).symlink_to(PROJECT / name)
    (home / ".aws/config").write_text(f"[default]\nregion = {local.region}\n")
    (home / ".aws/credentials").write_text("[default]\naws_access_key_id = local\naws_secret_access_key = local\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ends = {name: local.environment[name] for name in ENDPOINTS}
    return Desk(checkout, kept | ends | {"HOME": str(home), "PATH": path, "AWS_PAGER": ""})


def deliver(local: LocalAthena) -> None:
    """What a flow log would have delivered meanwhile."""
    for item in sampled(SampleSpec(seed=5, start=START, hours=1, scale=0.01, faults=False)):
        local.put_arrived(LOGS, item.key, item.content, item.arrived)


def test_every_parameter_is_explained() -> None:
    [described] = re.findall(r"^Parameters:\n(.*?)^Conditions:", TEMPLATE.read_text(), re.MULTILINE | re.DOTALL)
    [table] = re.findall(r"^\| parameter .*?\n\n", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    first_cells = (line.split("|")[1] for line in table.strip().splitlines()[2:])
    explained = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert explained == re.findall(r"^  (\w+):$", described, re.MULTILINE)


def test_what_comes_before_the_first_statement(tmp_path: Path) -> None:
    with start_aws(tmp_path) as url:
        local = LocalAthena(url, url)
        desk = make_desk(local, tmp_path)
        before, (look, *_) = commands()
        desk.type(*before)
        [flow_log] = local.client("ec2").describe_flow_logs()["FlowLogs"]
        assert flow_log["ResourceId"] == default_vpc(local)
        deliver(local)
        assert "fl-" in desk.type(look)
        settings, analysts = ((desk.folder / name).read_text() for name in ("flowlake.yaml", "analyst.yaml"))
        assert settings.replace("flowlake-pipeline", "flowlake-analysts") == analysts != settings


@pytest.mark.timeout(1200)
def test_every_command(athena: LocalAthena, tmp_path: Path) -> None:
    desk = make_desk(athena, tmp_path)
    before, after = commands()
    desk.type(*before)
    deliver(athena)
    printed = desk.type(*after)
    for said in ("fl-", "published", "validated", "device_id"):
        assert said in printed
    stacks = athena.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])["StackSummaries"]
    assert "flowlake" not in [stack["StackName"] for stack in stacks]
    assert athena.client("s3").list_objects_v2(Bucket=LOGS)["KeyCount"], "flow logs outlive the stack"
