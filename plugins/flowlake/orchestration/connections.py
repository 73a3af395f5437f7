"""S3 clients from Airflow connections, for the sources that name one (`aws_conn_id`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowlake.lake.storage import default_s3_client
from flowlake.settings import SettingsError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from flowlake.settings import Settings, Source


def s3_client_factory(settings: Settings) -> Callable[[Source], S3Client] | None:
    """What gives each source its S3 client, or None when no source names a connection (boto3's own chain then).

    Raises SettingsError for a source that names a connection and a role.
    """
    for index, source in enumerate(settings.sources):
        if source.aws_conn_id and source.role_arn:
            message = (
                f"sources[{index}] ({source.name}): aws_conn_id and role_arn exclude each other; "
                f"put the role into the connection {source.aws_conn_id!r}, as role_arn in its extra"
            )
            raise SettingsError(message)
    return _client if any(source.aws_conn_id for source in settings.sources) else None


def _client(source: Source) -> S3Client:
    if not source.aws_conn_id:
        return default_s3_client(source)
    # Here and not above: they import boto3, which no DAG file should wait for.
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.sdk.exceptions import AirflowNotFoundException

    hook = S3Hook(aws_conn_id=source.aws_conn_id)
    try:
        # The hook itself would go on with the machine's own credentials, which may read another account's bucket.
        hook.get_connection(source.aws_conn_id)
    except AirflowNotFoundException:
        message = (
            f"source {source.name!r}: there is no Airflow connection {source.aws_conn_id!r}; "
            "add it (type Amazon Web Services), or correct aws_conn_id"
        )
        raise SettingsError(message) from None
    return hook.get_conn()
