"""A session's end is told, once and with its cause, however it comes."""

from __future__ import annotations

import pytest

from conftest import tracker_for
from session_client import End, SessionClient
from support import Monitor, eventually, python

USE = """
import sys
from session_client import SessionClient
tracker = SessionClient.get_tracker("app", server_url={url!r}, on_kill_at_end={at_end})
tracker.on_kill(lambda kill: print("KILL", kill.cause, kill.reason, flush=True))
tracker.on_end(lambda end: print("END", end.cause, end.kill and end.kill.reason, flush=True))
@tracker.on_end
async def asynchronous():
    print("ASYNC END", flush=True)
@tracker.on_end
def fails():
    raise SystemExit(7)
print("seen", tracker.flush(), tracker.session_id, flush=True)
{then}
"""


@pytest.mark.parametrize(("at_end", "then", "told"), [
    (None, "", ["END exit None"]),
    (None, "sys.exit(0)", ["END exit None"]),
    (True, "", ["KILL exit None", "END exit None"]),
    (True, "tracker.stop(); tracker.stop(); import time; time.sleep(0.5)", ["END stopped None"]),
    (None, "input()", ["KILL killed because", "END killed because"]),
    (True, "input()", ["KILL killed because", "END killed because"]),
    (False, "input()", ["KILL killed because", "END killed because"]),
], ids=["end of the script", "sys.exit", "with on_kill at the end", "stop", "kill", "kill with on_kill at the end", "kill without"])
def test_the_end_of_a_process_is_told_once(monitor: Monitor, at_end, then, told):
    with python(USE.format(url=monitor.url, at_end=at_end, then=then)) as process:
        session_id = process.wait_for_line("seen True").split()[2]
        if then == "input()":
            monitor.kill(session_id, reason="because")
            monitor.gone(session_id)
            process.say("go on")
        assert process.process.wait(10) == 0, process.output()
    assert [line for line in process.lines if line.startswith(("KILL", "END"))] == told
    assert process.lines.count("ASYNC END") == 1
    monitor.gone(session_id)
    assert monitor.events(session_id)[-1]["cause"] == ("killed" if then == "input()" else "ended")


def test_an_end_that_nobody_saw_begin_is_not_told(app_name):
    """A session that was never shown, such as a page that never opened, has no end either."""
    ends: list = []
    tracker = SessionClient.get_tracker("", server_url="http://127.0.0.1:9")
    tracker.on_end(ends.append)
    tracker.page_ended()
    assert ends == []


def test_who_asks_late_is_told_at_once(shared_monitor: Monitor, app_name):
    tracker = tracker_for(shared_monitor, app_name)
    assert tracker.flush()
    tracker.stop()
    ends: list = []
    kills: list = []
    tracker.on_end(lambda end: ends.append(end))
    tracker.on_kill(lambda: kills.append(1))
    eventually(lambda: ends == [End("stopped")])
    assert kills == []
