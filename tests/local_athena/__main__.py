"""`make athena`: start the local Athena, say how to reach it, and end it with Ctrl-C, SIGTERM or the parent."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from local_athena.parts import MissingPartError
from local_athena.server import local_athena

LOOK_SECONDS = 0.5


def main() -> None:
    """Run until told to end, or until whoever started this is gone."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    parent = os.getppid()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="local-athena-", ignore_cleanup_errors=True) as folder,
            local_athena(Path(folder)) as local,
        ):
            shown = local.environment | {"BUCKET": local.bucket, "WORK_GROUP": local.work_group}
            sys.stdout.write("".join(f"export {name}={value}\n" for name, value in shown.items()))
            sys.stdout.flush()
            while os.getppid() == parent:
                time.sleep(LOOK_SECONDS)
    except MissingPartError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
