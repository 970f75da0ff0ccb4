"""The kill of a Panel page where something stands in its way."""

from __future__ import annotations

import time
import urllib.request

import pytest

from pages import CLOSE_REASON, NOTIFICATION, Page, PanelServer
from support import APPS, AppServer, Monitor, eventually, free_port

pytestmark = [pytest.mark.browser, pytest.mark.variants]


def assert_killed(closed: dict) -> None:
    assert (closed["code"], closed["reason"]) == (1001, CLOSE_REASON)


def test_a_page_that_reconnects_by_itself_stays_closed(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, RECONNECT="true") as server, Page(browser, server.url) as page:
        row = shared_monitor.only(app_name, connected=True)
        shared_monitor.kill(row["session_id"])
        assert_killed(page.wait_closed())
        assert NOTIFICATION in page.wait_notified()
        shared_monitor.gone(row["session_id"])
        # BokehJS would be back after 10 ms, and again after 2 s, had it not been told to stay away.
        page.page.wait_for_timeout(2500)
        assert page.opened() == 1
        assert server.table() == [] and shared_monitor.sessions(app_name) == []
        assert server.output().count("DESTROYED") == 1


def test_a_user_who_asks_to_reconnect_is_turned_away(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, RECONNECT="prompt") as server, Page(browser, server.url) as page:
        row = shared_monitor.only(app_name, connected=True)
        runs = server.output().count("SCRIPT")
        shared_monitor.kill(row["session_id"])
        assert_killed(page.wait_closed())
        assert NOTIFICATION in page.wait_notified()
        page.page.get_by_text("Click here").click()  # at once: Bokeh still has the session
        assert_killed(page.wait_closed(2))
        shared_monitor.gone(row["session_id"])
        page.page.get_by_text("Click here").click()  # later: Bokeh would make a new one under the same id
        assert_killed(page.wait_closed(3))
        assert server.table() == [] and shared_monitor.sessions(app_name) == []
        assert server.output().count("SCRIPT") == runs, "the app must not start anew for a page that was ended"


def test_a_held_document_lock_delays_nothing(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name) as server, Page(browser, server.url) as page:
        row = shared_monitor.only(app_name, connected=True)
        page.click("Hold the lock")
        server.wait_for_line("HOLDING")
        asked_at = time.time()
        shared_monitor.kill(row["session_id"])
        closed = page.wait_closed()
        assert_killed(closed)
        assert closed["at"] / 1000 - asked_at < 1.0
        shared_monitor.gone(row["session_id"], timeout=3)
        assert server.table() == []
        server.wait_for_line("DESTROYED")
        assert "HELD" not in server.output().split("\n"), "all that while the handler held the lock"


def test_a_blocked_loop_acknowledges_once_it_is_free(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name) as server, Page(browser, server.url) as page:
        row = shared_monitor.only(app_name, connected=True)
        page.click("Block the loop")
        shared_monitor.only(app_name, current_task="blocking")
        shared_monitor.kill(row["session_id"])
        delivered = eventually(lambda: (r := shared_monitor.session(row["session_id"])) and r["kill"]["delivered_at"] and r)
        assert delivered["kill"]["acknowledged_at"] is None
        server.wait_for_line("CALLBACK")
        assert "BLOCKED" not in server.output(), "callbacks run beside the loop, so that they can stop what blocks it"
        assert page.closes() == []
        server.wait_for_line("BLOCKED")
        assert_killed(page.wait_closed())
        shared_monitor.gone(row["session_id"])
        assert server.table() == []
        assert shared_monitor.events(row["session_id"])[-1]["cause"] == "killed"


@pytest.mark.slow
def test_with_several_processes_each_page_is_one_row(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, "--num-procs", "2") as server:
        pages = []
        try:
            while len(pages) < 4 or not in_both_processes(server):
                pages.append(Page(browser, server.url))
                assert len(pages) <= 12, "no page's script ran in both processes"
                eventually(lambda: len(shared_monitor.sessions(app_name)) == len(pages))
            rows = {row["session_id"] for row in shared_monitor.sessions(app_name)}
            for session_id in rows:
                shared_monitor.kill(session_id)
            for page in pages:
                assert_killed(page.wait_closed())
            eventually(lambda: shared_monitor.sessions(app_name) == [])
            # Whichever process a page comes back to, also one that never heard of the kill: it is turned away.
            for again in range(3):
                for page in pages:
                    page.come_back()
                for page in pages:
                    assert_killed(page.wait_closed(again + 2, timeout=20))
            eventually(lambda: shared_monitor.sessions(app_name) == [])
            known = {e["session_id"] for e in
                     shared_monitor.ask("GET", f"/events?app_name={app_name}&kind=registered")[1]["events"]}
            assert known == rows, "a page was more than one session"
        finally:
            for page in pages:
                page.context.close()


def in_both_processes(server: PanelServer) -> set[str]:
    """The pages whose request one process answered, and whose WebSocket the other: the script ran in both."""
    ran = {tuple(line.split()[1:3]) for line in server.lines if line.startswith("SCRIPT")}
    pages = [page for _, page in ran]
    return {page for page in pages if pages.count(page) == 2}


def test_panel_mounted_in_fastapi(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, fastapi=True, RECONNECT="true") as server:
        with Page(browser, server.url) as page:
            row = shared_monitor.only(app_name, connected=True)
            page.click("Hold the lock")
            server.wait_for_line("HOLDING")
            shared_monitor.kill(row["session_id"])
            assert_killed(page.wait_closed())
            assert NOTIFICATION in page.wait_notified()
            shared_monitor.gone(row["session_id"], timeout=3)
            assert server.table() == []
        with Page(browser, server.url):
            row = shared_monitor.only(app_name, connected=True)
        shared_monitor.gone(row["session_id"])  # a closed tab is no ghost here either
        eventually(lambda: server.table() == [], what="Bokeh to forget the page")


def test_bokeh_without_panel(shared_monitor: Monitor, browser, app_name):
    port = free_port()
    command = ["-m", "bokeh", "serve", str(APPS / "bokeh_page.py"), "--port", str(port)]
    with AppServer(shared_monitor, app_name, port, *command) as server:
        with Page(browser, f"http://localhost:{port}/bokeh_page") as page:
            row = shared_monitor.only(app_name, connected=True)
            page.click("Report")
            eventually(lambda: "Generating Report" in [e.get("current_task") for e in shared_monitor.events(row["session_id"])])
            shared_monitor.kill(row["session_id"])
            assert_killed(page.wait_closed())
            shared_monitor.gone(row["session_id"])
            page.page.wait_for_timeout(2500)  # for as long as BokehJS would take to come back, twice
            assert page.opened() == 1 and shared_monitor.sessions(app_name) == []
        assert (server.output().count("CALLBACK"), server.output().count("DESTROYED")) == (1, 1)


def test_the_user_is_the_one_that_panel_has_signed_in(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, "--basic-auth", "secret", "--cookie-secret", "cookies") as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.fill("input[name=username]", "ada")
        page.fill("input[name=password]", "secret")
        page.keyboard.press("Enter")
        page.get_by_text("ready").wait_for()
        assert shared_monitor.only(app_name, connected=True)["user_id"] == "ada"
        context.close()


def test_work_belongs_to_the_page_whose_code_started_it(shared_monitor: Monitor, browser, app_name):
    """In all the ways to start it, while another page is there, and last in the workers that it shares with that page."""
    with PanelServer(shared_monitor, app_name) as server, Page(browser, server.url) as first, Page(browser, server.url) as second:
        eventually(lambda: len(shared_monitor.sessions(app_name)) == 2)
        for page in (first, second, first):
            server.lines.clear()
            page.click("Ask beside")
            server.wait_for_line("ASKED ALL", timeout=10)
            asked = [line.split() for line in server.lines if line.startswith("ASKED BY")]
            assert {way for _, _, way, *_ in asked} == {
                "thread", "subclass", "timer", "nested", "executor", "map", "run_in_executor", "pool", "task", "to_thread", "loop"}
            own = server.wait_for_line("PAGE").split()[1]
            assert [line for line in asked if line[3] != own] == []
        assert len(shared_monitor.sessions(app_name)) == 2, "something ran as a session of its own"


def test_scripts_that_run_for_nobody_make_no_ghosts(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, "--warm", "--reuse-sessions", "--liveness") as server:
        server.wait_for_line("SCRIPT")
        with urllib.request.urlopen(f"http://localhost:{server.port}/liveness?endpoint=/page", timeout=10) as answer:
            assert answer.status == 200
        server.wait_for_line("SCRIPT", count=2)
        assert shared_monitor.sessions(app_name) == [], "neither a warm start nor a liveness check is anybody's session"
        with Page(browser, server.url) as first, Page(browser, server.url) as second:
            eventually(lambda: len(shared_monitor.sessions(app_name)) == 2)
            first.click("Report")
            row = eventually(lambda: next((r for r in shared_monitor.sessions(app_name) if r["current_task"]), None))
            shared_monitor.kill(row["session_id"])
            assert_killed(first.wait_closed())
            shared_monitor.gone(row["session_id"])
            assert second.closes() == [] and len(shared_monitor.sessions(app_name)) == 1
            first.open(server.url)  # the prototype that sessions are made from has survived
            eventually(lambda: len(shared_monitor.sessions(app_name)) == 2)


def test_a_blocking_handler_in_a_thread_pool_delays_nothing(shared_monitor: Monitor, browser, app_name):
    with PanelServer(shared_monitor, app_name, "--num-threads", "2") as server, Page(browser, server.url) as page:
        row = shared_monitor.only(app_name, connected=True)
        page.click("Block the loop")
        server.wait_for_line("BLOCKING")
        shared_monitor.kill(row["session_id"])
        assert_killed(page.wait_closed())
        assert "BLOCKED" not in server.output()
        shared_monitor.gone(row["session_id"])
        assert server.table() == []
