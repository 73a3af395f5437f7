"""Find and fetch the objects of a window, in a folder or a bucket, without ever listing all of it.

Accounts and regions are discovered folder by folder; below each region only the day folders of the window, and of the
source's `lookback_days` before it, are listed; with an hour that ends a day also the next day's. So the cost of an hour
does not grow with history. Only a source that says `layout: any` is listed whole, for its folders say nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowlake.errors import FlowlakeError
from flowlake.lake.layouts import (
    HIVE_SERVICES,
    IS_HIVE_ACCOUNT,
    IS_HIVE_REGION,
    IS_LIKE_A_NAME,
    IS_ORGANISATION,
    IS_PLAIN_ACCOUNT,
    IS_PLAIN_REGION,
    LOGS_FOLDER,
    PLAIN_SERVICES,
    day_folder,
    folder_moment,
    folders_above,
    parse_key,
    parse_name,
    stem,
)
from flowlake.lake.objects import ListedObject, ObjectProblem, Reason, one_line, shown
from flowlake.lake.windows import Window, format_hour
from flowlake.settings import Arrival, Layouts, Settings, Source

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

S3ClientFactory = Callable[[Source], "S3Client"]

PREFIX_DEPTH = 4
"""How many folders deep below a source's uri the folder AWSLogs is looked for."""

PREFIX_BUDGET = 500
"""How many list calls the search for AWSLogs may take before the user is asked for a longer uri."""

CLOCKS_DIFFER_BY = timedelta(hours=1)
"""How long before the time in its name an object may arrive: the name and the store go by different clocks."""

_LISTING_THREADS = 16
_FETCH_ATTEMPTS = 3
_COPY_STEP = 1024 * 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(9000, 1, 1, tzinfo=UTC)

_T = TypeVar("_T")
_R = TypeVar("_R")


class SourceError(FlowlakeError):
    """A source that cannot be reached or searched; the message names its key in the settings."""


class SourceMistake(SourceError):
    """A source that the settings, or the credentials beside them, name wrongly."""


@dataclass(frozen=True)
class Found:
    """An object or file as its store lists it; `size` in bytes, `last_modified` aware UTC."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    reason: Reason | None = None


class Store(Protocol):
    """What is needed of a place that holds objects. Prefixes end in a slash, or are empty."""

    @property
    def root(self) -> str:
        """The prefix that the source's uri stands for."""

    def uri(self, key: str) -> str:
        """The address of a key."""

    def folders(self, prefix: str) -> Iterator[list[str]]:
        """The names of the folders right below a prefix, page by page: each page is one list call."""

    def objects(self, prefix: str) -> Iterator[Found]:
        """Every object below a prefix, however deep."""

    def fetch(self, found: ListedObject, target: Path) -> None:
        """Write the object that was listed, and no other version of it, to a file. Raises ObjectProblem."""

    def read_range(self, found: ListedObject, *, start: int | None, length: int) -> bytes:
        """Bytes of the object that was listed: from `start`, or its last ones when None. Raises ObjectProblem."""


# --- listing ---


@dataclass(frozen=True)
class Listing:
    """The objects of a source.

    `arrived` are those whose arrival hour lies in the window; `hours` has the arrival hour of each that was listed on
    the way, by its uri; `deliveries` that of each delivery, whatever its ending, by its uri without that. `trees` are
    the folders that were found to hold logs: those named AWSLogs, or the source itself where any layout is taken.
    """

    arrived: tuple[ListedObject, ...]
    hours: Mapping[str, str]
    deliveries: Mapping[str, str]
    trees: tuple[str, ...]


def list_source(store: Store, source: Source, window: Window, *, key: str) -> Listing:
    """List what a source holds of a window, sorted by uri. `key` is the source's key path, for errors."""
    if source.layout is Layouts.ANY:
        trees: list[str] = [store.root]
        found = [item for item in store.objects(store.root) if is_listed(item.key, window, source)]
    else:
        trees, found = _found_by_day(store, listed_days(window, source), key)
    listed = _each_delivery_once([_listed(store, source, item) for item in found])
    hours = frozenset(window.hours)
    arrived = sorted((item for item in listed if item.arrival_hour in hours), key=lambda item: item.uri)
    return Listing(
        arrived=tuple(arrived),
        hours={item.uri: item.arrival_hour for item in listed},
        deliveries={stem(item.uri): item.arrival_hour for item in listed if item.name is not None and not item.reason},
        trees=tuple(trees),
    )


def list_all(store: Store, source: Source) -> Iterator[ListedObject]:
    """All that lies below a source's uri, whether or not any window lists it; each ending of a delivery by itself."""
    return (_listed(store, source, item) for item in store.objects(store.root))


def is_below_logs(key: str, store: Store) -> bool:
    """Whether a key lies in the folders of a day of flow logs, below a folder AWSLogs that listing by days finds."""
    above = folders_above(key)
    return above is not None and above - store.root.count("/") < PREFIX_DEPTH


def _found_by_day(store: Store, days: Sequence[date], key: str) -> tuple[list[str], list[Found]]:
    """The AWSLogs folders, and what lies below them in the folders of these days."""
    trees = _trees(store, key)
    with ThreadPoolExecutor(_LISTING_THREADS) as pool:
        accounts = [account for tree in trees for account in _accounts(store, *tree)]
        regions = _flat(pool.map(lambda account: _regions(store, account), accounts))
        prefixes = sorted({prefix for region in regions for day in days for prefix in _day_prefix(store, region, day)})
        return [tree for tree, _ in trees], _flat(pool.map(lambda prefix: list(store.objects(prefix)), prefixes))


def _each_delivery_once(listed: list[ListedObject]) -> list[ListedObject]:
    """Give all but the first that arrived of the objects whose keys differ in their ending alone a reason.

    They lie in one folder, which is always listed whole, and the first stays the first whatever comes after it.
    """
    deliveries: dict[str, list[ListedObject]] = defaultdict(list)
    for item in listed:
        if item.name is not None and item.reason is None:
            deliveries[stem(item.key)].append(item)
    duplicates: dict[str, ListedObject] = {}
    for alike in deliveries.values():
        if len(alike) > 1:
            first = min(alike, key=lambda item: (item.last_modified, item.key))
            duplicates |= {item.key: first for item in alike if item is not first}
    return [
        replace(item, reason=Reason.DUPLICATE, detail=f"{shown(duplicates[item.key].uri)} arrived before it")
        if item.key in duplicates
        else item
        for item in listed
    ]


@dataclass(frozen=True)
class _Folder:
    """A folder on the way to the days; `pinned` are the next folders that the source's uri prescribes."""

    prefix: str
    pinned: tuple[str, ...]
    is_hive: bool = False


def _trees(store: Store, key: str) -> list[tuple[str, tuple[str, ...]]]:
    """The AWSLogs folders of a source, each with the folders below it that the source's uri prescribes."""
    segments = store.root.rstrip("/").split("/") if store.root else []
    for index in range(len(segments) - 1, -1, -1):
        pinned = tuple(segments[index + 1 :])
        if segments[index] == LOGS_FOLDER and (not pinned or _is_below_logs(pinned[0])):
            return [("/".join(segments[: index + 1]) + "/", pinned)]
    trees, level, calls = [], [store.root], 0
    for depth in range(PREFIX_DEPTH):
        deeper = []
        for prefix in level:
            for names in store.folders(prefix):
                calls += 1
                if calls > PREFIX_BUDGET:
                    message = (
                        f"{key}: {shown(store.uri(store.root))} holds too many folders to search for {LOGS_FOLDER}: "
                        f"give the folder that holds {LOGS_FOLDER}"
                    )
                    raise SourceMistake(message)
                trees += [f"{prefix}{name}/" for name in names if name == LOGS_FOLDER]
                deeper += [f"{prefix}{name}/" for name in names if name != LOGS_FOLDER]
        level = deeper if depth + 1 < PREFIX_DEPTH else []
    return [(tree, ()) for tree in sorted(trees)]


def _is_below_logs(name: str) -> bool:
    return any(pattern.match(name) for pattern in (IS_ORGANISATION, IS_PLAIN_ACCOUNT, IS_HIVE_ACCOUNT))


def _step(store: Store, folder: _Folder, accepts: Callable[[str], object]) -> Iterator[_Folder]:
    """The folders right below that are accepted: those listed, or the one that the uri prescribes."""
    if folder.pinned:
        names: Iterable[str] = folder.pinned[:1]
    else:
        names = (name for page in store.folders(folder.prefix) for name in page)
    for name in names:
        if accepts(name):
            yield _Folder(f"{folder.prefix}{name}/", folder.pinned[1:], is_hive="=" in name)


def _accounts(store: Store, tree: str, pinned: tuple[str, ...]) -> Iterator[_Folder]:
    for folder in _step(store, _Folder(tree, pinned), _is_below_logs):
        name = folder.prefix[len(tree) : -1]
        if IS_ORGANISATION.match(name):
            yield from _step(store, folder, lambda below: IS_PLAIN_ACCOUNT.match(below) or IS_HIVE_ACCOUNT.match(below))
        else:
            yield folder


def _regions(store: Store, account: _Folder) -> list[_Folder]:
    services = HIVE_SERVICES if account.is_hive else PLAIN_SERVICES
    pattern = IS_HIVE_REGION if account.is_hive else IS_PLAIN_REGION
    regions: list[_Folder] = []
    for service in services:
        if account.pinned and account.pinned[0] != service:
            continue
        folder = _Folder(f"{account.prefix}{service}/", account.pinned[1:])
        regions += _step(store, folder, pattern.match)
    return regions


def _day_prefix(store: Store, region: _Folder, day: date) -> list[str]:
    """The prefix to list for a day: none when the source's uri is about another day."""
    prefix = region.prefix + day_folder(day, hive=region.is_hive)
    if prefix.startswith(store.root):
        return [prefix]
    return [store.root] if store.root.startswith(prefix) else []


def listed_days(window: Window, source: Source) -> tuple[date, ...]:
    """The days whose folders are listed for a window, ascending: some before it, and the next one where it ends at one.

    The latter for objects that arrive just before their own day.
    """
    first, last = window.days[0], (window.end - timedelta.resolution + CLOCKS_DIFFER_BY).date()
    return tuple(first + timedelta(days=index) for index in range(-source.lookback_days, (last - first).days + 1))


def is_listed(key: str, window: Window, source: Source) -> bool:
    """Whether an object with this key, or uri, is looked at for a window.

    An object counts in windows that begin up to `lookback_days` after its day.
    """
    day = day_of(key, source)
    if day is None:
        return source.layout is Layouts.ANY and is_like_a_flow_log(key)
    return day in listed_days(window, source)


def is_like_a_flow_log(key: str) -> bool:
    """Whether an object is named as AWS names flow logs, or nearly so, wherever it lies."""
    return IS_LIKE_A_NAME.search(key) is not None


def day_of(key: str, source: Source) -> date | None:
    """The day of an object: that of its folder or, where folders say nothing, that of its name."""
    if source.layout is Layouts.ANY:
        name = parse_name(key)
        return name.named_at.date() if name else None
    moment = folder_moment(key)
    return moment.date() if moment else None


def _listed(store: Store, source: Source, found: Found) -> ListedObject:
    uri = store.uri(found.key)
    name = (parse_name if source.layout is Layouts.ANY else parse_key)(found.key)
    moment = found.last_modified
    if source.arrival is Arrival.OBJECT_NAME:
        # A foreign object has no time in its name; its folder is at least as stable.
        moment = name.named_at if name else folder_moment(found.key) or moment
    day = day_of(found.key, source)
    if day is not None and day > moment.date():
        # Nobody looks for it before: with its own time it would count in larger windows alone.
        moment = max(moment, datetime.combine(day, datetime.min.time(), UTC) - CLOCKS_DIFFER_BY)
    reason = found.reason
    if found.key.endswith("/"):
        reason = Reason.DIRECTORY_MARKER
    elif not uri.isprintable():
        reason = Reason.UNSAFE_NAME
    elif reason is None and name is None:
        reason = Reason.NOT_A_FLOW_LOG
    elif reason is None and found.size == 0:
        reason = Reason.EMPTY
    return ListedObject(
        source=source.name,
        key=found.key,
        uri=_storable(uri),
        size=found.size,
        etag=found.etag,
        last_modified=found.last_modified,
        arrival_hour=format_hour(moment),
        name=name,
        reason=reason,
    )


def _storable(uri: str) -> str:
    """A uri as tables can hold it: of a file name of another encoding Python makes surrogates.

    It begins with two slashes then, and its backslashes are doubled, so that no other name's is the same.
    """
    try:
        uri.encode()
    except UnicodeEncodeError:
        return "/" + uri.replace("\\", r"\\").encode("utf-8", "backslashreplace").decode()
    return uri


def _flat(groups: Iterable[Iterable[_T]]) -> list[_T]:
    return [item for group in groups for item in group]


# --- a folder ---


class LocalStore:
    """A folder. Keys are absolute paths without the leading slash, so that they read like a bucket's."""

    def __init__(self, source: Source, key: str) -> None:
        """Raises SourceError when the folder is not there."""
        self._key = key
        self._folder = Path(source.uri)
        if not self._folder.is_dir():
            what = "is not a folder" if self._folder.exists() else "does not exist"
            message = f"{key}: the folder {shown(source.uri)} {what}: create it, or correct the path"
            raise SourceMistake(message)
        self._real_root = self._folder.resolve()

    @property
    def root(self) -> str:
        """The folder."""
        path = self._folder.as_posix().strip("/")
        return f"{path}/" if path else ""

    def uri(self, key: str) -> str:
        """The absolute path."""
        return f"/{key}"

    def folders(self, prefix: str) -> Iterator[list[str]]:
        """The folders right below, links that stay inside the source included."""
        yield sorted(entry.name for entry in self._scan(prefix) if _is_folder(entry) and self._is_inside(entry))

    def objects(self, prefix: str) -> Iterator[Found]:
        """Every file below."""
        yield from self._walk(prefix, frozenset({os.path.realpath(f"/{prefix}")}))

    def _walk(self, prefix: str, above: frozenset[str]) -> Iterator[Found]:
        for entry in sorted(self._scan(prefix), key=lambda item: item.name):
            key = f"{prefix}{entry.name}"
            if entry.is_symlink() and not self._is_inside(entry):
                yield self._found(entry, key, Reason.OUTSIDE_SOURCE)
            elif _is_folder(entry):
                real = os.path.realpath(entry.path)
                if real not in above:  # a link to a folder above would never end
                    yield from self._walk(f"{key}/", above | {real})
            else:
                yield self._found(entry, key, None)

    def _scan(self, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(f"/{prefix}") as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            advice = "let the user of this process read it"
            message = f"{self._key}: cannot list the folder /{shown(prefix)}: {error.strerror}: {advice}"
            raise SourceError(message) from None

    def _is_inside(self, entry: os.DirEntry[str]) -> bool:
        return not entry.is_symlink() or Path(os.path.realpath(entry.path)).is_relative_to(self._real_root)

    def _found(self, entry: os.DirEntry[str], key: str, reason: Reason | None) -> Found:
        try:
            facts = entry.stat(follow_symlinks=reason is None)
        except OSError:  # gone already, or a link to nothing
            return Found(key, 0, "", _link_time(entry.path), reason or Reason.VANISHED)
        if reason is None and not stat.S_ISREG(facts.st_mode):
            reason = Reason.NOT_A_FLOW_LOG  # a pipe or a device: reading it may never end
        return Found(key, facts.st_size, file_etag(facts), _modified(facts.st_mtime_ns), reason)

    def fetch(self, found: ListedObject, target: Path) -> None:
        """Never called: local objects are read where they are."""
        raise NotImplementedError

    def read_range(self, found: ListedObject, *, start: int | None, length: int) -> bytes:
        """Bytes of a file."""
        with opened_problem(), Path(f"/{found.key}").open("rb") as file:
            file.seek(max(found.size - length, 0) if start is None else start)
            return file.read(length)


def file_etag(facts: os.stat_result) -> str:
    """What changes when a file does: its size and its modification time."""
    return f"{facts.st_size:x}-{facts.st_mtime_ns:x}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Also of a link to itself, below a file, or to what has no possible name; other OSErrors pass."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
            return False
        raise


def _link_time(path: str) -> datetime:
    try:
        return _modified(os.lstat(path).st_mtime_ns)
    except OSError:
        return _EPOCH


def _modified(nanoseconds: int) -> datetime:
    """When a file was changed, within the years that times here can have; some file systems know later ones."""
    most = (_LAST_TIME - _EPOCH) // timedelta(microseconds=1)
    return _EPOCH + timedelta(microseconds=max(min(nanoseconds // 1000, most), 0))


class opened_problem:  # noqa: N801 (a context manager, used as a verb)
    """Turn the errors of opening a listed file into the finding that they are; those of another `path` pass."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path all errors are the file's."""
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ObjectProblem for a file that is gone or forbidden."""
        # Arrow's errors name no file.
        about = getattr(error, "filename", None)
        if self._path is not None and about is not None and Path(os.fsdecode(about)) != self._path:
            return
        if isinstance(error, FileNotFoundError):
            raise ObjectProblem(Reason.VANISHED) from None
        if isinstance(error, PermissionError):
            raise ObjectProblem(Reason.ACCESS_DENIED, "let the user of this process read it") from None


# --- a bucket ---


class S3Store:
    """A prefix of a bucket."""

    def __init__(self, source: Source, key: str, client: S3Client) -> None:
        """Nothing is asked of the bucket yet."""
        self._key = key
        self._source = source
        self._client = client
        self._bucket, _, prefix = source.uri.removeprefix("s3://").partition("/")
        self._root = f"{prefix.rstrip('/')}/" if prefix else ""

    @property
    def root(self) -> str:
        """The prefix."""
        return self._root

    def uri(self, key: str) -> str:
        """The key as s3://bucket/key."""
        return f"s3://{self._bucket}/{key}"

    def folders(self, prefix: str) -> Iterator[list[str]]:
        """The common prefixes right below."""
        for page in self._pages(prefix, delimiter="/"):
            yield [item["Prefix"][len(prefix) : -1] for item in page.get("CommonPrefixes", [])]

    def objects(self, prefix: str) -> Iterator[Found]:
        """Every object below."""
        for page in self._pages(prefix, delimiter=""):
            for item in page.get("Contents", []):
                modified = item["LastModified"].astimezone(UTC)
                yield Found(item["Key"], item["Size"], item["ETag"].strip('"'), modified)

    def _pages(self, prefix: str, *, delimiter: str) -> Iterator[Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, Delimiter=delimiter
        )
        try:
            yield from pages
        except (BotoCoreError, ClientError) as error:
            message = f"{self._key}: cannot list {shown(self.uri(prefix))}: {explain(error)}"
            raise (SourceMistake if _code(error) in _MISTAKES else SourceError)(message) from None

    def fetch(self, found: ListedObject, target: Path) -> None:
        """Download the version that was listed, whole or not at all."""
        temporary = target.with_name(f".{target.name}.tmp")

        def download() -> None:
            body = self._client.get_object(Bucket=self._bucket, Key=found.key, IfMatch=f'"{found.etag}"')["Body"]
            with temporary.open("wb") as file:
                for chunk in body.iter_chunks(_COPY_STEP):
                    file.write(chunk)
            temporary.replace(target)

        self._get(found, download)

    def read_range(self, found: ListedObject, *, start: int | None, length: int) -> bytes:
        """A ranged read of the version that was listed."""
        span = f"bytes=-{length}" if start is None else f"bytes={start}-{start + length - 1}"

        def read() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=found.key, IfMatch=f'"{found.etag}"', Range=span)
            return answer["Body"].read()

        return self._get(found, read)

    def _get(self, found: ListedObject, read: Callable[[], _R]) -> _R:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

        attempt = 1
        while True:
            try:
                return read()
            except ClientError as error:
                problem = _object_problem(error)
                if problem is not None:
                    raise problem from None
                raise self._unread(found, error) from None
            except (HTTPClientError, IncompleteReadError) as error:
                # botocore retries the request, not a body that breaks off half-way.
                if attempt == _FETCH_ATTEMPTS:
                    raise self._unread(found, error) from None
                attempt += 1
            except BotoCoreError as error:
                raise self._unread(found, error) from None

    def _unread(self, found: ListedObject, error: Exception) -> SourceError:
        return SourceError(f"{self._key}: cannot read {shown(found.uri)}: {explain(error)}")


_OBJECT_CODES = {
    "NoSuchKey": Reason.VANISHED,
    "404": Reason.VANISHED,
    "PreconditionFailed": Reason.CHANGED,
    "412": Reason.CHANGED,
    "AccessDenied": Reason.ACCESS_DENIED,
    "403": Reason.ACCESS_DENIED,
    "InvalidObjectState": Reason.ARCHIVED,
}

_PASSING_KMS_CODES = (
    "KMS.DependencyTimeoutException",
    "KMS.KMSInternalException",
    "KMS.KeyUnavailableException",
    "KMS.ThrottlingException",
)
"""Of the key service itself; all others are about the object's key."""

_ADVICE = {
    "NoSuchBucket": "there is no such bucket: correct the uri",
    "AccessDenied": "access denied: grant s3:ListBucket on the bucket and s3:GetObject on its objects",
    "403": "access denied: grant s3:ListBucket on the bucket and s3:GetObject on its objects",
    "InvalidAccessKeyId": "the access key is unknown: check the AWS credentials",
    "SignatureDoesNotMatch": "the secret key is wrong: check the AWS credentials",
    "ExpiredToken": "the AWS credentials have expired: renew them",
    "NoCredentialsError": "there are no AWS credentials: set AWS_PROFILE or the usual variables (Airflow: aws_conn_id)",
    "NoRegionError": "there is no region: set AWS_REGION",
    "ProfileNotFound": "the AWS profile does not exist: check AWS_PROFILE",
    "EndpointConnectionError": "the endpoint cannot be reached: check AWS_ENDPOINT_URL and the network",
    "ConnectTimeoutError": "the endpoint cannot be reached: check AWS_ENDPOINT_URL and the network",
}

_MISTAKES = ("NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoCredentialsError", "ProfileNotFound")
"""What no repetition cures; the rest may be the network, or an administrator's to allow."""


def explain(error: Exception) -> str:
    """What an error of the AWS client means and what to do, on one line."""
    code = _code(error)
    said = shown(" ".join(f"{code}: {error}".split()))
    # Where IAM names the action and the resource, nothing is to be added.
    return said if "not authorized to perform" in said else _ADVICE.get(code, said)


def _code(error: Exception) -> str:
    answer = getattr(error, "response", None)
    return str(answer["Error"]["Code"]) if isinstance(answer, dict) and "Error" in answer else type(error).__name__


def _object_problem(error: Exception) -> ObjectProblem | None:
    reason = _OBJECT_CODES.get(_code(error))
    if reason is None and _is_sealed(error):
        return ObjectProblem(Reason.SEALED, one_line(error)[:200])
    return ObjectProblem(reason) if reason else None


def _is_sealed(error: Exception) -> bool:
    """Whether an object is encrypted with a key that is switched off or gone, or that only its owner has (SSE-C)."""
    code = _code(error)
    if code == "InvalidRequest":
        return "Server Side Encryption" in str(error)
    return code.startswith("KMS.") and code not in _PASSING_KMS_CODES


def default_s3_client(source: Source) -> S3Client:
    """A client with the usual AWS credentials, or with the source's role, whose credentials renew themselves.

    AWS_ENDPOINT_URL and its relatives apply as everywhere in the AWS SDK.
    """
    import boto3
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=2 * _LISTING_THREADS)
    if source.role_arn is None:
        return boto3.session.Session().client("s3", config=config)
    session = get_session()
    # botocore has no public way to give a session credentials that renew themselves.
    session._credentials = _role_credentials(source.role_arn)  # type: ignore[attr-defined]
    return boto3.session.Session(botocore_session=session).client("s3", config=config)


def _role_credentials(role_arn: str) -> Credentials:
    import boto3
    from botocore.credentials import RefreshableCredentials

    sts = boto3.session.Session().client("sts")

    def assume() -> dict[str, str]:
        fresh = sts.assume_role(RoleArn=role_arn, RoleSessionName="flowlake")["Credentials"]
        return {
            "access_key": fresh["AccessKeyId"],
            "secret_key": fresh["SecretAccessKey"],
            "token": fresh["SessionToken"],
            "expiry_time": fresh["Expiration"].isoformat(),
        }

    return RefreshableCredentials.create_from_metadata(assume(), assume, "sts-assume-role")


# --- all sources ---


def source_key(settings: Settings, source: Source) -> str:
    """The key path of a source's uri with its name, as errors show it."""
    return f"sources[{settings.sources.index(source)}].uri ({source.name})"


def open_store(settings: Settings, source: Source, s3_client: S3ClientFactory | None = None) -> Store:
    """The store behind a source. Raises SourceError when it cannot be opened."""
    key = source_key(settings, source)
    if not source.is_s3:
        return LocalStore(source, key)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = (s3_client or default_s3_client)(source)
    except (BotoCoreError, ClientError) as error:
        if source.role_arn:
            key = key.replace(".uri ", ".role_arn ")
            message = f"{key}: cannot assume {source.role_arn}: {shown(' '.join(str(error).split()))}"
        else:
            message = f"{key}: cannot connect to {shown(source.uri)}: {explain(error)}"
        raise (SourceMistake if _code(error) in _MISTAKES else SourceError)(message) from None
    return S3Store(source, key, client)


def require_folders(settings: Settings) -> None:
    """Raise SourceMistake when a source is a folder that is not there. Nothing is asked of buckets."""
    for source in settings.sources:
        if not source.is_s3:
            LocalStore(source, source_key(settings, source))
