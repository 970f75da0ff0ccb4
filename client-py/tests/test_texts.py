"""No text costs a session: a table of texts, over both transports, against the real monitor."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_client import SessionClient
from sessionwatch import clean
from support import Gate, Monitor, eventually


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


# What an app says, and what the monitor shows.
TEXTS = {
    "plain": ("Generating Report", "Generating Report"),
    "newline": ("a\nb", "a b"),
    "tab and return": ("a\tb\r\nc", "a b  c"),
    "null": ("a\0b", "a b"),
    "escape": ("\x1b[31mred", "[31mred"),
    "next line": ("a\x85b", "a b"),
    "line separators": ("a\u2028b\u2029c", "a b c"),
    "right to left override": ("a\u202egpj.exe", "a gpj.exe"),
    "isolates": ("\u2066a\u2069b\u200f", "a b"),
    "byte order mark": ("\ufeffa", "a"),
    "zero width": ("a\u200bb\u2060c", "a b c"),
    "soft hyphen": ("a\u00adb", "a b"),
    "fillers": ("a\u3164b\u115fc\u2800d", "a b c d"),
    "tags": ("a\U000e0041\U000e007f\U000e0001b", "a   b"),
    "joined emoji": ("👩\u200d🚀 and می\u200cخواهم", "👩\u200d🚀 and می\u200cخواهم"),
    "joiners without need": ("a\u200db\u200c", "a b"),
    "selectors": ("a\ufe0fb 1\ufe0f\u20e3 ❤\ufe0f", "a b 1\ufe0f\u20e3 ❤\ufe0f"),
    "joiner beside what goes": ("\u2d30\u200d\u202e\u2d30", "\u2d30  \u2d30"),
    "lone surrogate": ("a\ud800b", "a\ufffdb"),
    "file name": (os.fsdecode(b"caf\xe9.csv"), "caf\ufffd.csv"),
    "surrogate pair": ("a\ud83d\ude00b", "a😀b"),
    "bytes": (b"caf\xc3\xa9 \xff", "café \ufffd"),
    "long": ("x" * 1000, "x" * 256),
    "long in emoji": ("😀" * 1000, "😀" * 256),
    "long with a joiner at the cut": ("x" * 255 + "\u200d" + "y" * 50, "x" * 255),
    "megabytes": ("\n" * 3_000_000 + "x", None),
    "quotes": ('"\\/\'', '"\\/\''),
    "html": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "spaces only": (" \u3000 \n ", None),
    "invisible only": ("\u200b\u3164\u2800", None),
    "empty": ("", None),
    "number": (7, "7"),
    "broken": (Broken(), "<Broken>"),
    "dot": (".", "."),
    "dots": ("..", ".."),
    "slash": ("a/b", "a/b"),
    "reserved": ("stale", "stale"),
}


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_every_text_is_shown_and_none_is_refused(shared_monitor: Monitor, websocket, caplog):
    with Gate(shared_monitor, websocket=websocket) as gate:
        for name, (said, shown) in TEXTS.items():
            tracker = SessionClient(f"texts {name}", said, gate.url, meta={"k": said, said if isinstance(said, str) else "n": 1})
            assert tracker.flush(10), name
            with tracker.task(said):
                assert tracker.flush(10), name
                row = shared_monitor.session(tracker.session_id)
                assert row is not None, name
                assert (row["user_id"], row["current_task"], row["status"]) == (shown, shown, "running"), name
            tracker.set_status("waiting", said)
            assert tracker.flush(10), name
            assert shared_monitor.session(tracker.session_id)["current_task"] == shown, name
            named = SessionClient(said, server_url=gate.url)
            if shown is None:
                assert not named.flush(0.1) and "app_name must not be empty" in caplog.text, name
            else:
                assert named.flush(10), name
                assert shared_monitor.session(named.session_id)["app_name"] == {".": "_", "..": "__"}.get(shown, shown), name
            tracker.stop()
            named.stop()
    assert "goes on without" not in caplog.text and "refused" not in caplog.text


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_a_text_said_while_the_monitor_is_away_costs_nothing_when_it_returns(websocket, app_name, caplog):
    monitor = Monitor()
    try:
        with Gate(monitor, websocket=websocket) as gate:
            tracker = SessionClient.get_tracker(app_name, server_url=gate.url, heartbeat_interval=1)
            assert tracker.flush(10)
            monitor.kill9()
            eventually(lambda: not tracker.connected)
            with tracker.task("a\nb" + os.fsdecode(b"\xff") + "y" * 1000):
                monitor.start()
                row = monitor.only(app_name, timeout=40, current_task=("a b\ufffd" + "y" * 1000)[:256])
                assert row["session_id"] == tracker.session_id
    finally:
        monitor.close()


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
@pytest.mark.parametrize("field", ["user_id", "current_task", "meta"])
def test_a_field_that_is_refused_all_the_same_is_dropped_and_said_once(shared_monitor, websocket, field, app_name, caplog, monkeypatch):
    """Without the cleaning, as if the monitor refused more than this client knows of."""
    monkeypatch.setattr(clean, "text", lambda value, most=256: str(value))
    wrong, right = "a\nb", "fine"
    with Gate(shared_monitor, websocket=websocket) as gate:
        tracker = SessionClient.get_tracker(
            app_name, wrong if field == "user_id" else "ada", gate.url, 1, meta={"k": wrong if field == "meta" else right})
        tracker.set_status("busy", wrong if field == "current_task" else right)
        assert tracker.flush(10)
        row = shared_monitor.session(tracker.session_id)
        assert row["status"] == "busy"
        assert row["user_id"] == (None if field == "user_id" else "ada")
        assert row["current_task"] == (None if field == "current_task" else right)
        assert row["meta"] == ({} if field == "meta" else {"k": right})
        for task in (wrong, right):
            with tracker.task(task):
                assert tracker.flush(10)
                assert shared_monitor.session(tracker.session_id)["current_task"] == (None if task == wrong else right)
        kinds = [line for line in caplog.text.splitlines() if f"goes on without its {field}" in line]
        assert len(kinds) == 1, caplog.text


def test_an_app_name_that_is_refused_all_the_same_is_replaced(shared_monitor, app_name, caplog, monkeypatch):
    monkeypatch.setattr(clean, "text", lambda value, most=256: str(value))
    tracker = SessionClient.get_tracker(app_name + "\n", server_url=shared_monitor.url)
    assert tracker.flush(10)
    assert shared_monitor.session(tracker.session_id)["app_name"] == "unnamed"


@given(st.text(st.characters(), max_size=400))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_left_can_be_shown(said):
    left = clean.text(said)
    left.encode()  # no half of a surrogate pair
    assert len(left) <= 256 and left == left.strip()
    assert clean.text(left) == left, "what is clean stays as it is"
    for character in left:
        assert unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs")
        assert character not in "\u200b\u00ad\u3164\u115f\u2800\u2060\ufeff\u202e\u2066"
        assert not 0xE0000 <= ord(character) <= 0xE007F


@given(st.dictionaries(st.text(max_size=20) | st.integers(), st.none() | st.text() | st.integers() | st.floats() | st.booleans()
                       | st.lists(st.integers()) | st.complex_numbers(), max_size=50))
@settings(max_examples=200, deadline=None)
def test_whatever_tags_are_left_can_be_sent(tags):
    import json
    left = clean.meta(tags)
    assert len(left) <= 32
    assert len(json.dumps(left, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()) <= 4096
