"""The settings of a deployment: one frozen object, from one YAML file and the environment.

Four lines are enough:

    sources:
      - name: prod
        uri: s3://my-bucket/flow-logs
    lake: {path: ./lake}

The file is checked against the dataclasses below: whatever they do not know is an error that names the key. A source
that cannot be reached is found when it is listed (`flowlake.lake.storage`), not here: reading settings does no I/O
beyond the file itself.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, urlsplit

import yaml

from flowlake.errors import FlowlakeError
from flowlake.records.formats import KNOWN_FORMATS, format_named

CONFIG_VARIABLE = "FLOWLAKE_CONFIG"
LAKE_PATH_VARIABLE = "FLOWLAKE_LAKE_PATH"
CATALOG_VARIABLE = "FLOWLAKE_CATALOG"
TARGET_VARIABLE = "FLOWLAKE_TARGET"
DEFAULT_CONFIG = Path("flowlake.yaml")

LONGEST_LOOKBACK = 366
"""Days: of older folders, objects of the time in their names are a source of its own (`arrival: object_name`)."""

INTERNAL_CIDRS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)


class SettingsError(FlowlakeError):
    """A settings file that is missing, unreadable or wrong; the message names the key path and the file."""


class Target(StrEnum):
    """The engine that a lake runs on."""

    DUCKDB = "duckdb"
    """DuckDB on a DuckLake, on one machine."""
    ATHENA = "athena"
    """Amazon Athena on Iceberg tables, the Glue Data Catalog and S3."""


class Arrival(StrEnum):
    """Where an object's arrival hour comes from."""

    LAST_MODIFIED = "last_modified"
    OBJECT_NAME = "object_name"


class Layouts(StrEnum):
    """In which folders of a source objects are looked for: those that AWS documents, or all of them."""

    DOCUMENTED = "documented"
    ANY = "any"


class FormatChanges(StrEnum):
    """What becomes of objects whose format is not that of their flow log: they are read, or kept aside."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"


class Severity(StrEnum):
    """What a gate's finding does: `error` stops the run before publishing, `warn` is reported."""

    ERROR = "error"
    WARN = "warn"


# Checks of single values: each takes the value, returns it (perhaps normalised), or raises ValueError with the reason.


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        message = "must be 1 to 64 letters, digits, dots, dashes or underscores, and start with a letter or a digit"
        raise ValueError(message)
    return value


def _uri(value: str) -> str:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", value)
    if scheme and scheme[1] != "s3":
        message = f"must be a folder or s3://bucket/prefix, not {scheme[1]}://"
        raise ValueError(message)
    if scheme and not re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,62}(/.*)?", value, re.DOTALL):
        message = f"{value!r} names no bucket: write s3://bucket or s3://bucket/prefix"
        raise ValueError(message)
    if not value or not value.isprintable():
        message = "must be a folder or s3://bucket/prefix"
        raise ValueError(message)
    return value.rstrip("/") if scheme else value


def _location(value: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.=-]+)*/?", value):
        message = (
            f"{value!r} is no place for tables: write s3://bucket/prefix, of letters, digits, dots, dashes, underscores"
        )
        raise ValueError(message)
    return value.rstrip("/")


def _database(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", value):
        message = f"{value!r} must be lower-case letters, digits and underscores, and start with a letter"
        raise ValueError(message)
    return value


def _work_group(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", value):
        message = f"{value!r} is no name of a work group"
        raise ValueError(message)
    return value


def _lake_path(value: Path) -> Path:
    # Such characters would turn the lake's own paths into patterns for DuckDB, or break the lines of a manifest.
    if set(str(value)) & set("*?[") or not str(value).isprintable():
        message = "must not hold *, ?, [ or control characters"
        raise ValueError(message)
    return value


_CATALOG_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "host")
"""What may stand behind the `?` of a catalogue's URL; libpq knows these, and none is a secret."""


def _catalog(value: str | None) -> str | None:
    # No message here repeats the value: whoever wrote a password into it should not find it in a log as well.
    if value is None:
        return None
    try:
        parts = urlsplit(value if re.fullmatch(r"[\w.~%:/?@&=+,\[\]-]+", value, re.ASCII) else "")
        options = parse_qs(parts.query, keep_blank_values=True)
        has_host = bool(parts.hostname or "host" in options) and parts.port != 0
    except ValueError:
        parts, options, has_host = urlsplit(""), {}, False
    if parts.password is not None or "password" in options:
        message = "must not hold a password: leave it out of the URL, libpq finds it in PGPASSWORD or in ~/.pgpass"
        raise ValueError(message)
    if parts.scheme != "postgresql" or not has_host or parts.fragment or not re.fullmatch(r"/[^/]+", parts.path):
        message = (
            "must be the URL of a PostgreSQL database, postgresql://user@host:5432/database; leave it out for SQLite"
        )
        raise ValueError(message)
    if not options.keys() <= set(_CATALOG_OPTIONS):
        message = f"may only have the options {', '.join(_CATALOG_OPTIONS)}"
        raise ValueError(message)
    return value


def _role_arn(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", value):
        message = f"{value!r} is no role: write it as arn:aws:iam::123456789012:role/name"
        raise ValueError(message)
    return value


def _format(value: str | None) -> str | None:
    if value is not None and format_named(value) is None:
        message = (
            f"{value!r} is no format: write the header line, its fields separated by blanks "
            f"(version account-id …), or {' or '.join(KNOWN_FORMATS.values())}"
        )
        raise ValueError(message)
    return value


def _between(low: float, high: float) -> Callable[[Any], Any]:
    def check(value: float) -> float:
        if not low <= value <= high:
            message = f"must lie between {low:g} and {high:g}, but is {value:g}"
            raise ValueError(message)
        return value

    return check


def _positive(value: float | None) -> float | None:
    if value is not None and not value > 0:
        message = f"must be more than 0, but is {value:g}"
        raise ValueError(message)
    return value


def _cidr(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        message = f"{value!r} is not a network: write it as 10.0.0.0/8 or fc00::/7"
        raise ValueError(message) from None
    message = f"{value!r} has bits set beyond its prefix: did you mean {meant}?"
    raise ValueError(message)


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        message = f"{value!r} is not an IP address"
        raise ValueError(message) from None


def _nat_gateway(value: str) -> str:
    if re.fullmatch(r"eni-[0-9a-f]{8,17}", value):
        return value
    try:
        return _address(value)
    except ValueError:
        message = f"{value!r} is neither an IP address nor an interface id (eni-...)"
        raise ValueError(message) from None


def _flow_log(value: str) -> str:
    if not re.fullmatch(r"fl-[0-9A-Za-z]+", value):
        message = f"{value!r} is not a flow log id (fl-...)"
        raise ValueError(message)
    return value


def _each(check: Callable[[str], str]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    def run(values: tuple[str, ...]) -> tuple[str, ...]:
        checked = []
        for index, value in enumerate(values):
            try:
                checked.append(check(value))
            except ValueError as error:
                raise _AtError(f"[{index}]", str(error)) from None
        return tuple(checked)

    return run


def _device_names(values: Mapping[str, str]) -> Mapping[str, str]:
    return {_address(address): name for address, name in values.items()}


class _AtError(ValueError):
    """A failed check of one element of a list."""

    def __init__(self, suffix: str, reason: str) -> None:
        super().__init__(reason)
        self.suffix = suffix


def _checked(check: Callable[[Any], Any], default: Any = MISSING) -> Any:
    if default is MISSING:
        return field(metadata={"check": check})
    return field(default=default, metadata={"check": check})


_SHARE = _between(0, 1)


@dataclass(frozen=True)
class Source:
    """One place where flow-log objects arrive: a folder (absolute path) or `s3://bucket/prefix`."""

    name: str = _checked(_name)
    uri: str = _checked(_uri)
    role_arn: str | None = _checked(_role_arn, None)
    arrival: Arrival = Arrival.LAST_MODIFIED
    layout: Layouts = Layouts.DOCUMENTED
    lookback_days: int = _checked(_between(0, LONGEST_LOOKBACK), 1)
    aws_conn_id: str | None = None
    format: str | None = _checked(_format, None)
    """What objects without a header hold: a header line, or the id of a known format."""
    format_changes: FormatChanges = FormatChanges.ACCEPT

    @property
    def is_s3(self) -> bool:
        """Whether the source is a bucket rather than a folder."""
        return self.uri.startswith("s3://")


@dataclass(frozen=True)
class LakeSettings:
    """The lake's folder, the places in it (all absolute), and its catalogue."""

    path: Path = field(metadata={"check": _lake_path})
    catalog: str | None = _checked(_catalog, None)
    """The URL of the PostgreSQL database that is the DuckLake catalogue, without a password; None: SQLite."""
    wait_minutes: float = _checked(_between(0, 7 * 24 * 60), 60.0)
    """How long a run waits for another: longer than any hourly run takes, shorter than a night lost in silence."""

    @property
    def sqlite_catalog(self) -> Path:
        """The DuckLake catalogue where it is SQLite."""
        return self.path / "catalog.sqlite"

    @property
    def data(self) -> Path:
        """The DuckLake data files."""
        return self.path / "data"

    @property
    def raw(self) -> Path:
        """What `register` writes: objects, manifests, formats."""
        return self.path / "raw"

    @property
    def spool(self) -> Path:
        """Objects that were fetched once for DuckDB to read."""
        return self.path / "spool"

    @property
    def quality(self) -> Path:
        """The Great Expectations project, Data Docs and failing rows."""
        return self.path / "quality"

    @property
    def dbt(self) -> Path:
        """What dbt writes beside the lake: compiled models and logs."""
        return self.path / "dbt"

    @property
    def run_lock(self) -> Path:
        """The file whose lock lets one writer in at a time, where the catalogue is SQLite."""
        return self.path / "run.lock"


@dataclass(frozen=True)
class Budget:
    """What may be spent on Athena's statements, in dollars; without a figure there is no limit."""

    run_dollars: float | None = _checked(_positive, None)
    """All statements of a run. Beyond it they are stopped, and the run fails."""
    statement_dollars: float | None = _checked(_positive, None)
    """Any one of them."""
    warn_share: float = _checked(_SHARE, 0.8)
    """From this share of a limit on a warning is logged."""


@dataclass(frozen=True)
class AthenaSettings:
    """Where the lake is when its target is Athena. Credentials and the region come as everywhere in the AWS SDK."""

    location: str = _checked(_location)
    """Below it lie the raw layer, the tables, and the results of queries (`s3://bucket/prefix`)."""
    database: str = _checked(_database, "flowlake")
    """The Glue database that people read. What flowlake writes is beside it: `<database>_staging` and so on."""
    work_group: str = _checked(_work_group, "primary")
    threads: int = _checked(_between(1, 20), 4)
    """How many models are built, or tables maintained, at the same time."""
    aws_conn_id: str | None = None
    """The Airflow connection whose credentials a DAG's tasks use."""
    dollars_per_terabyte: float = _checked(_positive, 5.0)
    """Athena's price for scanned bytes, in the lake's region."""
    budget: Budget = field(default_factory=Budget)

    @property
    def results(self) -> str:
        """Where the results of a run's statements go."""
        return f"{self.location}/results/"

    @property
    def asked_results(self) -> str:
        """Where the results go of what people ask by `flowlake query`."""
        return f"{self.results}asked/"

    def schema(self, name: str) -> str:
        """The Glue database of a schema (`core`, `ops`, …); of `flowlake` the one that people read."""
        return self.database if name == "flowlake" else f"{self.database}_{name}"


@dataclass(frozen=True)
class Gates:
    """The thresholds of the gates. Shares lie between 0 and 1."""

    max_malformed_share: float = _checked(_SHARE, 0.01)
    warn_malformed_share: float = _checked(_SHARE, 0.001)
    silent_flow_log: Severity = Severity.ERROR
    retired_flow_logs: tuple[str, ...] = _checked(_each(_flow_log), ())
    max_event_age_hours: int = _checked(_between(0, 24 * 3660), 48)
    max_event_ahead_minutes: int = _checked(_between(0, 24 * 60), 10)
    min_objects: int = _checked(_between(0, 10**9), 0)
    unreadable_objects: Severity = Severity.WARN
    volume_drop_share: float = _checked(_SHARE, 0.9)


@dataclass(frozen=True)
class Maintenance:
    """How long `flowlake maintain` keeps what nobody may need any more (docs/adr/0013-maintenance.md)."""

    keep_snapshots_days: int = _checked(_between(1, 3660), 7)
    """Versions of the lake that can be read, or gone back to. The published one and the newest stay in any case."""
    remove_files_after_hours: int = _checked(_between(1, 24 * 366), 24)
    """Grace for files that no version needs, and for what looks left behind: longer than any query or run takes."""
    keep_logs_days: int = _checked(_between(1, 3660), 30)
    """Pages and failing rows of the gates, logs of dbt."""


@dataclass(frozen=True)
class Settings:
    """Everything that a run needs to know about its deployment."""

    sources: tuple[Source, ...]
    lake: LakeSettings
    target: Target = Target.DUCKDB
    athena: AthenaSettings | None = None
    gates: Gates = field(default_factory=Gates)
    maintenance: Maintenance = field(default_factory=Maintenance)
    nat_gateways: tuple[str, ...] = _checked(_each(_nat_gateway), ())
    internal_cidrs: tuple[str, ...] = _checked(_each(_cidr), INTERNAL_CIDRS)
    overlapping_cidrs: tuple[str, ...] = _checked(_each(_cidr), ())
    device_names: Mapping[str, str] = field(default_factory=dict, metadata={"check": _device_names})
    config_path: Path | None = field(default=None, metadata={"key": False})


def load_settings(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `path`, else from $FLOWLAKE_CONFIG, else from ./flowlake.yaml.

    Relative paths in the file are relative to the file. FLOWLAKE_LAKE_PATH (relative to the working folder),
    FLOWLAKE_CATALOG and FLOWLAKE_TARGET stand above it. Raises SettingsError with one line that names the key path and
    the file.
    """
    config = find_config(path, environ)
    raw = _read_yaml(config)
    lake_path, target = environ.get(LAKE_PATH_VARIABLE), environ.get(TARGET_VARIABLE)
    if lake_path and raw.get("lake") is None:
        raw = {**raw, "lake": {"path": lake_path}}
    try:
        settings = cast("Settings", _build(Settings, raw, ""))
        _check_sources(settings.sources)
    except _KeyPathError as error:
        message = " ".join(f"{error.key}: {error.reason} (in {config})".split())
        raise SettingsError(message) from None
    if target:
        try:
            settings = replace(settings, target=Target(target))
        except ValueError:
            message = f"{TARGET_VARIABLE}: {_not_one_of(target, [member.value for member in Target])}"
            raise SettingsError(message) from None
    _check_target(settings, config)
    if lake_path:
        try:
            _lake_path(Path(lake_path))
        except ValueError as error:
            message = f"{LAKE_PATH_VARIABLE}: {error}"
            raise SettingsError(message) from None
    catalog = environ.get(CATALOG_VARIABLE) or settings.lake.catalog
    try:
        _catalog(catalog)
    except ValueError as error:
        message = f"{CATALOG_VARIABLE}: {error}"
        raise SettingsError(message) from None
    folder = config.parent
    lake = Path.cwd() / _user(lake_path) if lake_path else folder / _user(str(settings.lake.path))
    return replace(
        settings,
        sources=tuple(
            source if source.is_s3 else replace(source, uri=str(_normal(folder / _user(source.uri))))
            for source in settings.sources
        ),
        lake=replace(settings.lake, path=_normal(lake), catalog=catalog),
        config_path=config,
    )


def find_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The absolute path of the settings file that applies. Raises SettingsError when there is none."""
    named = str(path) if path else environ.get(CONFIG_VARIABLE)
    config = _normal(Path.cwd() / (_user(named) if named else DEFAULT_CONFIG))
    if config.is_file():
        return config
    advice = "pass --config, set FLOWLAKE_CONFIG, or write it: sources (each with name and uri) and lake.path"
    message = f"there is no settings file {config}: {advice}"
    raise SettingsError(message)


def _user(text: str) -> Path:
    return Path(text).expanduser()


def _normal(path: Path) -> Path:
    # Not resolve(): a symlinked folder keeps the name that the user gave it.
    return Path(os.path.normpath(path))


class _KeyPathError(Exception):
    """What is wrong at one key of the file."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: PyYAML keeps the last one without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a mapping that holds a key twice, and keys that cannot be hashed."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)) or key in seen:
                problem = f"the key {key!r} stands twice" if not isinstance(key, (list, dict)) else "a key must be text"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(config: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(config.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the settings file {config}: {error}"
        raise SettingsError(message) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        message = f"{config} is not valid YAML{where}: {problem}"
        raise SettingsError(message) from None
    if not isinstance(raw, dict):
        message = f"{config} must be a mapping with the keys sources and lake, but is {_kind(raw)}"
        raise SettingsError(message)
    return raw


def _build(cls: type, raw: Any, path: str) -> Any:
    """An instance of a dataclass from a YAML mapping; `path` is the key path so far, empty at the top."""
    if not isinstance(raw, dict):
        raise _KeyPathError(path, f"must be a mapping, but is {_kind(raw)}")
    known = {item.name: item for item in fields(cls) if item.metadata.get("key", True)}
    for key in raw:
        if key not in known:
            raise _KeyPathError(_join(path, str(key)), f"unknown key{_did_you_mean(str(key), known)}")
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, item in known.items():
        key = _join(path, name)
        if name in raw:
            values[name] = _check(_convert(hints[name], raw[name], key), item, key)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise _KeyPathError(key, "is missing: the key is required")
    return cls(**values)


def _check(value: Any, item: Field[Any], key: str) -> Any:
    check = item.metadata.get("check")
    if check is None:
        return value
    try:
        return check(value)
    except _AtError as error:
        raise _KeyPathError(f"{key}{error.suffix}", str(error)) from None
    except ValueError as error:
        raise _KeyPathError(key, str(error)) from None


_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    Path: ((str,), "a path"),
}


def _convert(hint: Any, value: Any, key: str) -> Any:
    """The value as the type that a dataclass wants; nothing is cast silently, so `"5"` is not 5 and yes is not 1."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _convert(arguments[0], value, key)
    if value is None:
        raise _KeyPathError(key, "is empty: give it a value or leave the key out")
    if origin is tuple:
        if not isinstance(value, list):
            raise _KeyPathError(key, f"must be a list, but is {_kind(value)}")
        return tuple(_convert(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        return _convert_mapping(arguments, value, key)
    if is_dataclass(hint):
        return _build(cast("type", hint), value, key)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        members = [member.value for member in hint]
        if value not in members:
            raise _KeyPathError(key, _not_one_of(value, members))
        return hint(value)
    kinds, name = _PLAIN[hint]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise _KeyPathError(key, f"must be {name}, but is {_kind(value)}")
    if hint is Path and not value:
        raise _KeyPathError(key, "must be a path, but is empty")
    return value if hint is int else hint(value)


def _convert_mapping(arguments: tuple[Any, ...], value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _KeyPathError(key, f"must be a mapping, but is {_kind(value)}")
    converted = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise _KeyPathError(f"{key}.{name}", f"the key must be text, but is {_kind(name)}: put it in quotes")
        converted[name] = _convert(arguments[1], item, f"{key}.{name}")
    return converted


def _check_sources(sources: tuple[Source, ...]) -> None:
    if not sources:
        raise _KeyPathError("sources", "must hold at least one source")
    seen: dict[str, int] = {}
    for index, source in enumerate(sources):
        if source.name in seen:
            other = f"sources[{seen[source.name]}]"
            raise _KeyPathError(f"sources[{index}].name", f"{source.name!r} is already the name of {other}")
        seen[source.name] = index
        for key in ("role_arn", "aws_conn_id"):
            if getattr(source, key) and not source.is_s3:
                raise _KeyPathError(f"sources[{index}].{key}", "is only for s3:// sources")


def _check_target(settings: Settings, config: Path) -> None:
    if settings.target is not Target.ATHENA:
        return
    problem = None
    if settings.athena is None:
        problem = "athena: is missing: the target athena needs athena.location (s3://bucket/prefix)"
    elif settings.lake.catalog is not None:
        problem = "lake.catalog: is only for the target duckdb; Athena's catalogue is Glue"
    else:
        folders = [index for index, source in enumerate(settings.sources) if not source.is_s3]
        if folders:
            problem = f"sources[{folders[0]}].uri: Athena reads buckets only: write s3://bucket/prefix"
    if problem:
        message = f"{problem} (in {config})"
        raise SettingsError(message)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _did_you_mean(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _not_one_of(value: object, members: list[str]) -> str:
    close = difflib.get_close_matches(str(value), members, n=1)
    hint = f", did you mean {close[0]}?" if close else ""
    return f"{value!r} is unknown{hint} (there is: {', '.join(members)})"


def _kind(value: object) -> str:
    """What a YAML value is, in words."""
    if isinstance(value, bool):
        return f"the yes/no value {str(value).lower()}"
    names = {dict: "a mapping", list: "a list", type(None): "empty"}
    shown = repr(value) if isinstance(value, str) else str(value)
    return names.get(type(value)) or f"the {_WORDS.get(type(value), type(value).__name__)} {shown}"


_WORDS: dict[type, str] = {int: "number", float: "number", str: "text"}
