from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from flowlake.lake.layouts import day_folder, folder_moment, parse_key, parse_name, stem
from flowlake.lake.objects import Kind, Layout, ObjectName

FILE = "123456789012_vpcflowlogs_us-east-1_fl-1234abcd_20180620T1620Z_fe123456.log"
PLAIN = "AWSLogs/123456789012/vpcflowlogs/us-east-1/2018/06/20/"
HIVE = "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/year=2018/month=06/day=20/"


@pytest.mark.parametrize(
    ("folders", "layout"),
    [
        (PLAIN, Layout.PLAIN),
        (f"{PLAIN}16/", Layout.HOURLY),
        (HIVE, Layout.HIVE),
        (f"{HIVE}hour=16/", Layout.HIVE_HOURLY),
        (HIVE.replace("aws-service", "service"), Layout.HIVE),
    ],
)
@pytest.mark.parametrize("prefix", ["", "some/prefix/", "a b/../'\"/", "AWSLogs/old/"])
@pytest.mark.parametrize("organisation", ["", "o-a1b2c3d4e5/"])
def test_every_documented_layout_is_read(folders: str, layout: Layout, prefix: str, organisation: str) -> None:
    key = prefix + folders.replace("AWSLogs/", f"AWSLogs/{organisation}") + FILE
    expected = ObjectName(
        account_id="123456789012",
        region="us-east-1",
        flow_log_id="fl-1234abcd",
        layout=layout,
        named_at=datetime(2018, 6, 20, 16, 20, tzinfo=UTC),
        kind=Kind.TEXT,
    )
    assert parse_key(f"{key}.gz") == expected
    parsed = parse_key(f"{key}.parquet")
    assert parsed is not None
    assert parsed.kind is Kind.PARQUET


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *((ending, Kind.TEXT) for ending in (".log", ".txt", ".log.txt", ".log.gz", ".txt.gz", ".log.gzip")),
        *((ending, Kind.TEXT) for ending in (".log.zst", ".txt.zstd")),
        *((ending, Kind.TEXT) for ending in (".json", ".jsonl", ".csv", ".log.csv", ".json.gz", ".csv.zst")),
        (".parquet", Kind.PARQUET),
    ],
)
def test_a_copy_may_have_another_ending(ending: str, kind: Kind) -> None:
    key = PLAIN + FILE.replace(".log", ending)
    parsed = parse_key(key)
    assert parsed is not None
    assert parsed.kind is kind
    assert stem(key) == PLAIN + FILE.removesuffix(".log")


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-2", "cn-northwest-1", "us-iso-east-1"])
def test_regions_of_all_partitions_are_read(region: str) -> None:
    parsed = parse_key(f"{PLAIN}{FILE}.gz".replace("us-east-1", region))
    assert parsed is not None
    assert parsed.region == region


@pytest.mark.parametrize(
    "key",
    [
        f"{PLAIN}{FILE}.gz\n",
        f"{PLAIN}{FILE}.gz.tmp",
        f"{PLAIN}{FILE}".removesuffix(".log"),
        f"{PLAIN}{FILE}.",
        f"{PLAIN}{FILE}.tmp",
        f"{PLAIN}{FILE}.gz.gz",
        f"{PLAIN}{FILE}.zip",
        f"{PLAIN}{FILE}.GZ",
        f"{PLAIN}{FILE}.txt.log.gz",
        f"{PLAIN}{FILE}.csv.json",
        f"{PLAIN}{FILE}.txt.csv",
        f"{PLAIN}{FILE}.xlsx",
        f"{PLAIN}manifest.json",
        f"{PLAIN}{FILE}.json.tmp",
        f"{PLAIN}{FILE}.gz.parquet",
        f"{PLAIN}x/{FILE}.gz",
        f"{PLAIN}{FILE}.gz".replace("AWSLogs", "awslogs"),
        f"{PLAIN}{FILE}.gz".replace("AWSLogs", "xAWSLogs"),
        f"{PLAIN}{FILE}.gz".replace("20180620T1620Z", "20181320T1620Z"),
        f"{PLAIN}{FILE}.gz".replace("123456789012_", "210987654321_"),
        f"{PLAIN}{FILE}.gz".replace("_us-east-1_", "_us-west-2_"),
        f"{PLAIN}{FILE}.gz".replace("/123456789012/", "/aws-account-id=123456789012/"),
        f"{HIVE}16/{FILE}.gz",
        f"{PLAIN}{FILE}.gz".replace("vpcflowlogs/", "CloudTrail/"),
        f"{PLAIN}{FILE}.gz".replace("fl-1234abcd", "fl-12/34"),
        f"{PLAIN}{FILE}.gz".replace("fl-1234abcd", "fl-1234\x00"),
        PLAIN.replace("2018", "\u0662\u0660\u0661\u0668") + FILE + ".gz",
        "",
    ],
)
def test_other_keys_are_not_flow_logs(key: str) -> None:
    assert parse_key(key) is None


def test_a_name_says_all_where_folders_say_nothing() -> None:
    documented, other = (
        parse_name(f"{HIVE}{FILE}.gz"),
        parse_name(f"{PLAIN}x/{FILE}.gz".replace("/123456789012/", "/1/")),
    )
    assert documented == parse_key(f"{HIVE}{FILE}.gz")
    assert documented is not None
    assert other == replace(documented, layout=Layout.ANY)
    for key in (
        f"{FILE}.gz\n",
        f"x{FILE}.gz",
        f"{FILE}.part",
        f"{FILE}.gz".replace("T1620Z", "T2520Z"),
        "notes.txt",
        "",
    ):
        assert parse_name(key) is None


def test_a_day_has_a_folder_in_either_style() -> None:
    assert day_folder(date(2026, 1, 2), hive=False) == "2026/01/02/"
    assert day_folder(date(2026, 1, 2), hive=True) == "year=2026/month=01/day=02/"


def test_the_folder_of_a_foreign_object_gives_a_moment() -> None:
    assert folder_moment(f"{PLAIN}notes.txt") == datetime(2018, 6, 20, tzinfo=UTC)
    assert folder_moment(f"{PLAIN}16/notes.txt") == datetime(2018, 6, 20, 16, tzinfo=UTC)
    assert folder_moment(f"{HIVE}hour=16/notes.txt") == datetime(2018, 6, 20, 16, tzinfo=UTC)
    assert folder_moment("notes.txt") is None
