"""The lake's own small files (ledgers, manifests, formats), in a folder or below a prefix of a bucket.

Each is written whole, so that no reader meets half of one. Paths are relative to the lake and made by flowlake alone.
"""

from __future__ import annotations

import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowlake.lake.aws import AwsError, athena_settings, aws_errors, client, error_code, pages
from flowlake.settings import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from flowlake.settings import Settings


_WRITERS = 8


class Files(Protocol):
    """Where the lake's own files lie."""

    def read(self, path: str) -> bytes | None:
        """A file's content, None when it is not there."""

    def write(self, path: str, content: bytes, *, alone: bool = False) -> None:
        """Put a file in place, whole. `alone`: nobody else writes it meanwhile, so what a killed run left goes too."""

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Put files in place that nobody else writes meanwhile, each whole."""

    def take(self, path: str, source: Path) -> None:
        """Put a copy of a local file in place, whole; its content never lies in memory."""

    def holds(self, path: str) -> bool:
        """Whether a file is there."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; one that is not there is none to remove."""

    def list(self, folder: str) -> Iterator[str]:
        """The paths of all files below a folder, in no order."""

    def uri(self, path: str) -> str:
        """The address of a file for the engine."""


class LocalFiles:
    """Files below a folder."""

    def __init__(self, folder: Path) -> None:
        """The folder is made with the first file."""
        self._folder = folder

    def read(self, path: str) -> bytes | None:
        """See `Files`."""
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, path: str, content: bytes, *, alone: bool = False) -> None:
        """See `Files`: under a name that every reader skips, then moved."""
        self._put(path, "" if alone else uuid.uuid4().hex, lambda temporary: temporary.write_bytes(content))

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """See `Files`."""
        for path, content in contents.items():
            self.write(path, content, alone=True)

    def take(self, path: str, source: Path) -> None:
        """See `Files`."""
        self._put(path, uuid.uuid4().hex, lambda temporary: shutil.copyfile(source, temporary))

    def _put(self, path: str, mark: str, write: Callable[[Path], object]) -> None:
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}{mark}.tmp")
        try:
            write(temporary)
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def holds(self, path: str) -> bool:
        """See `Files`."""
        return (self._folder / path).is_file()

    def delete(self, paths: Iterable[str]) -> None:
        """See `Files`; a folder that becomes empty goes too."""
        for path in paths:
            place = self._folder / path
            place.unlink(missing_ok=True)
            if place.parent != self._folder and place.parent.is_dir() and not any(place.parent.iterdir()):
                place.parent.rmdir()

    def list(self, folder: str) -> Iterator[str]:
        """See `Files`."""
        for place in (self._folder / folder).rglob("*"):
            if place.is_file() and not place.name.startswith("."):
                yield str(place.relative_to(self._folder))

    def uri(self, path: str) -> str:
        """See `Files`."""
        return str(self._folder / path)


class S3Files:
    """Files below a prefix of a bucket."""

    def __init__(self, location: str, s3: Any = None) -> None:
        """`location` is s3://bucket/prefix."""
        self._location = location
        self._bucket, _, prefix = location.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = s3 or client("s3")

    def read(self, path: str) -> bytes | None:
        """See `Files`. Raises AwsError."""
        return self.read_version(path)[0]

    def write(self, path: str, content: bytes, *, alone: bool = False) -> None:
        """See `Files`. Raises AwsError."""
        with aws_errors(f"write {self.uri(path)}"):
            self._s3.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=content)

    def read_version(self, path: str) -> tuple[bytes | None, str | None]:
        """A file's content and the tag of this version of it; twice None when it is not there. Raises AwsError."""
        with aws_errors(f"read {self.uri(path)}"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + path)
            except self._s3.exceptions.ClientError as error:
                if error_code(error) in ("NoSuchKey", "404"):
                    return None, None
                raise
            return answer["Body"].read(), str(answer["ETag"])

    def write_over(self, path: str, content: bytes, version: str | None) -> None:
        """Put a file in the place of one version, or of none. Raises AwsError, also when it is another by now."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        with aws_errors(f"write {self.uri(path)}"):
            try:
                self._s3.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=content, **condition)
            except self._s3.exceptions.ClientError as error:
                if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                    if self.read(path) == content:
                        return  # It was written; the answer was lost, and the SDK asked again.
                    raise AwsError(
                        f"{self.uri(path)} was changed by another run meanwhile: run again, and let the runs of one "
                        "lake share the folder lake.path, whose lock keeps them apart"
                    ) from None
                raise

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """See `Files`: several at a time. Raises AwsError."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(self.write, contents.keys(), contents.values()))

    def take(self, path: str, source: Path) -> None:
        """See `Files`. Raises AwsError."""
        with aws_errors(f"write {self.uri(path)}"), source.open("rb") as file:
            self._s3.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=file)

    def holds(self, path: str) -> bool:
        """See `Files`. Raises AwsError."""
        with aws_errors(f"look for {self.uri(path)}"):
            try:
                self._s3.head_object(Bucket=self._bucket, Key=self._prefix + path)
            except self._s3.exceptions.ClientError as error:
                if error_code(error) in ("NoSuchKey", "404"):
                    return False
                raise
            return True

    def delete(self, paths: Iterable[str]) -> None:
        """See `Files`. Raises AwsError."""
        keys = [{"Key": self._prefix + path} for path in paths]
        for start in range(0, len(keys), 1000):
            with aws_errors(f"delete files below {self._location}"):
                answer = self._s3.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": keys[start : start + 1000], "Quiet": True}
                )
            for error in answer.get("Errors", []):
                # The call as a whole succeeds.
                raise AwsError(f"cannot delete s3://{self._bucket}/{error['Key']}: {error['Code']}")

    def list(self, folder: str) -> Iterator[str]:
        """See `Files`. Raises AwsError."""
        with aws_errors(f"list {self.uri(folder)}"):
            prefix = f"{self._prefix}{folder.rstrip('/')}/"
            for item in pages(self._s3, "list_objects_v2", "Contents", Bucket=self._bucket, Prefix=prefix):
                yield item["Key"][len(self._prefix) :]

    def uri(self, path: str) -> str:
        """See `Files`."""
        return f"{self._location}/{path}"


def open_files(settings: Settings) -> Files:
    """The lake's own files: in its folder, or below `athena.location`. Raises AwsError."""
    if settings.target is Target.ATHENA:
        return S3Files(athena_settings(settings).location)
    return LocalFiles(settings.lake.path)
