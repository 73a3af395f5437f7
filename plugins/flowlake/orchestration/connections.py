"""AWS credentials from Airflow connections, for the sources, and the Athena target, that name one (`aws_conn_id`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowlake.lake.storage import default_s3_client
from flowlake.settings import SettingsError, Target

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


def use_athena_connection(settings: Settings) -> None:
    """Put the credentials of `athena.aws_conn_id` into this task's environment, where boto3 and dbt find them.

    A task is a process of its own, so nobody else's credentials change. Raises SettingsError when there is no such
    connection.
    """
    connection = settings.athena.aws_conn_id if settings.athena and settings.target is Target.ATHENA else None
    if connection is None:
        return
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    hook = AwsBaseHook(aws_conn_id=connection, client_type="athena")
    try:
        hook.get_connection(connection)
    except AirflowNotFoundException:
        message = (
            f"athena: there is no Airflow connection {connection!r}; "
            "add it (type Amazon Web Services), or correct athena.aws_conn_id"
        )
        raise SettingsError(message) from None
    session = hook.get_session()
    found = session.get_credentials()
    if found is None:
        message = f"athena: the Airflow connection {connection!r} has no credentials"
        raise SettingsError(message)
    frozen = found.get_frozen_credentials()
    environment = {
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        "AWS_SESSION_TOKEN": frozen.token,
        "AWS_REGION": session.region_name,
        "AWS_DEFAULT_REGION": session.region_name,
        "AWS_ENDPOINT_URL": hook.conn_config.endpoint_url,
    }
    os.environ.pop("AWS_SESSION_TOKEN", None)
    os.environ.update({name: value for name, value in environment.items() if value})


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
