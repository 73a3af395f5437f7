"""Hostile text through a real Airflow: it comes into logs, XComs and messages as data, and its pages show it as text.

The pages are opened in a real Chromium. Markup that took effect would be seen: it sets `window.pwned` and asks for an
image of that name.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from flowlake.orchestration import local
from flowlake.orchestration.api import AirflowApi
from flowlake.orchestration.defaults import HOURLY_DAG

ACCOUNT = "111122223333"
FLOW_LOG = "fl-0123456789abcdef0"
FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)

SCRIPT = "<script>window.pwned=1</script>"
IMAGE = "<img src=pwned onerror=window.pwned=2>"
LINK = "[x](javascript:window.pwned=3)"
TEMPLATE, EVALUATED = "{{7*7}}~", "49~"
SHELL = "$(touch${IFS}pwned)`touch${IFS}pwned`"
HOSTILE = f"{IMAGE}{TEMPLATE}{SHELL}"
NAME = f"{HOSTILE}\"';--"
COLUMN = f"{IMAGE}{TEMPLATE}"
FIELD = f"{SCRIPT}{LINK}{TEMPLATE}{SHELL}\"';--"
"""A word of a line: without blanks."""

SECONDS = 250.0
"""How long the run may take that costs half a minute."""

PAGE_SECONDS = 180.0
"""How long a page may take on a busy machine."""

SHOWN_BY_EDITORS = """
    [...document.querySelectorAll('.view-lines')].map(
        editor => [...editor.querySelectorAll('.view-line')]
            .sort((one, other) => parseFloat(one.style.top) - parseFloat(other.style.top))
            .map(line => line.textContent).join('').replaceAll(/\\s/g, '')
    )
"""
"""The start of each XCom that a page shows, without blanks: it is broken into lines, which `top` puts in order."""


def find_chromium() -> str:
    """The browser's program. Raises FileNotFoundError where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("there is no Chromium: install it (Debian: apt-get install chromium)")


def put_object(logs: Path, key: str, content: bytes) -> None:
    path = logs / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (NOON.timestamp() + 600, NOON.timestamp() + 600))


def put_hostile_hour(logs: Path) -> None:
    """Objects with hostile keys, a hostile column and hostile lines; those that cannot be read fail the gate."""
    begin = int(NOON.timestamp())
    folder = f"{SCRIPT}/AWSLogs/{ACCOUNT}/vpcflowlogs/us-east-1/{NOON:%Y/%m/%d}"
    stem = f"{folder}/{ACCOUNT}_vpcflowlogs_us-east-1_{FLOW_LOG}_{NOON:%Y%m%dT%H%M}Z"
    record = f"2 {ACCOUNT} {{}} 10.0.0.5 10.0.1.7 44321 443 6 1 100 {begin} {begin + 5} {{}} OK"
    lines = [FIELDS, record.format("eni-0a1b2c3d4e5f60718", "ACCEPT"), record.format(FIELD, "ACCEPT")]
    lines += [record.format("eni-0a1b2c3d4e5f60718", FIELD), f"{FIELD}\x00\u202e"]
    put_object(logs, f"{stem}_1a.log.gz", gzip.compress("\n".join([*lines, ""]).encode()))
    columns = dict(zip(FIELDS.replace("-", "_").split(), record.format(FIELD, "ACCEPT").split(), strict=True))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [value] for name, value in {**columns, COLUMN: FIELD}.items()}), sink)
    # The other format is the first of what `register` says, with the name of the column at the front.
    put_object(logs, f"{stem}_2b.log.parquet", sink.getvalue().to_pybytes())
    put_object(logs, f"{folder}/{NAME}.log.gz", b"no flow log")
    put_object(logs, f"{folder}/{NAME}\u202e\x1b[2J.log.gz", b"an unsafe name")


@dataclass(frozen=True)
class Ran:
    """An Airflow that goes on serving what it knows of a run over the hostile hour."""

    api: AirflowApi
    run_id: str
    folder: Path

    @property
    def run_path(self) -> str:
        return f"dags/{HOURLY_DAG}/runs/{urllib.parse.quote(self.run_id, safe='')}"

    def tasks(self) -> dict[str, dict[str, Any]]:
        return {task["task_id"]: task for task in self.api.task_instances(HOURLY_DAG, self.run_id)}

    def log(self, task: str) -> str:
        """All that the API tells of a task's log: events, and the errors with their details."""
        attempt = self.tasks()[task]["try_number"]
        return "\n".join(_texts(self.api.log(HOURLY_DAG, self.run_id, task, attempt)))

    def xcom(self, task: str) -> str:
        """All that the API tells of what a task returned."""
        path = self.run_path.replace("/runs/", "/dagRuns/")
        return "\n".join(_texts(self.api._call("GET", f"/api/v2/{path}/taskInstances/{task}/xcomEntries/return_value")))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    else:
        yield str(value)


@pytest.fixture(scope="module")
def chromium() -> str:
    try:
        return find_chromium()
    except FileNotFoundError as error:
        # CI must not be green over what it did not try.
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ran(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("ui")
    config = folder / "flowlake.yaml"
    config.write_text(
        "sources:\n  - name: logs\n    uri: logs\nlake: {path: lake}\n"
        "gates: {unreadable_objects: error, max_malformed_share: 1.0}\n"
    )
    put_hostile_hour(folder / "logs")
    airflow = local.LocalAirflow(
        home=folder / "airflow",
        port=local.free_port(),
        config=config,
        scheduled=False,
        components=(local.API_SERVER, local.SCHEDULER, local.DAG_PROCESSOR),
    )
    with local.running(airflow, lambda _text: None) as api:
        local.wait_for_dag(api, HOURLY_DAG)
        api.unpause(HOURLY_DAG)
        api.create_backfill(HOURLY_DAG, NOON, NOON, reprocess="none", max_active=1)
        deadline = time.monotonic() + SECONDS
        while not (runs := api.runs(HOURLY_DAG, NOON, NOON)) or runs[0]["state"] not in ("success", "failed"):
            assert time.monotonic() < deadline, runs
            time.sleep(0.5)
        yield Ran(api, runs[0]["dag_run_id"], folder)


@dataclass(frozen=True)
class Visitor:
    """Someone in front of a page; `asked` are the addresses that the browser has asked for."""

    page: Page
    asked: list[str]

    def assert_nothing_ran(self) -> None:
        assert self.page.evaluate("window.pwned") is None
        assert self.page.locator("[onerror], [src=pwned], a[href^='javascript:']").count() == 0
        assert [url for url in self.asked if url.endswith("/pwned")] == []


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Else the small /dev/shm of a container ends the browser.
        opened = playwright.chromium.launch(
            executable_path=chromium, args=["--disable-dev-shm-usage"], timeout=PAGE_SECONDS * 1000
        )
        with contextlib.closing(opened):
            yield opened


@pytest.fixture(scope="module")
def visitor(browser: Browser, ran: Ran) -> Visitor:
    """Someone who has logged in, on a screen that holds a whole log."""
    page = browser.new_page(viewport={"width": 1600, "height": 2400})
    page.set_default_timeout(PAGE_SECONDS * 1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(ran.api.url)
    page.locator("input[name=username]").fill(ran.api.user)
    page.locator("input[name=password]").fill(ran.api.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)
    return Visitor(page, asked)


def test_hostile_text_comes_into_the_log_and_the_xcom_of_a_task_as_it_is(ran: Ran) -> None:
    log, xcom = ran.log("register"), ran.xcom("register")
    for text in (log, xcom):
        assert f"/{SCRIPT}/AWSLogs/" in text
        assert f"/{HOSTILE}" in text
        assert f"unknown fields, kept aside: {COLUMN} (1 object)" in text
        assert {char for char in text if not char.isprintable()} <= {"\n"}
    assert f"/{NAME}.log.gz)" in log
    assert f"/{NAME}\\u202e\\x1b[2J.log.gz)" in log


def test_hostile_text_comes_into_the_failure_as_it_is(ran: Ran) -> None:
    assert ran.tasks()["validate_staging"]["state"] == "failed"
    log = ran.log("validate_staging")
    assert re.search(rf"the staging gate failed for .*{re.escape(HOSTILE)}", log)
    assert re.search(rf"flow_logs_hourly\.validate_staging failed for .*{re.escape(HOSTILE)}", log)


def test_no_template_and_no_shell_evaluates_it(ran: Ran) -> None:
    tasks = ran.tasks()
    done = [name for name, task in tasks.items() if task["state"] != "upstream_failed"]
    assert sorted(done) == ["build_staging", "register", "validate_staging"]
    texts = [*_texts(list(tasks.values())), *map(ran.log, done), *map(ran.xcom, ("register", "build_staging"))]
    assert not [text for text in texts if EVALUATED in text]
    assert {str(task["rendered_fields"]) for task in tasks.values()} == {"{}"}
    assert list(ran.folder.rglob("pwned*")) == []
    assert [path for path in (Path.cwd(), local.PROJECT) if (path / "pwned").exists()] == []


def test_markup_that_takes_effect_is_seen(browser: Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(PAGE_SECONDS * 1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("http://pages.invalid/*", lambda route: route.fulfill(body=HOSTILE, content_type="text/html"))
    page.goto("http://pages.invalid/log")
    page.wait_for_function("window.pwned == 2")
    with pytest.raises(AssertionError):
        Visitor(page, asked).assert_nothing_ran()
    assert "http://pages.invalid/pwned" in asked
    page.set_content(SCRIPT)
    assert page.evaluate("window.pwned") == 1
    page.close()


@pytest.mark.parametrize(
    ("task", "said"), [("register", f"{COLUMN} (1 object)"), ("validate_staging", HOSTILE)], ids=["log", "failure"]
)
def test_the_page_of_a_log_shows_it_as_text(ran: Ran, visitor: Visitor, task: str, said: str) -> None:
    visitor.page.goto(f"{ran.api.url}/{ran.run_path}/tasks/{task}")
    for text in (said, SCRIPT):
        visitor.page.get_by_text(text).first.wait_for()
    visitor.assert_nothing_ran()


@pytest.mark.parametrize("of_all", [False, True], ids=["of the task", "of all tasks"])
def test_the_page_of_xcoms_shows_it_as_text(ran: Ran, visitor: Visitor, of_all: bool) -> None:
    visitor.page.goto(f"{ran.api.url}/" + ("xcoms" if of_all else f"{ran.run_path}/tasks/register/xcom"))
    visitor.page.locator(".view-line").first.wait_for()
    deadline = time.monotonic() + PAGE_SECONDS
    said = COLUMN.replace(" ", "")
    while said not in (shown := "\n".join(visitor.page.evaluate(SHOWN_BY_EDITORS))):
        assert time.monotonic() < deadline, shown
        # An editor that has just come folds its text once more.
        visitor.page.get_by_label("Expand all").first.click()
        visitor.page.wait_for_timeout(500)
    visitor.assert_nothing_ran()


def test_the_manual_of_the_dag_and_its_details_hold_nothing_of_it(ran: Ran, visitor: Visitor) -> None:
    visitor.page.goto(f"{ran.api.url}/dags/{HOURLY_DAG}/details")
    visitor.page.get_by_text("Dag ID").first.wait_for()
    visitor.page.get_by_role("button", name="Dag Docs").click()
    visitor.page.get_by_role("dialog").get_by_text("Who runs it.").wait_for()
    assert "pwned" not in visitor.page.content()
    visitor.assert_nothing_ran()


def test_the_pages_of_a_run_and_of_rendered_templates_run_nothing_of_it(ran: Ran, visitor: Visitor) -> None:
    for path, said in (("", "validate_staging"), ("/tasks/register/rendered_templates", "Rendered Templates")):
        visitor.page.goto(f"{ran.api.url}/{ran.run_path}{path}")
        visitor.page.get_by_text(said).first.wait_for()
        visitor.page.wait_for_load_state("networkidle")
        visitor.assert_nothing_ran()
