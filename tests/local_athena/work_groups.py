"""Work groups: what they allow a statement, and where its result goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local_athena.executions import ENGINE_VERSION
from local_athena.faults import invalid

MINIMAL_CUTOFF_BYTES = 10_000_000


@dataclass
class WorkGroup:
    """A work group; its configuration is Athena's own structure."""

    name: str
    configuration: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    state: str = "ENABLED"
    created: float = field(default_factory=time.time)

    @property
    def output(self) -> str | None:
        location: str | None = self.configuration.get("ResultConfiguration", {}).get("OutputLocation")
        return location

    @property
    def is_enforced(self) -> bool:
        # What Athena assumes when nobody says.
        return bool(self.configuration.get("EnforceWorkGroupConfiguration", True))

    @property
    def is_location_enforced(self) -> bool:
        return self.is_enforced and self.output is not None

    @property
    def cutoff_bytes(self) -> int | None:
        cutoff: int | None = self.configuration.get("BytesScannedCutoffPerQuery")
        return cutoff

    def output_of(self, asked: str | None) -> str:
        """Where a statement's result goes, with a slash at its end: the work group's word counts if it insists."""
        location = (self.output or asked) if self.is_enforced else (asked or self.output)
        if location is None:
            raise invalid(
                "No output location provided. An output location is required either through the Workgroup result "
                "configuration setting or as an API input."
            )
        if not location.startswith("s3://"):
            raise invalid(f"outputLocation is not a valid S3 path: {location}")
        return location if location.endswith("/") else f"{location}/"

    def describe(self) -> dict[str, Any]:
        """Athena's WorkGroup."""
        defaults = {
            "EnforceWorkGroupConfiguration": True,
            "PublishCloudWatchMetricsEnabled": False,
            "RequesterPaysEnabled": False,
            "EngineVersion": ENGINE_VERSION,
            "ResultConfiguration": {},
        }
        return {
            "Name": self.name,
            "State": self.state,
            "Description": self.description,
            "CreationTime": self.created,
            "Configuration": defaults | self.configuration,
        }


class WorkGroups:
    """All work groups; `primary` is always there, and insists on nothing.

    Those of CloudFormation are moto's; `stacked` is a client of its Athena.
    """

    def __init__(self, stacked: Any) -> None:
        self.groups = {"primary": WorkGroup("primary", {"EnforceWorkGroupConfiguration": False})}
        self.stacked = stacked

    def get(self, name: str) -> WorkGroup:
        if name not in self.groups and name in {one["Name"] for one in self.stacked.list_work_groups()["WorkGroups"]}:
            found = self.stacked.get_work_group(WorkGroup=name)["WorkGroup"]
            self.groups[name] = WorkGroup(name, found["Configuration"], found["Description"], found["State"])
        if name not in self.groups:
            raise invalid(f"WorkGroup {name} is not found.", "WORKGROUP_NOT_FOUND")
        return self.groups[name]

    def create(self, name: str, configuration: Mapping[str, Any], description: str = "") -> None:
        if name in self.groups:
            raise invalid("WorkGroup is already created")
        check_cutoff(configuration)
        self.groups[name] = WorkGroup(name, dict(configuration), description)

    def update(self, name: str, request: Mapping[str, Any]) -> None:
        group = self.get(name)
        group.state = request.get("State", group.state)
        group.description = request.get("Description", group.description)
        updates = dict(request.get("ConfigurationUpdates", {}))
        check_cutoff(updates)
        results = dict(updates.pop("ResultConfigurationUpdates", {}))
        if updates.pop("RemoveBytesScannedCutoffPerQuery", False):
            group.configuration.pop("BytesScannedCutoffPerQuery", None)
        kept = group.configuration.setdefault("ResultConfiguration", {})
        if results.pop("RemoveOutputLocation", False):
            kept.pop("OutputLocation", None)
        kept.update(results)
        group.configuration.update(updates)

    def delete(self, name: str) -> None:
        self.get(name)
        if name == "primary":
            raise invalid("Primary WorkGroup could not be deleted")
        del self.groups[name]


def check_cutoff(configuration: Mapping[str, Any]) -> None:
    cutoff = configuration.get("BytesScannedCutoffPerQuery")
    if cutoff is not None and cutoff < MINIMAL_CUTOFF_BYTES:
        raise invalid(f"BytesScannedCutoffPerQuery should be at least {MINIMAL_CUTOFF_BYTES}")
