"""The few calls of Airflow's REST API that the local Airflow and the demo need, without a client library."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowlake.errors import FlowlakeError

TIMEOUT_SECONDS = 30.0


class ApiError(FlowlakeError):
    """Airflow cannot be reached, or refused what was asked; `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep the HTTP status beside the message."""
        super().__init__(message)
        self.status = status


@dataclass
class AirflowApi:
    """One Airflow, as one user. The login happens at the first call that needs it, and again when it has expired."""

    url: str
    user: str
    password: str = field(repr=False)
    _token: str | None = field(default=None, repr=False)

    def health(self) -> dict[str, float | None]:
        """The last heartbeat of each component (seconds since the epoch), None for one that is not healthy."""
        answer = self._call("GET", "/api/v2/monitor/health", login=False)
        beats: dict[str, float | None] = {}
        for name in ("scheduler", "dag_processor", "triggerer"):
            component = answer.get(name) or {}
            beat = component.get(f"latest_{name}_heartbeat")
            beats[name] = (
                datetime.fromisoformat(beat).timestamp() if beat and component["status"] == "healthy" else None
            )
        return beats

    def dag_exists(self, dag_id: str) -> bool:
        """Whether the DAG processor has read the DAG."""
        try:
            self._call("GET", f"/api/v2/dags/{_quoted(dag_id)}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def import_errors(self) -> list[str]:
        """What went wrong in DAG files, one text per file."""
        answer = self._call("GET", "/api/v2/importErrors")
        return [f"{error['filename']}: {error['stack_trace']}" for error in answer["import_errors"]]

    def unpause(self, dag_id: str) -> None:
        """Let the DAG's runs run."""
        self._call("PATCH", f"/api/v2/dags/{_quoted(dag_id)}", {"is_paused": False})

    def create_backfill(self, dag_id: str, first: datetime, last: datetime, *, reprocess: str, max_active: int) -> int:
        """Start a backfill over the logical dates from `first` to `last`, both counting in. Returns its id.

        `reprocess` says which existing runs run again: `none`, `failed`, `completed`.
        """
        body = {
            "dag_id": dag_id,
            "from_date": first.isoformat(),
            "to_date": last.isoformat(),
            "reprocess_behavior": reprocess,
            "max_active_runs": max_active,
        }
        return int(self._call("POST", "/api/v2/backfills", body)["id"])

    def cancel_backfill(self, backfill_id: int) -> None:
        """End a backfill: its queued runs are failed, its running ones go on."""
        self._call("PUT", f"/api/v2/backfills/{backfill_id}/cancel")

    def active_backfills(self, dag_id: str) -> list[int]:
        """The ids of the backfills of a DAG that are not finished."""
        answer = self._call("GET", f"/api/v2/backfills?dag_id={_quoted(dag_id)}&limit=100&order_by=-id")
        return [int(backfill["id"]) for backfill in answer["backfills"] if not backfill["completed_at"]]

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """End a run that is queued or running, as failed."""
        self._call("PATCH", f"/api/v2/dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}", {"state": "failed"})

    def runs(self, dag_id: str, first: datetime, last: datetime) -> list[dict[str, Any]]:
        """The DAG's runs with logical dates from `first` to `last`, in their order."""
        query = urllib.parse.urlencode(
            {"logical_date_gte": first.isoformat(), "logical_date_lte": last.isoformat(), "order_by": "logical_date"}
        )
        path = f"/api/v2/dags/{_quoted(dag_id)}/dagRuns?{query}"
        return self._all(path, "dag_runs")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return self._all(f"/api/v2/dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}/taskInstances?", "task_instances")

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int) -> list[dict[str, Any]]:
        """The log of one try of a task, as Airflow's structured events."""
        path = f"/api/v2/dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task_id)}"
        content = self._call("GET", f"{path}/logs/{attempt}?full_content=true")["content"]
        return [event if isinstance(event, dict) else {"event": str(event)} for event in content]

    def _all(self, path: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = self._call("GET", f"{path}&limit=100&offset={len(found)}")
            found += answer[key]
            if len(found) >= answer["total_entries"] or not answer[key]:
                return found

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None, *, login: bool = True) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if login:
            headers["Authorization"] = f"Bearer {self._login()}"
        try:
            return self._send(method, path, body, headers)
        except ApiError as error:
            if error.status != 401 or not login:
                raise
        self._token = None
        return self._send(method, path, body, {**headers, "Authorization": f"Bearer {self._login()}"})

    def _login(self) -> str:
        if self._token is None:
            answer = self._call("POST", "/auth/token", {"username": self.user, "password": self.password}, login=False)
            self._token = str(answer["access_token"])
        return self._token

    def _send(self, method: str, path: str, body: Mapping[str, object] | None, headers: dict[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        # Always the api server that was started here: the address is not a user's.
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)  # noqa: S310
        try:
            # No proxy: it is a call to this machine, whatever the environment says about others.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            detail = " ".join(error.read().decode(errors="replace").split())[:500]
            message = f"Airflow refused {method} {path} with status {error.code}: {detail}"
            raise ApiError(message, error.code) from None
        except (OSError, http.client.HTTPException) as error:
            message = f"Airflow does not answer at {self.url}: {error}"
            raise ApiError(message) from None
        return json.loads(text) if text else {}


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
