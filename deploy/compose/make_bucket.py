"""Make the bucket of the local S3 (profile `s3`), unless it is there."""

from __future__ import annotations

import os

import boto3  # noqa: TID253 - all that this script is for


def main() -> None:
    """Make the bucket that S3_BUCKET names."""
    s3 = boto3.client("s3")
    bucket = os.environ["S3_BUCKET"]
    if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)


if __name__ == "__main__":
    main()
