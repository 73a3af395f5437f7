"""Run each step of an hour on a full disk, then again with room: what came of it, as JSON on standard output.

Started by test_full_disk in a mount namespace of its own, where the lake's folder is put on a small tmpfs that nobody
else sees and that goes with this process. Arguments: the settings file, and the folder to keep the lake in at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

STEPS = ("register", "build_staging", "validate_staging", "build_marts", "validate_marts", "publish")
WINDOW = ("--from", "2026-11-20T13", "--to", "2026-11-20T14")
MEGABYTES = 64
READ = "select count(*) as edges, sum(packets) as packets from fct_edges"


def flowlake(config: str, *arguments: str) -> dict[str, object]:
    """Exit code and output of the command line, with no room for temporary files elsewhere either."""
    command = [str(Path(sys.executable).with_name("flowlake")), "--config", config, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def fill(ballast: Path) -> None:
    """Take every block that is left."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def main() -> None:
    config, keep = sys.argv[1], Path(sys.argv[2])
    lake = Path(config).parent / "lake"
    shutil.copytree(lake, keep)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(lake)], check=True)
    shutil.copytree(keep, lake, dirs_exist_ok=True)
    outcomes = {}
    for step in STEPS:
        ballast = lake / "ballast"
        fill(ballast)
        full = flowlake(config, "run", *WINDOW, "--step", step)
        readers = flowlake(config, "query", "--format", "json", READ)
        ballast.unlink()
        again = flowlake(config, "run", *WINDOW, "--step", step)
        outcomes[step] = {"full": full, "readers": readers, "again": again}
    shutil.rmtree(keep)
    shutil.copytree(lake, keep)
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    os.environ.pop("FLOWLAKE_DEBUG", None)
    main()
