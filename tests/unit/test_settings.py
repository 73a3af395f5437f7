from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowlake.settings import (
    INTERNAL_CIDRS,
    Arrival,
    Gates,
    Maintenance,
    Settings,
    SettingsError,
    Severity,
    Target,
    load_settings,
)

FOUR_LINES = """
sources:
  - name: prod
    uri: logs
lake: {path: lake}
"""


def load(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "flowlake.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ=environ)


def test_four_lines_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path, FOUR_LINES)
    assert settings.lake.path == tmp_path / "lake"
    source = settings.sources[0]
    assert (source.name, source.uri) == ("prod", str(tmp_path / "logs"))
    assert (source.arrival, source.lookback_days) == (Arrival.LAST_MODIFIED, 1)
    assert (settings.target, settings.gates, settings.internal_cidrs) == (Target.DUCKDB, Gates(), INTERNAL_CIDRS)
    assert settings.config_path == tmp_path / "flowlake.yaml"


def test_everything_can_be_set(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        sources:
          - name: prod
            uri: s3://bucket/some/prefix/
            role_arn: arn:aws:iam::123456789012:role/reader
            arrival: object_name
            lookback_days: 3
            aws_conn_id: aws_prod
            format: version srcaddr dstaddr
          - {name: copy, uri: /logs}
        lake: {path: /lake, catalog: "postgresql://me@db.internal:5432/lake?sslmode=require", wait_minutes: 5}
        target: duckdb
        maintenance: {keep_snapshots_days: 30, remove_files_after_hours: 48}
        gates: {max_malformed_share: 1, silent_flow_log: warn, retired_flow_logs: [fl-0a1b2c3d]}
        nat_gateways: [203.0.113.5, eni-0123456789abcdef0]
        internal_cidrs: [10.0.0.0/8, "fd00::/8"]
        overlapping_cidrs: [10.1.0.0/16]
        device_names: {10.0.0.5: web, "FD00::5": db}
        """,
    )
    assert settings.sources[0].uri == "s3://bucket/some/prefix"
    assert settings.sources[0].is_s3
    assert settings.sources[0].lookback_days == 3
    assert settings.sources[0].arrival is Arrival.OBJECT_NAME
    assert settings.sources[0].format == "version srcaddr dstaddr"
    assert not settings.sources[1].is_s3
    assert settings.lake.catalog == "postgresql://me@db.internal:5432/lake?sslmode=require"
    assert settings.lake.wait_minutes == 5
    assert settings.gates.max_malformed_share == 1.0
    assert settings.maintenance == Maintenance(30, 48, 30)
    assert settings.gates.silent_flow_log is Severity.WARN
    assert settings.device_names == {"10.0.0.5": "web", "fd00::5": "db"}
    assert settings.internal_cidrs == ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FOUR_LINES.replace("uri:", "url:"), "sources[0].url: unknown key, did you mean uri?"),
        (FOUR_LINES + "gate: {}\n", "gate: unknown key, did you mean gates?"),
        (FOUR_LINES + "zebra: 1\n", "zebra: unknown key; known here: sources, lake"),
        (FOUR_LINES + "config_path: x\n", "config_path: unknown key"),
        (FOUR_LINES.replace("    uri: logs\n", ""), "sources[0].uri: is missing"),
        ("sources: [{name: a, uri: b}]\n", "lake: is missing"),
        ("lake: {path: x}\nsources: []\n", "sources: must hold at least one source"),
        ("lake: {path: x}\nsources: {name: a, uri: b}\n", "sources: must be a list, but is a mapping"),
        ("lake: {path: x}\nsources: [logs]\n", "sources[0]: must be a mapping, but is the text 'logs'"),
        ("lake: x\nsources: [{name: a, uri: b}]\n", "lake: must be a mapping"),
        (FOUR_LINES.replace("path: lake", "path: "), "lake.path: is empty"),
        (FOUR_LINES.replace("path: lake", "path: 'a[1]'"), "lake.path: must not hold"),
        (FOUR_LINES.replace("prod", "12"), "sources[0].name: must be text, but is the number 12"),
        (FOUR_LINES.replace("prod", "'a b'"), "sources[0].name: must be 1 to 64 letters"),
        (FOUR_LINES.replace("uri: logs", "uri: gs://x"), "sources[0].uri: must be a folder or s3://bucket/prefix"),
        (FOUR_LINES.replace("uri: logs", "uri: 's3://'"), "sources[0].uri: 's3://' names no bucket"),
        (FOUR_LINES.replace("uri: logs", "uri: logs\n    lookback_days: yes"), "but is the yes/no value true"),
        (
            FOUR_LINES.replace("uri: logs", "uri: logs\n    lookback_days: '1'"),
            "must be a whole number, but is the text",
        ),
        (FOUR_LINES.replace("uri: logs", "uri: logs\n    lookback_days: -1"), "must lie between 0 and 366"),
        (
            FOUR_LINES.replace("uri: logs", "uri: logs\n    arrival: modified"),
            "sources[0].arrival: 'modified' is unknown",
        ),
        (
            FOUR_LINES.replace("uri: logs", "uri: logs\n    format: v3-default"),
            "sources[0].format: 'v3-default' is no format: write the header line",
        ),
        (FOUR_LINES.replace("uri: logs", "uri: logs\n    aws_conn_id: x"), "sources[0].aws_conn_id: is only for s3://"),
        (FOUR_LINES.replace("uri: logs", "uri: s3://bbb\n    role_arn: x"), "sources[0].role_arn: 'x' is no role"),
        (
            "lake: {path: x}\nsources: [{name: a, uri: b}, {name: c, uri: d}, {name: a, uri: e}]\n",
            "sources[2].name: 'a' is already the name of sources[0]",
        ),
        (FOUR_LINES + "target: athen\n", "target: 'athen' is unknown, did you mean athena? (there is: duckdb, athena)"),
        (FOUR_LINES + "target: ducdb\n", "did you mean duckdb?"),
        (FOUR_LINES + "gates: {max_malformed_share: 1.5}\n", "gates.max_malformed_share: must lie between 0 and 1"),
        (
            FOUR_LINES + "maintenance: {remove_files_after_hours: 0}\n",
            "maintenance.remove_files_after_hours: must lie between 1 and 8784",
        ),
        (FOUR_LINES + "gates: {silent_flow_log: ignore}\n", "gates.silent_flow_log: 'ignore' is unknown"),
        (FOUR_LINES + "gates: {retired_flow_logs: [x]}\n", "gates.retired_flow_logs[0]: 'x' is not a flow log id"),
        (FOUR_LINES + "internal_cidrs: [10.0.0.0/8, 10.0.0.1/8]\n", "internal_cidrs[1]: '10.0.0.1/8' has bits set"),
        (FOUR_LINES + "internal_cidrs: [net]\n", "internal_cidrs[0]: 'net' is not a network"),
        (FOUR_LINES + "overlapping_cidrs: 10.0.0.0/8\n", "overlapping_cidrs: must be a list"),
        (FOUR_LINES + "nat_gateways: [nat-1]\n", "nat_gateways[0]: 'nat-1' is neither"),
        (FOUR_LINES + "device_names: {web: 10.0.0.5}\n", "device_names: 'web' is not an IP address"),
        (FOUR_LINES + "device_names: {10.0.0.5: 7}\n", "device_names.10.0.0.5: must be text"),
        (FOUR_LINES + "lake: {path: other}\n", "the key 'lake' stands twice"),
        ("a: [", "is not valid YAML"),
        ("- 1", "must be a mapping with the keys sources and lake"),
        ("", "must be a mapping"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key_and_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(complaint)) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "flowlake.yaml") in message


def test_the_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(tmp_path, FOUR_LINES, FLOWLAKE_LAKE_PATH="elsewhere", FLOWLAKE_TARGET="duckdb")
    assert settings.lake.path == tmp_path / "elsewhere"
    without_lake = load(tmp_path, FOUR_LINES.replace("lake: {path: lake}", ""), FLOWLAKE_LAKE_PATH="/lake")
    assert without_lake.lake.path == Path("/lake")
    with pytest.raises(SettingsError, match="FLOWLAKE_TARGET: 'spark' is unknown"):
        load(tmp_path, FOUR_LINES, FLOWLAKE_TARGET="spark")
    with pytest.raises(SettingsError, match="FLOWLAKE_LAKE_PATH: must not hold"):
        load(tmp_path, FOUR_LINES, FLOWLAKE_LAKE_PATH="/la?ke")


def test_the_file_is_found_by_argument_then_environment_then_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name / "flowlake.yaml" for name in ("argument", "environment", "folder")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(FOUR_LINES)
    monkeypatch.chdir(paths[2].parent)
    environ = {"FLOWLAKE_CONFIG": str(paths[1])}
    assert load_settings(paths[0], environ=environ).config_path == paths[0]
    assert load_settings(environ=environ).config_path == paths[1]
    assert load_settings(environ={}).config_path == paths[2]
    with pytest.raises(SettingsError, match="there is no settings file"):
        load_settings(tmp_path / "none.yaml", environ={})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://me:secret@host/lake", "must not hold a password"),
        ("postgresql://me:@host/lake", "must not hold a password"),
        ("postgresql://me@host/lake?password=secret", "must not hold a password"),
        ("host=h dbname=lake password=secret", "must be the URL of a PostgreSQL database"),
        ("postgresql://me:se cret@host/lake", "must be the URL of a PostgreSQL database"),
        ("mysql://me@host/lake", "must be the URL of a PostgreSQL database"),
        ("postgresql://me@host", "must be the URL of a PostgreSQL database"),
        ("postgresql://me@host:99999/lake", "must be the URL of a PostgreSQL database"),
        ("postgresql://me@[host/lake", "must be the URL of a PostgreSQL database"),
        ("postgresql://me@host/la'ke", "must be the URL of a PostgreSQL database"),
        ("postgresql://me@host/lake?options=-cstatement_timeout=1", "may only have the options sslmode"),
    ],
)
def test_a_catalogue_is_a_url_without_a_password_and_the_error_does_not_repeat_it(
    tmp_path: Path, url: str, reason: str
) -> None:
    text = FOUR_LINES.replace("{path: lake}", f'{{path: lake, catalog: "{url}"}}')
    with pytest.raises(SettingsError, match=rf"^lake\.catalog: {reason}") as in_file:
        load(tmp_path, text)
    with pytest.raises(SettingsError, match=f"^FLOWLAKE_CATALOG: {reason}") as in_environment:
        load(tmp_path, FOUR_LINES, FLOWLAKE_CATALOG=url)
    for failure in (in_file, in_environment):
        assert "se" + "cret" not in str(failure.value)


def test_the_catalogue_of_the_environment_stands_above_the_files(tmp_path: Path) -> None:
    text = FOUR_LINES.replace("{path: lake}", '{path: lake, catalog: "postgresql:///lake?host=/run/postgresql"}')
    assert load(tmp_path, text).lake.catalog == "postgresql:///lake?host=/run/postgresql"
    assert load(tmp_path, text, FLOWLAKE_CATALOG="postgresql://h/other").lake.catalog == "postgresql://h/other"
    assert load(tmp_path, FOUR_LINES, FLOWLAKE_CATALOG="").lake.catalog is None
