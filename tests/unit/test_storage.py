"""What people are told of an error of a store; pure."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from flowlake.lake.storage import explain

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
