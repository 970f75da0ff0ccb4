"""The example apps, as they are, against the real monitor."""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pages import CLOSE_REASON, SPY
from support import ROOT, AppServer, Monitor, eventually, free_port

EXAMPLES = ROOT / "examples"


def command(name: str, port: int) -> list[str]:
    """How the example's own comment says to start it, on a port of this test's."""
    return {
        "task_runner": ["-m", "panel", "serve", str(EXAMPLES / "panel/task_runner.py"), "--port", str(port)],
        "streamlit_report": ["-m", "streamlit", "run", str(EXAMPLES / "streamlit/report.py"), "--server.port", str(port),
                             "--server.headless", "true", "--browser.gatherUsageStats", "false"],
        "shiny_report": ["-m", "shiny", "run", str(EXAMPLES / "shiny/app.py"), "--port", str(port)],
        "chat": ["-m", "uvicorn", "--app-dir", str(EXAMPLES / "starlette"), "chat:app", "--port", str(port)],
    }[name]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("name", ["task_runner", "streamlit_report", "shiny_report"])
def test_an_example_shows_its_task_and_ends_with_a_kill(shared_monitor: Monitor, browser, name):
    port = free_port()
    with AppServer(shared_monitor, name, port, *command(name, port)) as server:
        page = browser.new_context().new_page()
        page.add_init_script(SPY)
        page.goto(f"http://localhost:{port}/{'task_runner' if name == 'task_runner' else ''}")
        page.get_by_role("button", name="Run", exact=True).click()
        row = shared_monitor.only(name, timeout=30, current_task="Generating Report")
        shared_monitor.kill(row["session_id"])
        page.wait_for_function("window.closes.length > 0")
        closed = page.evaluate("window.closes[0]")
        assert (closed["code"], closed["reason"]) == (1001, CLOSE_REASON)
        shared_monitor.gone(row["session_id"])
        page.context.close()
        assert "Traceback" not in server.output()


def test_the_chat_ends_one_connection(shared_monitor: Monitor):
    port = free_port()
    with AppServer(shared_monitor, "chat", port, *command("chat", port)):
        with connect(f"ws://127.0.0.1:{port}/chat?user=ada") as ada, connect(f"ws://127.0.0.1:{port}/chat?user=bob") as bob:
            eventually(lambda: len(shared_monitor.sessions("chat")) == 2)
            row = next(row for row in shared_monitor.sessions("chat") if row["user_id"] == "ada")
            shared_monitor.kill(row["session_id"])
            with pytest.raises(ConnectionClosed) as ending:
                ada.recv(5)
            assert (ending.value.rcvd.code, ending.value.rcvd.reason) == (1001, CLOSE_REASON)
            bob.send("is anybody here")
            assert bob.recv(5) == "bob: is anybody here"
