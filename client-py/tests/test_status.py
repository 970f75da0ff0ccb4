"""What a session shows, without any monitor: tasks, statuses, and what is refused before it is sent."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from session_client import SessionClient
from support import out_of_reach, run_async

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def tracker() -> SessionClient:
    return SessionClient.get_tracker("app", server_url=NOWHERE)


def shown(tracker: SessionClient) -> tuple[str, str | None]:
    return tracker._presence.now()


def test_a_task_shows_while_it_runs(tracker):
    assert shown(tracker) == ("idle", None)
    with tracker.task("Generating Report"):
        assert shown(tracker) == ("running", "Generating Report")
    assert shown(tracker) == ("idle", None)


def test_tasks_nest_as_a_stack(tracker):
    with tracker.task("outer"):
        with tracker.task("inner", status="loading"):
            assert shown(tracker) == ("loading", "inner")
        assert shown(tracker) == ("running", "outer")


def test_a_task_that_fails_is_over(tracker):
    with pytest.raises(RuntimeError, match="boom"), tracker.task("doomed"):
        raise RuntimeError("boom")
    assert shown(tracker) == ("idle", None)


def test_after_a_task_the_status_of_before_is_back(tracker):
    tracker.set_status("waiting", "for input")
    with tracker.task("work"):
        tracker.set_status("uploading", "part 2")
        assert shown(tracker) == ("uploading", "part 2")
    assert shown(tracker) == ("waiting", "for input")


def test_async_tasks_may_end_in_any_order(tracker):
    async def both() -> None:
        first_may_end = asyncio.Event()

        async def first() -> None:
            async with tracker.task("first"):
                await first_may_end.wait()

        running = asyncio.create_task(first())
        await asyncio.sleep(0)
        async with tracker.task("second"):
            first_may_end.set()
            await running
            assert shown(tracker) == ("running", "second")
        assert shown(tracker) == ("idle", None)

    run_async(both())


def test_one_task_object_can_be_entered_again_within_itself(tracker):
    task = tracker.task("recursion")
    with task, task:
        assert shown(tracker) == ("running", "recursion")
    assert shown(tracker) == ("idle", None)


@pytest.mark.parametrize("word", ["killed", "stale", "ended", "expired", "", "9lives"])
def test_a_status_that_the_monitor_reserves_changes_nothing(tracker, word, caplog):
    tracker.set_status("busy")
    tracker.set_status(word)
    assert shown(tracker)[0] == "busy"
    assert "not one that a session may report" in caplog.text


def test_a_status_is_made_to_fit(tracker):
    tracker.set_status("Very Busy!")
    assert shown(tracker)[0] == "very-busy-"


def test_a_visibility_of_ones_own_is_logged_and_changes_nothing(tracker, caplog):
    tracker.set_visibility("half")
    assert "visibility is one of" in caplog.text
    assert "visibility" not in tracker._presence.fields


def test_long_names_are_cut_not_refused(tracker):
    with tracker.task("x" * 1000):
        assert len(shown(tracker)[1]) == 256


def test_the_same_line_gives_the_same_tracker():
    first = SessionClient.get_tracker(app_name="a", server_url=NOWHERE)
    assert SessionClient.get_tracker(app_name="a", server_url=NOWHERE + "/") is first
    assert SessionClient.get_tracker(app_name="b", server_url=NOWHERE) is not first
    first.stop()
    assert SessionClient.get_tracker(app_name="a", server_url=NOWHERE) is not first


@pytest.mark.parametrize("settings", [
    {"app_name": ""},
    {"app_name": None},
    {"app_name": "\u200b"},
    {"app_name": "a", "server_url": "localhost:8000"},
    {"app_name": "a", "server_url": "ftp://localhost"},
    {"app_name": "a", "server_url": "http://localhost:port"},
    {"app_name": "a", "server_url": 8000},
    {"app_name": "a", "server_url": "http://[half"},
])
def test_what_can_never_work_is_said_and_stays_offline(settings, caplog):
    tracker = SessionClient.get_tracker(**settings)
    assert "shown nowhere" in caplog.text
    assert SessionClient.get_tracker(**settings) is tracker
    assert caplog.text.count("shown nowhere") == 1, "said once"
    tracker.on_kill(lambda: None)
    tracker.on_end(lambda: None)
    tracker.set_meta({"a": 1})
    tracker.set_status("busy")
    with tracker.task("work"):
        assert shown(tracker) == ("running", "work")
    assert not tracker.connected and not tracker.killed
    assert tracker.flush(timeout=5) is False
    tracker.stop()
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("meta", "kept"), [
    ({"list": [], "good": 1}, {"good": 1}),
    ({"none": None, "good": True}, {"good": True}),
    ({str(n): n for n in range(33)}, {str(n): n for n in range(32)}),
    ({"long": "x" * 4096, "good": "y"}, {"good": "y"}),
    ({"": 1, "good": 0.5}, {"good": 0.5}),
    (["no", "dict"], {}),
])
def test_tags_that_cannot_be_are_said_and_left_out(meta, kept, caplog):
    tracker = SessionClient.get_tracker("a", server_url=NOWHERE, meta=meta)
    assert tracker._presence.fields["meta"] == kept
    assert "left out" in caplog.text


@pytest.mark.parametrize("interval", [None, "often", float("nan"), float("inf"), [], 10**400])
def test_an_interval_that_cannot_be_is_said_and_is_30(interval, caplog):
    assert SessionClient("a", server_url=NOWHERE, heartbeat_interval=interval).heartbeat_interval == 30
    assert "heartbeat_interval must be" in caplog.text


def test_the_names_of_the_original(monkeypatch):
    import session_client
    import sessionwatch

    assert session_client.SessionClient is sessionwatch.SessionClient
    assert session_client.DEFAULT_SERVER_URL == "http://localhost:8000"
    monkeypatch.delenv("SESSIONWATCH_URL", raising=False)
    own = SessionClient("a")
    assert (own.app_name, own.user_id, own.server_url, own.heartbeat_interval) == ("a", None, "http://localhost:8000", 30)
    assert SessionClient("a").session_id != own.session_id
    named = SessionClient("b", "ada", NOWHERE, 5)
    assert (named.app_name, named.user_id, named.server_url, named.heartbeat_interval) == ("b", "ada", NOWHERE, 5)
    monkeypatch.setenv("SESSIONWATCH_URL", NOWHERE)
    assert SessionClient.get_tracker("c").server_url == NOWHERE


def test_the_callers_thread_never_touches_the_network(monkeypatch):
    """Not even to resolve the monitor's name."""
    import threading

    mine = threading.get_ident()
    touched = []

    def guard(name):
        original = getattr(socket, name)

        def guarded(*arguments, **named):
            if threading.get_ident() == mine:
                touched.append(name)
            return original(*arguments, **named)
        monkeypatch.setattr(socket, name, guarded)

    guard("getaddrinfo")
    guard("create_connection")
    tracker = SessionClient.get_tracker("app", server_url="http://monitor.invalid:8000")
    with tracker.task("work"):
        tracker.set_status("busy")
    tracker.on_kill(lambda: None)
    tracker.stop()
    assert touched == []


@pytest.mark.parametrize("monitor", ["refuses", "is silent", "swallows packets", "has no name"])
def test_a_monitor_that_is_away_costs_the_app_nothing(monitor):
    with out_of_reach(monitor) as url:
        started = time.perf_counter()
        tracker = SessionClient.get_tracker("app", server_url=url)
        for number in range(1000):
            with tracker.task(f"task {number}"):
                pass
        assert time.perf_counter() - started < 0.5
        assert not tracker.connected and not tracker.killed
        started = time.perf_counter()
        assert tracker.flush(timeout=0.2) is False
        assert time.perf_counter() - started < 1.0
