"""Registering from a bucket, through boto3 and HTTP, against moto's S3 and STS."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import parquet

from flowlake.lake import register as register_module
from flowlake.lake.manifests import read_objects
from flowlake.lake.objects import ObjectRow
from flowlake.lake.register import RegisterError, plan, register
from flowlake.lake.spool import SpoolError, clear_spool, ensure_spooled
from flowlake.lake.storage import SourceError, default_s3_client
from flowlake.lake.windows import Window
from flowlake.settings import LakeSettings, Settings, Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "flow-logs"
ACCOUNT = "123456789012"
REGION = "eu-central-1"
TEXT = b"srcaddr dstaddr\n10.0.0.1 10.0.0.2\n10.0.0.2 10.0.0.1\n"
PACKED = gzip.compress(TEXT, mtime=0)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Bucket:
    """A bucket as a source, a lake beside it, and every request that was sent."""

    client: S3Client
    settings: Settings
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def put(self, key: str, data: bytes = PACKED) -> str:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def watched(self, source: Source) -> S3Client:
        client = default_s3_client(source)

        def note(params: dict[str, Any], model: Any, **_: Any) -> None:
            self.requests.append((model.name, dict(params)))

        client.meta.events.register("provide-client-params.s3", note)
        return client

    def asked(self, operation: str, parameter: str) -> list[str]:
        return [str(params.get(parameter, "")) for name, params in self.requests if name == operation]

    def with_source(self, **changes: Any) -> Settings:
        return replace(self.settings, sources=(replace(self.settings.sources[0], **changes),))

    def rows(self, window: Window) -> dict[str, ObjectRow]:
        rows = (row for hour in window.hours for row in read_objects(self.settings, hour) or [])
        return {row.uri.removeprefix(f"s3://{BUCKET}/"): row for row in rows}


@pytest.fixture
def window() -> Window:
    """Around now: S3 sets the time of arrival itself."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return Window(hour - timedelta(hours=1), hour + timedelta(hours=2))


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    source = Source(name="prod", uri=f"s3://{BUCKET}")
    yield Bucket(client, Settings(sources=(source,), lake=LakeSettings(path=tmp_path / "lake")))
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


def day(window: Window, *, back: int = 0, account: str = ACCOUNT, region: str = REGION) -> str:
    # The middle hour is the present one.
    moment = window.start + timedelta(hours=1) - timedelta(days=back)
    return f"AWSLogs/{account}/vpcflowlogs/{region}/{moment:%Y/%m/%d}/"


def name(flow_log: str = "fl-1", extension: str = "gz", *, account: str = ACCOUNT, region: str = REGION) -> str:
    return f"{account}_vpcflowlogs_{region}_{flow_log}_20261120T1205Z_0a1b2c3d.log.{extension}"


def hive(key: str) -> str:
    return re.sub(
        r"AWSLogs/(\d+)/vpcflowlogs/([^/]+)/(\d+)/(\d+)/(\d+)/",
        r"AWSLogs/aws-account-id=\1/aws-service=vpcflowlogs/aws-region=\2/year=\3/month=\4/day=\5/",
        key,
    )


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table({"srcaddr": ["10.0.0.1"], "bytes": [1], "novelty": ["x"]}), sink)
    return sink.getvalue()


def test_objects_are_fetched_once_and_registered(bucket: Bucket, window: Window) -> None:
    uri = bucket.put(f"net/{day(window)}{name()}")
    bucket.put(f"net/{hive(day(window))}hour=05/{name('fl-2')}")
    bucket.put(f"net/{day(window)}{name('fl-3', 'parquet')}", parquet_bytes())
    report = register(bucket.settings, window, s3_client=bucket.watched)
    assert (report.objects, report.readable, report.lines) == (3, 3, 7)
    rows = {row.flow_log_id: row for row in bucket.rows(window).values()}
    row = rows["fl-1"]
    assert (row.uri, row.size, row.layout) == (uri, len(PACKED), "plain")
    assert '"' not in row.etag
    assert Path(str(row.read_path)).parent == bucket.settings.lake.spool
    assert Path(str(row.read_path)).read_bytes() == PACKED
    assert rows["fl-2"].layout == "hive_hourly"
    assert (rows["fl-3"].line_count, rows["fl-3"].unknown_fields) == (1, ("novelty",))
    assert len(bucket.asked("GetObject", "Key")) == 3
    assert all(etag.startswith('"') for etag in bucket.asked("GetObject", "IfMatch"))
    bucket.requests.clear()
    register(bucket.settings, window, s3_client=bucket.watched)
    assert bucket.asked("GetObject", "Key") == []


def test_only_the_days_of_the_window_are_listed(bucket: Bucket, window: Window) -> None:
    """Neither other days, nor other services, nor the whole bucket: the cost of an hour does not grow with history."""
    accounts, regions = ("111111111111", "222222222222"), ("eu-central-1", "us-east-1")
    for account in accounts:
        for region in regions:
            for back in range(-1, 6):
                folder = day(window, back=back, account=account, region=region)
                bucket.put(folder + name(account=account, region=region))
        bucket.put(f"AWSLogs/{account}/CloudTrail/us-east-1/2026/11/20/trail.json.gz")
    found = register(bucket.settings, window, s3_client=bucket.watched)
    # The next day too, where the window ends one: it does at one hour of the day in which this runs.
    ended = {window.end.date()} if window.end.hour == 0 else set()
    listed_days = {window.days[0] - timedelta(days=1), *window.days} | ended
    days = {moment.strftime("/%Y/%m/%d/") for moment in listed_days}
    # Every object was put just now, so only listing keeps the other days out.
    assert found.objects == len(accounts) * len(regions) * len(days)
    listed = list(zip(bucket.asked("ListObjectsV2", "Prefix"), bucket.asked("ListObjectsV2", "Delimiter"), strict=True))
    deep = [prefix for prefix, delimiter in listed if delimiter != "/"]
    assert len(deep) == len(set(deep)) == len(accounts) * len(regions) * len(days)
    assert {prefix[-12:] for prefix in deep} == days
    shallow = {prefix for prefix, delimiter in listed if delimiter == "/"}
    assert shallow == {"", "AWSLogs/", *(f"AWSLogs/{account}/vpcflowlogs/" for account in accounts)}


def test_a_listing_of_many_pages_is_read_to_its_end(bucket: Bucket, window: Window) -> None:
    for index in range(5):
        bucket.put(day(window) + name(f"fl-{index}"))

    def small_pages(source: Source) -> S3Client:
        client = default_s3_client(source)

        def limit(params: dict[str, Any], **_: Any) -> None:
            params["MaxKeys"] = 2

        client.meta.events.register("provide-client-params.s3.ListObjectsV2", limit)
        return client

    assert register(bucket.settings, window, s3_client=small_pages).objects == 5


def test_what_cannot_be_read_is_recorded_and_not_fetched_again(bucket: Bucket, window: Window) -> None:
    folder = day(window)
    bucket.put(folder, b"")
    bucket.put(f"{folder}12/", b"")
    bucket.put(f"{folder}notes.txt")
    bucket.put(folder + name("fl-1"), b"")
    bucket.put(folder + name("fl-2"), PACKED[:-4])
    bucket.put(folder + name("fl-3", "parquet"), b"PAR1")
    bucket.put(f"a\x1b[2Jb/{folder}{name('fl-4')}")
    bucket.put(f'a\'b "ü"/../{folder}{name("fl-5")}')
    report = register(bucket.settings, window, s3_client=bucket.watched)
    assert {key: row.reason for key, row in bucket.rows(window).items()} == {
        folder: "directory_marker",
        f"{folder}12/": "directory_marker",
        f"{folder}notes.txt": "not_a_flow_log",
        folder + name("fl-1"): "empty",
        folder + name("fl-2"): "truncated",
        folder + name("fl-3", "parquet"): "broken_parquet",
        f"a\x1b[2Jb/{folder}{name('fl-4')}": "unsafe_name",
        f'a\'b "ü"/../{folder}{name("fl-5")}': None,
    }
    assert report.readable == 1
    assert len(bucket.asked("GetObject", "Key")) == 3
    assert len(list(bucket.settings.lake.spool.iterdir())) == 1


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen between listing and reading."""

    def arrange(event: Callable[[], object]) -> None:
        find = register_module._find

        def find_then(*arguments: Any) -> Any:
            found = find(*arguments)
            event()
            return found

        monkeypatch.setattr(register_module, "_find", find_then)

    return arrange


def test_an_object_that_vanishes_or_changes_before_it_is_read_is_recorded(
    bucket: Bucket, window: Window, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    keys = [day(window) + name(flow_log) for flow_log in ("fl-1", "fl-2", "fl-3")]
    for key in keys:
        bucket.put(key)

    def event() -> None:
        bucket.client.delete_object(Bucket=BUCKET, Key=keys[0])
        bucket.put(keys[1], gzip.compress(TEXT * 2))

    meanwhile(event)
    register(bucket.settings, window)
    assert [row.reason for _, row in sorted(bucket.rows(window).items())] == ["vanished", "changed", None]


def test_objects_that_are_gone_stop_the_run(bucket: Bucket, window: Window) -> None:
    key = day(window) + name()
    bucket.put(key)
    register(bucket.settings, window)
    bucket.client.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(RegisterError, match="1 object registered earlier is gone"):
        register(bucket.settings, window)
    assert len(bucket.rows(window)) == 1
    assert register(bucket.settings, window, accept_missing=True).missing == 1
    assert bucket.rows(window) == {}


def arrive(key: str, moment: datetime) -> None:
    """Set the time that S3 sets by itself."""
    from moto.s3.models import s3_backends

    backend = s3_backends["123456789012"]["aws"]
    backend.buckets[BUCKET].keys[key].last_modified = moment.replace(tzinfo=None)


def test_an_overwritten_object_counts_once_in_the_hour_of_its_last_arrival(
    bucket: Bucket, window: Window, tmp_path: Path
) -> None:
    hours = [Window(at, at + timedelta(hours=1)) for at in (window.start, window.start + timedelta(hours=1))]
    # Of the earlier hour's day, also where the later one is a new day's first.
    folder = day(Window(window.start - timedelta(hours=1), window.end))
    key, other = folder + name("fl-1"), folder + name("fl-2")
    for stays in (other, key):
        bucket.put(stays)
        arrive(stays, hours[0].start)
    register(bucket.settings, hours[0])
    uri = bucket.put(key, gzip.compress(TEXT * 2, mtime=0))
    arrive(key, hours[1].start)
    report = register(bucket.settings, hours[1])
    assert report.overtaken == hours[0].hours
    assert [problem for problem in report.problems if uri in problem] == list(report.problems)
    assert sorted(bucket.rows(hours[0])) == [other]
    assert {found: row.unpacked_bytes for found, row in bucket.rows(hours[1]).items()} == {key: len(TEXT * 2)}
    assert register(bucket.settings, hours[1]).overtaken == ()


def test_the_spool_is_cleared_and_filled_again(bucket: Bucket, window: Window) -> None:
    bucket.put(day(window) + name("fl-1"))
    bucket.put(day(window) + name("fl-2"), gzip.compress(TEXT + b"\x80\n"))
    bucket.put(day(window) + name("fl-3", "parquet"), parquet_bytes())
    register(bucket.settings, window)
    spool = bucket.settings.lake.spool
    before = {path.name: path.read_bytes() for path in spool.iterdir()}
    assert len(before) == 3
    assert ensure_spooled(bucket.settings, window, bucket.watched) == 0
    assert bucket.requests == []
    assert clear_spool(bucket.settings, window) == 3
    assert list(spool.iterdir()) == []
    assert ensure_spooled(bucket.settings, window, bucket.watched) == 3
    assert {path.name: path.read_bytes() for path in spool.iterdir()} == before
    assert bucket.asked("ListObjectsV2", "Prefix") == []
    clear_spool(bucket.settings, window)
    bucket.client.delete_object(Bucket=BUCKET, Key=day(window) + name("fl-1"))
    with pytest.raises(SpoolError, match=r"was deleted .* again"):
        ensure_spooled(bucket.settings, window)


def test_a_download_that_breaks_off_is_tried_again(
    bucket: Bucket, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ResponseStreamingError
    from botocore.response import StreamingBody

    bucket.put(day(window) + name())
    failures = [ResponseStreamingError(error="reset"), ResponseStreamingError(error="reset")]
    read = StreamingBody.iter_chunks

    def flaky(self: StreamingBody, chunk_size: int) -> Iterator[bytes]:
        if failures:
            raise failures.pop()
        yield from read(self, chunk_size)

    monkeypatch.setattr(StreamingBody, "iter_chunks", flaky)
    assert register(bucket.settings, window).readable == 1
    clear_spool(bucket.settings, window)
    failures += [ResponseStreamingError(error="reset")] * 3
    with pytest.raises(SourceError, match=r"sources\[0\]\.uri \(prod\): cannot read s3://flow-logs/"):
        register(bucket.settings, window)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://flow-logs/net", 1),
        ("s3://flow-logs/net/AWSLogs", 1),
        (f"s3://flow-logs/net/AWSLogs/{ACCOUNT}", 1),
        ("s3://flow-logs/net/AWSLogs/999999999999", 0),
        ("s3://flow-logs/other", 0),
    ],
)
def test_the_uri_may_be_a_prefix(bucket: Bucket, window: Window, uri: str, expected: int) -> None:
    bucket.put(f"net/{day(window)}{name()}")
    bucket.put(f"network/{day(window)}{name()}")
    assert register(bucket.with_source(uri=uri), window).objects == expected


def test_a_missing_bucket_names_its_key(bucket: Bucket, window: Window) -> None:
    with pytest.raises(
        SourceError, match=r"^sources\[0\]\.uri \(prod\): cannot list s3://no-such/: there is no such bucket"
    ):
        register(bucket.with_source(uri="s3://no-such"), window)
    assert not bucket.settings.lake.path.exists()


def test_missing_credentials_name_the_key(bucket: Bucket, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SourceError, match=r"sources\[0\]\.uri .*there are no AWS credentials: set AWS_PROFILE"):
        register(bucket.settings, window)


def test_an_endpoint_that_is_not_there_names_the_key(
    bucket: Bucket, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SourceError, match=r"sources\[0\]\.uri .*the endpoint cannot be reached"):
        register(bucket.settings, window)


def denying(
    operation: str, only: str = "", *, code: str = "AccessDenied", message: str = "no"
) -> Callable[[Source], S3Client]:
    """A client whose calls of an operation are refused; moto has no bucket policies, and no keys that are gone."""

    def make(source: Source) -> S3Client:
        from botocore.awsrequest import AWSResponse

        client = default_s3_client(source)

        class Raw(io.BytesIO):
            def stream(self, **_: object) -> Iterator[bytes]:
                yield self.getvalue()

        def answer(request: Any, **_: Any) -> AWSResponse | None:
            if only not in request.url:
                return None
            body = Raw(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())
            return AWSResponse(request.url, 403 if code == "AccessDenied" else 400, {}, body)

        client.meta.events.register(f"before-send.s3.{operation}", answer)
        return client

    return make


def test_a_listing_that_is_denied_names_the_key(bucket: Bucket, window: Window) -> None:
    with pytest.raises(SourceError, match=r"sources\[0\]\.uri .*access denied: grant s3:ListBucket"):
        register(bucket.settings, window, s3_client=denying("ListObjectsV2"))


def test_one_denied_object_is_recorded_and_nothing_but_denied_ones_is_an_error(bucket: Bucket, window: Window) -> None:
    bucket.put(day(window) + name("fl-1"))
    bucket.put(day(window) + name("fl-2"))
    register(bucket.settings, window, s3_client=denying("GetObject", "fl-2"))
    assert [row.reason for _, row in sorted(bucket.rows(window).items())] == [None, "access_denied"]
    clear_spool(bucket.settings, window)
    with pytest.raises(SourceError, match=r"can be listed but not read.*allow s3:GetObject"):
        register(bucket.settings, window, s3_client=denying("GetObject"))


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        ("KMS.DisabledException", "arn:aws:kms:… is disabled.", "sealed"),
        ("KMS.KMSInvalidStateException", "arn:aws:kms:… is pending deletion.", "sealed"),
        ("InvalidRequest", "The object was stored using a form of Server Side Encryption. The …", "sealed"),
        ("InvalidRequest", "Something else", None),
        ("KMS.KeyUnavailableException", "Try again", None),
    ],
)
def test_an_object_that_nobody_can_decrypt_is_recorded_and_stops_nothing(
    bucket: Bucket, window: Window, code: str, message: str, reason: str | None
) -> None:
    bucket.put(day(window) + name("fl-1"))
    bucket.put(day(window) + name("fl-2"))
    sealed = denying("GetObject", "fl-2", code=code, message=message)
    if reason is None:
        with pytest.raises(SourceError, match=code):
            register(bucket.settings, window, s3_client=sealed)
        return
    register(bucket.settings, window, s3_client=sealed)
    rows = [row for _, row in sorted(bucket.rows(window).items())]
    assert [row.reason for row in rows] == [None, reason]
    assert code in str(rows[1].detail)
    # Nor where nothing else came in its hour: no right cures it.
    bucket.client.delete_object(Bucket=BUCKET, Key=day(window) + name("fl-1"))
    clear_spool(bucket.settings, window)
    register(bucket.settings, window, s3_client=sealed, accept_missing=True)
    assert [row.reason for row in bucket.rows(window).values()] == [reason]


def test_a_denied_object_beside_a_broken_one_is_recorded(bucket: Bucket, window: Window) -> None:
    bucket.put(day(window) + name("fl-1"), gzip.compress(TEXT)[:-4])
    bucket.put(day(window) + name("fl-2"))
    register(bucket.settings, window, s3_client=denying("GetObject", "fl-2"))
    assert [row.reason for _, row in sorted(bucket.rows(window).items())] == ["truncated", "access_denied"]


def test_a_role_is_assumed(bucket: Bucket, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put(day(window) + name())
    role = "arn:aws:iam::123456789012:role/flow-log-reader"
    settings = bucket.with_source(role_arn=role)
    client = default_s3_client(settings.sources[0])
    credentials = client._request_signer._credentials.get_frozen_credentials()  # type: ignore[attr-defined]
    assert credentials.access_key != "testing"
    assert credentials.token
    assert register(settings, window).readable == 1
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SourceError, match=r"sources\[0\]\.role_arn \(prod\): cannot assume .*flow-log-reader"):
        register(settings, window)


def test_a_plan_reads_headers_in_ranges_and_writes_nothing(bucket: Bucket, window: Window) -> None:
    bucket.put(day(window) + name("fl-1"), gzip.compress(TEXT + bytes(300_000), compresslevel=0))
    bucket.put(day(window) + name("fl-2", "parquet"), parquet_bytes())
    found = plan(bucket.settings, window, s3_client=bucket.watched)
    formats = {item.flow_log_id: (item.formats, item.unknown_fields) for item in found.flow_logs}
    assert formats["fl-1"][0][0].startswith("f-")
    assert formats["fl-2"] == (("parquet",), ("novelty",))
    assert sorted(bucket.asked("GetObject", "Range")) == ["bytes=-65536", "bytes=0-65535"]
    assert not bucket.settings.lake.path.exists()
