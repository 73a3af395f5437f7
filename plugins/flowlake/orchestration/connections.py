"""S3 clients from Airflow connections, for the sources that name one (`aws_conn_id`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from flowlake.settings import Settings, Source


def s3_client_factory(settings: Settings) -> Callable[[Source], S3Client] | None:
    """What gives each source its S3 client, or None when no source names a connection (boto3's own chain then)."""
    if not any(source.aws_conn_id for source in settings.sources):
        return None
    return _client


def _client(source: Source) -> S3Client:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    # None is the hook's way to say: boto3's own credentials chain.
    return S3Hook(aws_conn_id=source.aws_conn_id).get_conn()
