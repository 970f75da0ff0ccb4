"""Apps in the original system's manner, each in two pages of a real Chromium: right rows, right kills, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator

import pytest

from pages import CLOSE_REASON, Page
from support import ROOT, AppServer, Monitor, eventually, free_port

pytestmark = pytest.mark.browser

NOTHING_LEFT_WITHIN = 5.0  # seconds after a tab is closed


@contextlib.contextmanager
def served(monitor: Monitor, name: str) -> Iterator[tuple[AppServer, str]]:
    """The example under `panel serve` as its comment starts it: with Bokeh's own times for closed pages."""
    port = free_port()
    app = ROOT / f"examples/original/{name}.py"
    with AppServer(monitor, name, port, "-m", "panel", "serve", str(app), "--port", str(port)) as server:
        yield server, f"http://localhost:{port}/{name}"


def two_rows(monitor: Monitor, app_name: str) -> set[str]:
    """The ids of the two pages, once both are there and no earlier one is left."""
    def both() -> set[str] | None:
        rows = {row["session_id"] for row in monitor.sessions(app_name)}
        return rows if len(rows) == 2 else None

    return eventually(both, 60, "two rows")


@pytest.fixture(scope="module")
def app(shared_monitor: Monitor) -> Iterator[tuple[AppServer, str]]:
    with served(shared_monitor, "app") as running:
        yield running


WAYS = {"Thread": "in a thread", "Nested": "in a nested thread", "Executor": "in an executor", "Task": "in a task"}


def begin_all(monitor: Monitor, page: Page, session_id: str) -> None:
    """Start work in all ways; each shows in the page's own row."""
    for button, task in WAYS.items():
        page.click(button)
        monitor.only_of(session_id, status="running", current_task=task)


@pytest.mark.parametrize("end", ["kill", "close", "reload"])
def test_work_is_its_pages_and_ends_with_it(shared_monitor: Monitor, browser, app, end):
    server, url = app
    eventually(lambda: shared_monitor.sessions("original_app") == [], what="the pages of the test before to be gone")
    with Page(browser, url) as page:
        own = shared_monitor.only("original_app", connected=True)["session_id"]
        with Page(browser, url) as bystander:
            other = (two_rows(shared_monitor, "original_app") - {own}).pop()
            begin_all(shared_monitor, page, own)
            begin_all(shared_monitor, bystander, other)
            assert {row["session_id"] for row in shared_monitor.sessions("original_app")} == {own, other}, "a third row"
            ended_at = time.monotonic()
            if end == "kill":
                shared_monitor.kill(own)
                closed = page.wait_closed()
                assert (closed["code"], closed["reason"]) == (1001, CLOSE_REASON)
            elif end == "close":
                page.page.close()
            else:
                page.page.reload()
            for task in WAYS.values():
                server.wait_for_line(f"STOPPED {task} {own}", timeout=20)
            assert time.monotonic() - ended_at < NOTHING_LEFT_WITHIN
            shared_monitor.gone(own)
            assert shared_monitor.session(other)["current_task"] == "in a task"
            assert bystander.closes() == []
            assert not [line for line in server.lines if ("STOPPED" in line or "FINISHED" in line) and other in line]
        for task in WAYS.values():
            server.wait_for_line(f"STOPPED {task} {other}", timeout=20)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def workers(server: AppServer) -> list[int]:
    """Those that have begun, in the order in which they did."""
    return [int(pid) for pid in re.findall(r"WORKER (\d+)", server.output())]


@pytest.mark.parametrize("end", ["kill", "close", "reload"])
def test_a_pool_of_processes_ends_with_its_page(shared_monitor: Monitor, browser, end):
    with served(shared_monitor, "app_pool") as (server, url):
        with Page(browser, url) as page, Page(browser, url) as bystander:
            rows = two_rows(shared_monitor, "original_pool")
            page.click("Run")
            eventually(lambda: len(workers(server)) == 2)
            own = eventually(lambda: next((r for r in shared_monitor.sessions("original_pool") if r["status"] == "running"), None))
            bystander.click("Run")
            eventually(lambda: len(workers(server)) == 4)
            mine, others = workers(server)[:2], workers(server)[2:]
            assert {r["session_id"] for r in shared_monitor.sessions("original_pool")} == rows, "a worker has a row of its own"
            eventually(lambda: [r["current_task"] for r in shared_monitor.sessions("original_pool")] == ["Computing in a pool"] * 2)
            assert all(alive(pid) for pid in mine + others)
            ended_at = time.monotonic()
            if end == "kill":
                shared_monitor.kill(own["session_id"])
                assert page.wait_closed()["code"] == 1001
            elif end == "close":
                page.page.close()
            else:
                page.page.reload()
            eventually(lambda: not any(alive(pid) for pid in mine), 20, "the page's workers to end")
            assert time.monotonic() - ended_at < NOTHING_LEFT_WITHIN
            shared_monitor.gone(own["session_id"])
            assert all(alive(pid) for pid in others), "the other page's workers go on"
            assert bystander.closes() == []
        eventually(lambda: not any(alive(pid) for pid in others), 20, "all workers to end with their pages")
    assert os.getpid() not in mine + others
