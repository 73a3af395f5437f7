"""Errors on demand: what the real service does now and then, and a test wants to happen now."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

STATUS = {"InternalServerException": 500, "InternalError": 500, "SlowDown": 503}
"""Of errors that are not the caller's."""


class ApiError(Exception):
    """What a call of the API is refused with: an exception of Athena's by its name."""

    def __init__(self, name: str, message: str, status: int = 400, **details: str) -> None:
        super().__init__(message)
        self.name = name
        self.status = status
        self.details = details


def invalid(message: str, code: str = "INVALID_INPUT") -> ApiError:
    """Athena's answer to most mistakes."""
    return ApiError("InvalidRequestException", message, AthenaErrorCode=code)


@dataclass
class Fault:
    """An error, for the next `times` calls of an operation, or statements that match a regular expression.

    With `delay`, statements are no failure: each is QUEUED for so many seconds, as behind others of a busy account.
    With `lost`, the call is done, and it is its answer that does not come.
    """

    error: str = ""
    operation: str | None = None
    statement: str | None = None
    message: str = "Rate exceeded"
    times: int = 1
    delay: float = 0.0
    lost: bool = False

    def concerns(self, text: str) -> bool:
        return self.statement is not None and bool(re.search(self.statement, text))


class Faults:
    """The faults that are still to happen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: list[Fault] = []

    def add(self, request: Mapping[str, Any]) -> None:
        with self.lock:
            self.waiting.append(Fault(**request))

    def clear(self) -> None:
        with self.lock:
            self.waiting.clear()

    def call(self, operation: str, *, is_done: bool = False) -> None:
        """Refuse a call, before or after it is done, if a fault says so."""
        if fault := self._take(lambda fault: fault.operation == operation and fault.lost == is_done):
            raise ApiError(fault.error, fault.message, STATUS.get(fault.error, 400))

    def has_lost(self, operation: str) -> bool:
        """Whether the answer of a call is to be lost."""
        with self.lock:
            return any(fault.operation == operation and fault.lost for fault in self.waiting)

    def statement(self, text: str) -> str | None:
        """The error that a statement is to fail with, as `NAME: message`."""
        fault = self._take(lambda fault: not fault.delay and fault.concerns(text))
        return f"{fault.error}: {fault.message}" if fault else None

    def delay(self, text: str) -> float:
        """How many seconds a statement is to wait before it begins."""
        fault = self._take(lambda fault: bool(fault.delay) and fault.concerns(text))
        return fault.delay if fault else 0.0

    def _take(self, matches: Callable[[Fault], bool]) -> Fault | None:
        with self.lock:
            for fault in filter(matches, self.waiting):
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None
