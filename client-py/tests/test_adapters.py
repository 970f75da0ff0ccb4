"""Shiny, Streamlit and Starlette sessions under their real servers."""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pages import CLOSE_REASON, SPY
from support import APPS, AppServer, Monitor, eventually, free_port


def open_page(browser, port: int):
    page = browser.new_context().new_page()
    page.add_init_script(SPY)
    page.goto(f"http://localhost:{port}/")
    page.get_by_text("ready").wait_for(timeout=30_000)
    return page


def closed(page) -> list[dict]:
    return page.evaluate("window.closes")


@pytest.mark.browser
def test_shiny(shared_monitor: Monitor, browser, app_name):
    port = free_port()
    with AppServer(shared_monitor, app_name, port, "-m", "shiny", "run", "--port", str(port), str(APPS / "shiny_app.py")) as server:
        page, bystander = open_page(browser, port), open_page(browser, port)
        eventually(lambda: len(shared_monitor.sessions(app_name)) == 2)
        page.get_by_role("button", name="Report").click()
        row = eventually(lambda: next((r for r in shared_monitor.sessions(app_name) if r["current_task"]), None))
        assert row["current_task"] == "Generating Report"
        shared_monitor.kill(row["session_id"])
        page.wait_for_function("window.closes.length > 0")
        assert [(c["code"], c["reason"]) for c in closed(page)] == [(1001, CLOSE_REASON)]
        page.locator("#shiny-disconnected-overlay").wait_for()
        page.get_by_text(CLOSE_REASON).wait_for()
        shared_monitor.gone(row["session_id"])
        assert server.output().count("CALLBACK") == 1
        server.wait_for_line("ENDED")
        assert shared_monitor.events(row["session_id"])[-1]["cause"] == "killed"
        assert closed(bystander) == []
        bystander.context.close()
        eventually(lambda: shared_monitor.sessions(app_name) == [], what="the bystander to leave with its tab")
        page.context.close()


@pytest.mark.browser
def test_streamlit(shared_monitor: Monitor, browser, app_name):
    port = free_port()
    command = ["-m", "streamlit", "run", str(APPS / "streamlit_app.py"), "--server.port", str(port), "--server.headless", "true",
               "--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]
    with AppServer(shared_monitor, app_name, port, *command) as server:
        page, bystander = open_page(browser, port), open_page(browser, port)
        eventually(lambda: len(shared_monitor.sessions(app_name)) == 2)
        page.get_by_role("button", name="Report").click()
        row = eventually(lambda: next((r for r in shared_monitor.sessions(app_name) if r["current_task"]), None))
        page.get_by_text("ready 2").wait_for()
        shared_monitor.only_of(row["session_id"], current_task=None)
        assert len(shared_monitor.sessions(app_name)) == 2, "a script that runs anew is the same session"
        shared_monitor.kill(row["session_id"])
        page.wait_for_function("window.closes.length > 1", timeout=30_000)  # it tries to come back by itself
        assert {(c["code"], c["reason"]) for c in closed(page)} == {(1001, CLOSE_REASON)}
        shared_monitor.gone(row["session_id"])
        assert server.output().count("CALLBACK") == 1
        assert server.output().count("NEW SESSION") == 2
        assert len(shared_monitor.sessions(app_name)) == 1
        assert closed(bystander) == []
        other = shared_monitor.only(app_name)
        bystander.context.close()
        shared_monitor.only_of(other["session_id"], visibility="suspended")
        page.context.close()


def test_a_starlette_websocket(shared_monitor: Monitor, app_name):
    port = free_port()
    with AppServer(shared_monitor, app_name, port, str(APPS / "websocket_app.py"), str(port)) as server:
        url = f"ws://127.0.0.1:{port}/echo?user="
        with connect(url + "ada") as ada, connect(url + "bob") as bob:
            eventually(lambda: len(shared_monitor.sessions(app_name)) == 2)
            rows = {row["user_id"]: row for row in shared_monitor.sessions(app_name)}
            ada.send("hello")
            assert ada.recv(5) == "hello"
            eventually(lambda: "hello" in [e.get("current_task") for e in shared_monitor.events(rows["ada"]["session_id"])])
            shared_monitor.kill(rows["ada"]["session_id"])
            with pytest.raises(ConnectionClosed) as ending:
                ada.recv(5)
            assert (ending.value.rcvd.code, ending.value.rcvd.reason) == (1001, CLOSE_REASON)
            shared_monitor.gone(rows["ada"]["session_id"])
            server.wait_for_line("CALLBACK")
            server.wait_for_line("HANDLER ENDED")
            bob.send("still here")
            assert bob.recv(5) == "still here"
        shared_monitor.gone(rows["bob"]["session_id"])
        assert shared_monitor.events(rows["bob"]["session_id"])[-1]["cause"] == "ended"
