"""A Panel page under a real `panel serve`, in a real Chromium, against the real monitor."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Iterator

import pytest

from pages import CLOSE_REASON, NOTIFICATION, Page, PanelServer, bare_page
from support import Gate, Monitor, eventually, run_async

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(shared_monitor: Monitor) -> Iterator[PanelServer]:
    with PanelServer(shared_monitor, "panel") as server:
        yield server


def test_a_page_is_one_row_from_its_opening_to_its_end(shared_monitor, served, browser):
    with Page(browser, served.url) as page:
        row = shared_monitor.only("panel", connected=True)
        assert (row["status"], row["client"]) == ("idle", "python/0.1.0")
        page.click("Report")
        shared_monitor.only("panel", status="running", current_task="Generating Report")
        shared_monitor.only("panel", status="idle", current_task=None)
        bokeh_id = served.table()[0]
        assert bokeh_id not in str(row), "the Bokeh id opens the session and must not leave the app"
    shared_monitor.gone(row["session_id"])
    assert [e["cause"] for e in shared_monitor.events(row["session_id"]) if e["kind"] == "removed"] == ["ended"]
    eventually(lambda: served.table() == [], what="Bokeh to forget the page")


def test_a_page_that_nobody_opens_is_no_row(shared_monitor, served):
    """A script also runs for a request without a browser behind it."""
    import urllib.request

    with urllib.request.urlopen(served.url, timeout=10) as answer:
        assert answer.status == 200
    served.wait_for_line("SCRIPT")
    eventually(lambda: served.table() == [], what="Bokeh to forget the page")
    assert shared_monitor.sessions("panel") == []


@pytest.mark.parametrize("reconnect", ["true", "prompt", "false"])
def test_a_page_that_lost_its_network_is_suspended_as_long_as_it_may_come_back(shared_monitor, app_name, reconnect):
    async def lose_the_network() -> None:
        async with bare_page(server) as websocket:
            await asyncio.to_thread(shared_monitor.only, app_name, connected=True)
            websocket.transport.abort()

    with PanelServer(shared_monitor, app_name, "--unused-session-lifetime", "60000", RECONNECT=reconnect) as server:
        run_async(lose_the_network())
        if reconnect == "false":  # nobody will open that page's WebSocket again
            server.wait_for_line("END closed")
            eventually(lambda: shared_monitor.sessions(app_name) == [])
            return
        row = shared_monitor.only(app_name, visibility="suspended")
        shared_monitor.kill(row["session_id"])
        shared_monitor.gone(row["session_id"])
        eventually(lambda: server.table() == [])


def test_a_closed_tab_and_a_reload_end_the_session_at_once(shared_monitor, browser, app_name):
    """Long before Bokeh forgets the page."""
    with PanelServer(shared_monitor, app_name, "--unused-session-lifetime", "60000") as server:
        with Page(browser, server.url) as page:
            first = shared_monitor.only(app_name, connected=True)
            page.page.reload()
            shared_monitor.gone(first["session_id"], timeout=5)
            second = shared_monitor.only(app_name, connected=True)
        shared_monitor.gone(second["session_id"], timeout=5)
        assert [shared_monitor.events(row["session_id"])[-1]["cause"] for row in (first, second)] == ["ended", "ended"]
        assert server.output().count("END closed") == 2


def test_a_message_is_shown_and_only_then_delivered(shared_monitor, served, browser):
    with Page(browser, served.url) as page:
        row = shared_monitor.only("panel", connected=True)
        text = "Maintenance at <b>noon</b>"
        status, answer = shared_monitor.ask("POST", f"/sessions/{row['session_id']}/message", {"text": text, "level": "warning"})
        assert status == 200 and answer["sent"] == 1, answer
        page.page.get_by_text(text).wait_for()
        shared_monitor.event(row["session_id"], "message_delivered")
    shared_monitor.gone(row["session_id"])


def test_a_kill_closes_the_page_for_good(shared_monitor, served, browser):
    with Page(browser, served.url) as page, Page(browser, served.url) as bystander:
        rows = eventually(lambda: len(rows := shared_monitor.sessions("panel")) == 2 and rows)
        # Bokeh keeps the session of an earlier test's page for a while.
        eventually(lambda: len(served.table()) == 2, 60, "only these two pages in Bokeh's table")
        page.click("Report")
        target = eventually(lambda: next((r for r in shared_monitor.sessions("panel") if r["current_task"]), None))
        before = served.output().count("CALLBACK"), served.output().count("DESTROYED")
        shared_monitor.kill(target["session_id"], reason="for the test")

        closed = page.wait_closed()
        assert (closed["code"], closed["reason"]) == (1001, CLOSE_REASON)
        assert NOTIFICATION in page.wait_notified()
        shared_monitor.gone(target["session_id"])
        assert len(served.table()) == 1

        served.wait_for_line("ASYNC CALLBACK pytest for the test")
        served.wait_for_line("a callback that fails")
        assert served.output().count("CALLBACK") - before[0] == 2, "each callback once"
        assert served.output().count("DESTROYED") - before[1] == 1
        kinds = [event["kind"] for event in shared_monitor.events(target["session_id"])]
        assert [kind for kind in kinds if kind.startswith("kill_") or kind == "removed"] == ["kill_requested", "kill_delivered", "kill_acknowledged", "removed"]
        assert shared_monitor.events(target["session_id"])[-1]["cause"] == "killed"

        assert bystander.closes() == []
        other = next(row for row in rows if row["session_id"] != target["session_id"])
        assert shared_monitor.session(other["session_id"])["connected"]
        page.page.reload()
        eventually(lambda: len(shared_monitor.sessions("panel")) == 2, what="a reload to be a session of its own")


@pytest.mark.slow
def test_200_pages_of_one_process_share_one_thread_and_one_socket(shared_monitor, app_name):
    async def open_them_all() -> None:
        async with contextlib.AsyncExitStack() as pages:
            for _ in range(200):
                await pages.enter_async_context(bare_page(server))
            await asyncio.to_thread(eventually, lambda: len(shared_monitor.sessions(app_name)) == 200, 20)
            threads = await asyncio.to_thread(server.threads)
            assert [name for name in threads if "sessionwatch" in name or "websocket" in name] == ["sessionwatch"]
            assert gate.accepted == 1
            assert await asyncio.to_thread(shared_monitor.ask, "POST", f"/apps/{app_name}/kill-all") == (200, {"killed_count": 200})
            await asyncio.to_thread(eventually, lambda: shared_monitor.sessions(app_name) == [], 20)
            assert await asyncio.to_thread(server.table) == []

    with Gate(shared_monitor) as gate, PanelServer(gate, app_name) as server:
        run_async(open_them_all())


@pytest.mark.slow
def test_kills_reach_the_page_fast(shared_monitor, served, browser, capsys):
    """From the request that the dashboard sends to the close event in the browser, as p50 and p99 of 20."""
    eventually(lambda: shared_monitor.sessions("panel") == [])
    taken = []
    with Page(browser, served.url) as page:
        for _ in range(20):
            row = shared_monitor.only("panel", connected=True)
            asked_at = time.time()
            shared_monitor.kill(row["session_id"])
            closed = page.wait_closed()
            assert (closed["code"], closed["reason"]) == (1001, CLOSE_REASON)
            taken.append(closed["at"] - asked_at * 1000)
            shared_monitor.gone(row["session_id"])
            page.open(served.url)
    taken.sort()
    p50, p99 = statistics.median(taken), taken[-1]
    with capsys.disabled():
        print(f"\n  kill to close event, 20 Panel pages: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    assert p99 < 1000, taken
