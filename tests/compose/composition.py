"""What docker-compose.yaml says, read as Compose reads it, and mapped to this machine: no Docker is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]

VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}|(?P<bare>\w+))")


class MissingError(Exception):
    """A variable that the file requires is not set; Compose refuses to go on."""


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """The text with its variables, by the rules of the compose specification that the file uses."""

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        found = environ.get(match["name"] or match["bare"], "")
        if found or not match["kind"]:
            return found
        if match["kind"] == ":?":
            raise MissingError(match["name"])
        return match["rest"]

    return VARIABLE.sub(value, text)


def load(environ: Mapping[str, str]) -> dict[str, Any]:
    """The services as they would be created with these variables."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(item) for key, item in node.items()}
        if isinstance(node, list):
            return [walk(item) for item in node]
        return interpolate(node, environ) if isinstance(node, str) else node

    services = walk(yaml.safe_load((PROJECT / "docker-compose.yaml").read_text()))["services"]
    for service in services.values():
        # A variable without a value is passed on if it is set.
        service["environment"] = {
            name: environ.get(name) if value is None else value
            for name, value in service.get("environment", {}).items()
            if value is not None or environ.get(name)
        }
    return dict(services)


def variables(text: str) -> dict[str, bool]:
    """The variables that the file names, and whether it requires them."""
    found: dict[str, bool] = {}
    for match in VARIABLE.finditer(text):
        if name := match["name"] or match["bare"]:
            found[name] = found.get(name, False) or match["kind"] == ":?"
    return found


@dataclass(frozen=True)
class Here:
    """Where this machine has what a container has: texts of the file, and what stands in their place."""

    replacements: Mapping[str, str]

    def text(self, value: object) -> str:
        """A text of the file, for this machine."""
        names = "|".join(re.escape(name) for name in sorted(self.replacements, key=len, reverse=True))
        pattern = rf"(?<![\w.-])(?:{names})(?![\w-])"
        return re.sub(pattern, lambda match: self.replacements[match[0]], str(value))

    def command(self, words: list[str]) -> list[str]:
        """A command of the file, for this machine."""
        return [self.text(word) for word in words]

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        """The environment of a service, for this machine."""
        return {name: self.text(value) for name, value in service["environment"].items()}


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile: its instructions, each as (name, arguments), lines joined."""

    instructions: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The arguments of every such instruction."""
        return [arguments for found, arguments in self.instructions if found == name]


def read_dockerfile() -> tuple[list[str], list[Stage]]:
    """The names of the global ARGs, and the stages."""
    text = re.sub(r"^\s*#.*\n", "", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    instructions = [(name, " ".join(rest.split())) for name, rest in lines]
    starts = [index for index, (name, _) in enumerate(instructions) if name == "FROM"]
    arguments = [rest.split("=")[0] for name, rest in instructions[: starts[0]] if name == "ARG"]
    ends = [*starts[1:], len(instructions)]
    return arguments, [Stage(tuple(instructions[start:end])) for start, end in zip(starts, ends, strict=True)]
