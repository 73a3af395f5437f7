"""What a store makes of times, and what people are told of its errors; pure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from flowlake.lake.storage import _modified, explain

IAM = "User: arn:aws:sts::123456789012:assumed-role/x/y is not authorized to perform: s3:PutObject on resource: lake"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Access Denied", "access denied: grant s3:ListBucket on the bucket and s3:GetObject on its objects"),
        (IAM, f"AccessDenied: An error occurred (AccessDenied) when calling the PutObject operation: {IAM}"),
    ],
)
def test_what_iam_names_is_said_in_its_words(message: str, said: str) -> None:
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, "PutObject")
    assert explain(error) == said


@pytest.mark.parametrize(
    ("seconds", "moment"),
    [
        (1795176000, datetime(2026, 11, 20, 12, tzinfo=UTC)),
        (-1, datetime(1970, 1, 1, tzinfo=UTC)),
        (2**62 // 10**9, datetime(2116, 2, 20, 23, 53, 38, tzinfo=UTC)),
        (10**12, datetime(9000, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_of_files_are_of_years_with_four_digits(seconds: int, moment: datetime) -> None:
    assert _modified(seconds * 10**9) == moment
