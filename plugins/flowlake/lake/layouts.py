"""The documented layouts of flow-log objects: what a key says, and which prefixes hold a day.

Source: the Amazon VPC user guide, "Flow log files" (S3 destination), and the Transit Gateway guide, which writes
`service=` where the VPC guide writes `aws-service=`; both are taken. Of the ending only what copying, unpacking,
wrapping and packing anew make of it is taken: what a text holds is told by its bytes. Pure: keys are hostile text and
only matched.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from flowlake.lake.objects import Kind, Layout, ObjectName

LOGS_FOLDER = "AWSLogs"

# [0-9], not \d: the latter also matches digits of other scripts. \Z, not $: the latter lets a newline follow.
_ACCOUNT = r"[0-9]{12}"
_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}"
_ORGANISATION = r"o-[a-z0-9]{4,32}"
_FOLDERS = (
    rf"(?:{_ORGANISATION}/)?"
    rf"(?:(?P<plain_account>{_ACCOUNT})/vpcflowlogs/(?P<plain_region>{_REGION})/"
    r"[0-9]{4}/[0-9]{2}/[0-9]{2}/(?P<plain_hour>[0-9]{2}/)?"
    rf"|aws-account-id=(?P<hive_account>{_ACCOUNT})/(?:aws-)?service=vpcflowlogs/aws-region=(?P<hive_region>{_REGION})/"
    r"year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}/(?P<hive_hour>hour=[0-9]{2}/)?)"
)
_FILE = (
    rf"(?P<account>{_ACCOUNT})_vpcflowlogs_(?P<region>{_REGION})_(?P<flow_log>fl-[0-9A-Za-z]{{1,64}})_"
    r"(?P<named_at>[0-9]{8}T[0-9]{4})Z_[0-9A-Za-z]+"
    r"(?:(?:\.log)?(?P<parquet>\.parquet)"
    r"|(?:(?:\.log|\.txt){1,2}|(?:\.log)?\.(?:jsonl?|csv))(?:\.(?:gz|gzip|zst|zstd))?)"
)
_KEY = re.compile(rf"(?:^|/){LOGS_FOLDER}/{_FOLDERS}{_FILE}\Z")
_NAME = re.compile(rf"(?:^|/){_FILE}\Z")
_IN_FOLDERS = re.compile(rf"(?:^|/){LOGS_FOLDER}/{_FOLDERS}")
_DAY_FOLDER = re.compile(
    r"/(?:year=)?([0-9]{4})/(?:month=)?([0-9]{2})/(?:day=)?([0-9]{2})/(?:(?:hour=)?([0-9]{2})/)?(?=[^/]*\Z)"
)

IS_LIKE_A_NAME = re.compile(r"_vpcflowlogs_[^/]*\Z")
"""Keys whose file may be meant for a flow-log object; where folders say nothing, others are none of ours."""

IS_ORGANISATION = re.compile(rf"{_ORGANISATION}\Z")
IS_PLAIN_ACCOUNT = re.compile(rf"{_ACCOUNT}\Z")
IS_HIVE_ACCOUNT = re.compile(rf"aws-account-id={_ACCOUNT}\Z")
IS_PLAIN_REGION = re.compile(rf"{_REGION}\Z")
IS_HIVE_REGION = re.compile(rf"aws-region={_REGION}\Z")
PLAIN_SERVICES = ("vpcflowlogs",)
HIVE_SERVICES = ("aws-service=vpcflowlogs", "service=vpcflowlogs")


def parse_key(key: str) -> ObjectName | None:
    """What the key of a flow-log object says, or None when it is not one's.

    The account and the region stand twice in a key, in a folder and in the file's name; where they differ the object
    was put there by somebody else, and is none of ours.
    """
    match = _KEY.search(key)
    if match is None:
        return None
    is_hive = match["hive_account"] is not None
    account = match["hive_account"] or match["plain_account"]
    region = match["hive_region"] or match["plain_region"]
    named_at = _moment(match["named_at"])
    if (account, region) != (match["account"], match["region"]) or named_at is None:
        return None
    if is_hive:
        layout = Layout.HIVE_HOURLY if match["hive_hour"] else Layout.HIVE
    else:
        layout = Layout.HOURLY if match["plain_hour"] else Layout.PLAIN
    return ObjectName(
        account_id=account,
        region=region,
        flow_log_id=match["flow_log"],
        layout=layout,
        named_at=named_at,
        kind=Kind.PARQUET if match["parquet"] else Kind.TEXT,
    )


def parse_name(key: str) -> ObjectName | None:
    """What the file's name says in whatever folder it lies, or None when it is not that of a flow-log object."""
    match = _NAME.search(key)
    named_at = _moment(match["named_at"]) if match else None
    if match is None or named_at is None:
        return None
    return parse_key(key) or ObjectName(
        account_id=match["account"],
        region=match["region"],
        flow_log_id=match["flow_log"],
        layout=Layout.ANY,
        named_at=named_at,
        kind=Kind.PARQUET if match["parquet"] else Kind.TEXT,
    )


def folders_above(key: str) -> int | None:
    """How many folders lie above the folder AWSLogs that holds an object's day of flow logs; None outside of any."""
    match = _IN_FOLDERS.search(key)
    return key.count("/", 0, match.start() + 1) if match else None


def stem(key: str) -> str:
    """The key of a flow-log object without its ending, of which a delivery has only one."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def folder_moment(key: str) -> datetime | None:
    """The start of the day or hour whose folder holds the key, for objects whose own name says nothing."""
    match = _DAY_FOLDER.search(key)
    return _moment(f"{match[1]}{match[2]}{match[3]}T{match[4] or '00'}00") if match else None


def day_folder(day: date, *, hive: bool) -> str:
    """The folders of a day below a region, with the slash at the end."""
    if hive:
        return f"year={day.year:04d}/month={day.month:02d}/day={day.day:02d}/"
    return f"{day.year:04d}/{day.month:02d}/{day.day:02d}/"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None
