"""One thread and one WebSocket to the real monitor, and what happens when either breaks."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from conftest import tracker_for
from session_client import Kill, SessionClient
from sessionwatch.registry import registry
from support import Gate, Monitor, eventually, free_port


def test_a_session_shows_what_it_says(shared_monitor: Monitor, app_name):
    tracker = tracker_for(shared_monitor, app_name, user_id="ada", meta={"tier": "gold", "seats": 3})
    assert tracker.flush()
    assert tracker.connected
    row = shared_monitor.session(tracker.session_id)
    assert (row["app_name"], row["user_id"], row["status"], row["meta"]) == (app_name, "ada", "idle", {"tier": "gold", "seats": 3})
    with tracker.task("Generating Report"):
        assert tracker.flush()
        row = shared_monitor.session(tracker.session_id)
        assert (row["status"], row["current_task"]) == ("running", "Generating Report")
    tracker.set_meta({"tier": "silver"})
    tracker.set_visibility("hidden")
    assert tracker.flush()
    row = shared_monitor.session(tracker.session_id)
    assert (row["status"], row["current_task"], row["meta"], row["visibility"]) == ("idle", None, {"tier": "silver"}, "hidden")
    tracker.stop()
    shared_monitor.gone(tracker.session_id)


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_it_tells_of_input_also_after_a_break(shared_monitor: Monitor, app_name, websocket):
    with Gate(shared_monitor, websocket) as gate:
        tracker = SessionClient.get_tracker(app_name, server_url=gate.url)
        assert tracker.flush()

        def idle_since() -> str | None:
            assert tracker.flush()
            return shared_monitor.session(tracker.session_id)["idle_since"]

        tracker.set_idle(0)
        assert idle_since() is None
        with tracker.task("work"):
            pass
        tracker.set_idle(60)
        since = idle_since()
        assert since is not None
        shared_monitor.ask("DELETE", f"/sessions/{tracker.session_id}")
        tracker.set_visibility("hidden")  # so that it speaks, and registers anew
        row = eventually(lambda: tracker.flush() and shared_monitor.session(tracker.session_id))
        assert row["idle_since"] is not None
        tracker.set_idle(float("nan"))
        tracker.set_idle(-1)
        assert idle_since() == row["idle_since"]
        tracker.stop()


def test_a_task_shorter_than_a_blink_is_in_the_timeline(shared_monitor: Monitor, app_name):
    tracker = tracker_for(shared_monitor, app_name)
    assert tracker.flush()
    with tracker.task("blink"):
        pass
    assert tracker.flush()
    assert "blink" in [event.get("current_task") for event in shared_monitor.events(tracker.session_id)]


def test_any_number_of_sessions_share_one_thread_and_one_socket(shared_monitor: Monitor, app_name, capsys):
    with Gate(shared_monitor) as gate:
        before = set(threading.enumerate())
        started = time.perf_counter()
        trackers = [SessionClient.get_tracker(f"{app_name}-{n}", server_url=gate.url) for n in range(200)]
        made = time.perf_counter() - started
        for tracker in trackers:
            assert tracker.flush(10)
        seen = time.perf_counter() - started
        started = time.perf_counter()
        for tracker in trackers:
            for _ in range(10):
                with tracker.task("work"):
                    pass
        worked = time.perf_counter() - started
        assert all(tracker.flush(10) for tracker in trackers)
        new = set(threading.enumerate()) - before - gate.threads()
        with capsys.disabled():
            print(f"\n  200 sessions: get_tracker {made / 200 * 1e6:.0f} us each, all seen after {seen:.2f} s, a task {worked / 2000 * 1e6:.0f} us;"
                  f" threads {len(new)}, connections {gate.accepted}")
        assert [(thread.name, thread.daemon) for thread in new] == [("sessionwatch", True)]
        assert gate.accepted == 1
        assert len(shared_monitor.sessions()) >= 200


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_no_transport_starts_another_thread(shared_monitor: Monitor, app_name, websocket):
    """Nor does a look-up of a name: the monitor is asked for by one."""
    with Gate(shared_monitor, websocket=websocket) as gate:
        before = set(threading.enumerate())
        tracker = SessionClient.get_tracker(app_name, server_url=gate.url.replace("127.0.0.1", "localhost"), heartbeat_interval=1)
        assert tracker.flush(10)
        new = set(threading.enumerate()) - before - gate.threads()
        assert [thread.name for thread in new] == ["sessionwatch"]


def test_the_thread_ends_with_the_last_session_and_comes_back(shared_monitor: Monitor, app_name):
    tracker = tracker_for(shared_monitor, app_name)
    assert tracker.flush()
    thread = tracker._session._engine.thread
    tracker.stop()
    thread.join(10)
    assert not thread.is_alive()
    again = tracker_for(shared_monitor, app_name)
    assert again.flush() and again.session_id != tracker.session_id


def test_a_kill_runs_the_callbacks_once_and_ends_the_session(shared_monitor: Monitor, app_name, caplog):
    tracker = tracker_for(shared_monitor, app_name)
    calls: list = []

    @tracker.on_kill
    def plain():
        calls.append("plain")

    @tracker.on_kill
    def fails():
        raise SystemExit("not even this")

    @tracker.on_kill
    async def informed(kill: Kill):
        calls.append((kill.by, kill.reason))

    assert tracker.flush()
    shared_monitor.kill(tracker.session_id, reason="because")
    shared_monitor.gone(tracker.session_id)
    assert calls == ["plain", ("pytest", "because")]
    assert tracker.killed and not tracker.connected
    assert "a callback of on_kill failed" in caplog.text
    assert shared_monitor.events(tracker.session_id)[-1]["cause"] == "killed"
    tracker.on_kill(lambda: calls.append("late"))
    eventually(lambda: calls[-1] == "late")


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
@pytest.mark.parametrize("by", ["task", "get_tracker"])
def test_a_process_that_goes_on_after_a_kill_is_a_new_session(shared_monitor: Monitor, app_name, websocket, by):
    with Gate(shared_monitor, websocket=websocket) as gate:
        def track() -> SessionClient:
            return SessionClient.get_tracker(app_name, server_url=gate.url, heartbeat_interval=1)

        tracker = track()
        kills = []
        tracker.on_kill(lambda: kills.append(tracker.session_id))
        assert tracker.flush()
        first = tracker.session_id
        shared_monitor.kill(first)
        shared_monitor.gone(first)
        eventually(lambda: tracker._session.ended)
        tracker.set_status("idle")  # what a cleanup may say begins nothing
        assert tracker.killed and tracker.session_id == first
        if by == "get_tracker":
            assert track() is tracker
        with tracker.task("the next work"):
            assert not tracker.killed and tracker.session_id != first
            assert tracker.flush()
            assert shared_monitor.only(app_name)["current_task"] == "the next work"
            shared_monitor.kill(tracker.session_id)
            shared_monitor.gone(tracker.session_id)
        assert kills == [first, tracker.session_id]


def test_a_callback_that_hangs_has_the_grace_and_no_more(shared_monitor: Monitor, app_name):
    tracker = tracker_for(shared_monitor, app_name)
    forever = threading.Event()
    tracker.on_kill(forever.wait)
    assert tracker.flush()
    shared_monitor.kill(tracker.session_id)
    acknowledged = shared_monitor.event(tracker.session_id, "kill_acknowledged")
    assert acknowledged
    shared_monitor.gone(tracker.session_id)
    forever.set()


def test_a_message_without_anybody_to_show_it_is_not_called_delivered(shared_monitor: Monitor, app_name):
    tracker = tracker_for(shared_monitor, app_name)
    assert tracker.flush()
    path = f"/sessions/{tracker.session_id}/message"
    assert shared_monitor.ask("POST", path, {"text": "hello"})[1]["deliveries"][0]["delivered_at"] is None
    seen = []
    tracker.on_message(lambda message: seen.append((message.text, message.level)))
    assert shared_monitor.ask("POST", path, {"text": "hello again", "level": "warning"})[1]["deliveries"][0]["delivered_at"]
    assert seen == [("hello again", "warning")]


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_a_monitor_that_dies_and_returns_finds_the_same_rows_with_their_present_status(websocket, app_name):
    monitor = Monitor()
    try:
        with Gate(monitor, websocket=websocket) as gate:
            trackers = [SessionClient.get_tracker(f"{app_name}-{n}", server_url=gate.url, heartbeat_interval=1) for n in range(10)]
            for tracker in trackers:
                assert tracker.flush(10)
            ids = {tracker.session_id for tracker in trackers}
            monitor.kill9()
            eventually(lambda: not trackers[0].connected)
            for number, tracker in enumerate(trackers):
                tracker.set_status("busy", f"step {number}")
            monitor.start()
            eventually(lambda: all(t.connected for t in trackers), 40)
            for tracker in trackers:
                assert tracker.flush(10)
            rows = monitor.sessions()
            assert {row["session_id"] for row in rows} == ids
            assert {row["current_task"] for row in rows} == {f"step {n}" for n in range(10)}
            assert not any(tracker.killed for tracker in trackers)
    finally:
        monitor.close()


def test_a_monitor_that_lost_its_database_gets_the_sessions_anew(monitor: Monitor, app_name):
    tracker = tracker_for(monitor, app_name)
    assert tracker.flush()
    monitor.close()
    fresh = Monitor(port=monitor.port)
    try:
        row = fresh.only(app_name, timeout=20)
        assert row["session_id"] == tracker.session_id
    finally:
        fresh.close()


def test_a_monitor_that_comes_late_is_joined_without_any_help(app_name):
    port = free_port()
    tracker = SessionClient.get_tracker(app_name, server_url=f"http://127.0.0.1:{port}")
    with tracker.task("begun before the monitor"):
        eventually(lambda: tracker._session._engine.failures > 0)
        late = Monitor(port=port)
        try:
            late.only(app_name, timeout=20, current_task="begun before the monitor")
        finally:
            late.close()


def test_a_session_stopped_while_the_monitor_was_away_does_not_come_back(app_name):
    monitor = Monitor()
    try:
        tracker = tracker_for(monitor, app_name)
        other = tracker_for(monitor, app_name + "-other")
        assert tracker.flush() and other.flush()
        monitor.kill9()
        eventually(lambda: not tracker.connected)
        tracker.stop()
        monitor.start()
        monitor.gone(tracker.session_id, 20)
        eventually(lambda: other.connected, 20)
        assert [row["session_id"] for row in monitor.sessions()] == [other.session_id]
    finally:
        monitor.close()


def test_killed_while_the_monitor_restarts_is_killed_still(app_name):
    """The kill is in the database before the session could hear of it."""
    monitor = Monitor()
    try:
        with Gate(monitor) as gate:
            tracker = SessionClient.get_tracker(app_name, server_url=gate.url)
            assert tracker.flush()
            gate.hold()
            monitor.kill(tracker.session_id)
            monitor.kill9()
            monitor.start()
            gate.release()
            eventually(lambda: tracker.killed, 20)
            monitor.gone(tracker.session_id, 20)
    finally:
        monitor.close()


def test_where_a_websocket_is_refused_it_beats_over_http(shared_monitor: Monitor, app_name):
    with Gate(shared_monitor, websocket=False) as gate:
        tracker = SessionClient.get_tracker(app_name, server_url=gate.url, heartbeat_interval=1)
        assert tracker.flush()
        row = shared_monitor.only(app_name)
        assert not row["connected"] and row["heartbeat_interval"] == 1
        with tracker.task("over http"):
            assert tracker.flush()
            assert shared_monitor.only(app_name)["current_task"] == "over http"
        row = shared_monitor.only(app_name, status="idle")
        eventually(lambda: shared_monitor.only(app_name)["last_heartbeat"] > row["last_heartbeat"], what="a beat")
        called = []
        tracker.on_kill(lambda kill: called.append(kill.reason))
        shared_monitor.kill(tracker.session_id, reason="over http")
        shared_monitor.gone(tracker.session_id)
        assert called == ["over http"] and tracker.killed
        assert shared_monitor.events(tracker.session_id)[-1]["cause"] == "killed"


def test_without_the_websockets_package_it_beats_over_http(shared_monitor: Monitor, app_name, monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    tracker = tracker_for(shared_monitor, app_name)
    assert tracker.flush()
    assert not shared_monitor.only(app_name)["connected"]
    tracker.stop()
    shared_monitor.gone(tracker.session_id)


def test_a_killed_id_is_turned_away_and_its_neighbours_stay(shared_monitor: Monitor, app_name, monkeypatch):
    """As when a page of `--num-procs` that was ended comes back through another process."""
    with Gate(shared_monitor) as gate:
        neighbour = SessionClient.get_tracker(app_name + "-neighbour", server_url=gate.url)
        assert neighbour.flush()
        monkeypatch.setattr("sessionwatch.hosts.base.Host.session_id", lambda host, app, attempt: f"{app_name}.page")
        tracker = SessionClient.get_tracker(app_name, server_url=gate.url)
        assert tracker.flush()
        shared_monitor.kill(tracker.session_id)
        shared_monitor.gone(tracker.session_id)
        eventually(lambda: tracker._session.through, what="the farewell to be confirmed")
        registry.trackers.clear()
        again = SessionClient.get_tracker(app_name, server_url=gate.url)
        assert again is not tracker and again.session_id == tracker.session_id
        eventually(lambda: again.killed)
        assert shared_monitor.session(tracker.session_id) is None
        assert neighbour.flush() and neighbour.connected
        assert gate.accepted == 1, "the neighbours' socket was closed with the killed session"


def test_a_wrong_token_is_said_once_and_not_tried_for_ever(app_name, caplog):
    monitor = Monitor("--strict")
    try:
        wrong = tracker_for(monitor, app_name, token="wrong")
        right = tracker_for(monitor, app_name, token=monitor.token("ingest"))
        assert right.flush()
        assert wrong.flush(3) is False
        eventually(lambda: "refuses this client" in caplog.text)
        assert [row["session_id"] for row in monitor.ask("GET", "/sessions", token=monitor.token("view"))[1]["sessions"]] \
            == [right.session_id]
    finally:
        monitor.close()
