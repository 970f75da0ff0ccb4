"""The state machine against a model of the monitor: whatever happens, in whatever order, both agree in the end."""

from __future__ import annotations

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sessionwatch.entry import LIVE
from sessionwatch.machine import FAREWELLS, Machine
from sessionwatch.presence import CHANGES_KEPT, Report


class App:
    """A session as its app has it."""

    def __init__(self, handle: int, name: str) -> None:
        self.handle, self.name = handle, name
        self.version, self.task = 1, "t1"
        self.leaving = self.killed = self.ended = self.through = False
        self.settled, self.wanted, self.goodbyes, self.kills = 0, 0, 0, 0
        self.ids = [name]
        self.was_bad = False

    def report(self, *changes: dict) -> Report:
        registration = {"app_name": "a", "heartbeat_interval": 30.0, "status": "running", "current_task": self.task,
                        "client": f"v{self.version}"}
        return Report(self.version, registration, changes, self.leaving, self.ended)


class MonitorModel:
    """What the monitor makes of the frames of one connection at a time. `rows` outlives connections."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}
        self.tombstones: set[str] = set()
        self.held: set[str] = set()
        self.locked: set[str] = set()
        self.seen: dict[str, int] = {}
        self.busy = 0

    def take(self, frame: dict, beats: bool, now: float) -> list[dict]:
        kind, session_id = frame["type"], frame["session_id"]
        row = self.rows.get(session_id)

        def error(status: int, detail: str = "", **more: object) -> dict:
            return {"type": "error", "session_id": session_id, "status": status, "detail": detail, **more}

        if kind == "register":
            if self.busy:
                self.busy -= 1
                return [error(503, "busy")]
            if session_id in self.tombstones:
                return [error(410, "killed") if beats else {"type": "kill", "session_id": session_id, "grace_ms": 0}]
            if session_id in self.locked:
                return [error(423, "locked", until=f"1970-01-01T00:00:{min(now + 1, 59):06.3f}Z")]
            if str(frame.get("current_task")).startswith("bad"):
                return [error(422, "current_task contains what it must not")]
            self.rows[session_id] = {"task": frame.get("current_task"), "kill": (row or {}).get("kill")}
            self.held.add(session_id)
            self.seen[session_id] = max(self.seen.get(session_id, 0), int(frame["client"][1:]))
            answer = {"type": "registered", "session_id": session_id, "session_token": "t", "resumed": row is not None}
            kill = self.rows[session_id]["kill"]
            return [answer, kill] if kill and not beats else [answer]
        if kind in ("bye", "kill_ack"):
            if session_id in self.held:
                self.held.discard(session_id)
                self.rows.pop(session_id, None)
                if kind == "kill_ack" or (row and row["kill"]):
                    self.tombstones.add(session_id)
            return [{"type": "left", "session_id": session_id}]
        if row is None or session_id not in self.held:
            return [error(404)]
        if str(frame.get("current_task")).startswith("bad"):
            return [error(422, "current_task contains what it must not")]
        if "current_task" in frame:
            row["task"] = frame["current_task"]
        if kind == "heartbeat":
            return [row["kill"]] if row["kill"] else []
        return [] if kind in ("status", "visibility") else [error(422, "unknown frame")]


class Together(RuleBasedStateMachine):
    """Machine, connection and monitor; frames wait in both directions until they are delivered or lost."""

    @initialize()
    def begin(self) -> None:
        self.now = 1.0
        self.machine = Machine(lambda least, most: least)
        self.monitor = MonitorModel()
        self.apps: dict[int, App] = {}
        self.up: deque[dict] = deque()
        self.down: deque[dict] = deque()
        self.beats = False

    def perform(self) -> None:
        for effect in self.machine.take_effects():
            app = self.apps[effect.handle]
            assert not app.through, f"{effect} after the end"
            if effect.what == "send":
                assert self.machine.is_open, f"{effect} without a connection"
                assert effect.value["session_id"] == app.ids[-1]
                app.goodbyes += effect.value["type"] in ("bye", "kill_ack")
                self.up.append(effect.value)
            elif effect.what == "kill":
                app.kills += 1
                app.killed = True
            elif effect.what == "settled":
                assert effect.value <= max(self.monitor.seen.get(name, 0) for name in app.ids), "confirmed what was not seen"
                app.settled = max(app.settled, effect.value)
            elif effect.what == "renamed":
                app.ids.append(effect.value)
            elif effect.what == "done":
                app.through = True
                app.settled = max(app.settled, effect.value)

    # What apps do

    @rule()
    def start_a_session(self) -> None:
        handle = len(self.apps) + 1
        app = self.apps[handle] = App(handle, f"s{handle}")
        self.machine.add(handle, lambda attempt: f"s{handle}" + "'" * attempt, app.report(), self.now)
        self.perform()

    def pick(self, data: st.DataObject) -> App:
        return self.apps[data.draw(st.sampled_from(sorted(self.apps)))]

    @precondition(lambda self: self.apps)
    @rule(data=st.data(), bad=st.booleans(), times=st.integers(1, 3))
    def say_something(self, data: st.DataObject, bad: bool, times: int) -> None:
        app, changes = self.pick(data), []
        app.was_bad |= bad
        for _ in range(times):
            app.version += 1
            app.task = f"{'bad' if bad else 't'}{app.version}"
            changes.append({"type": "status", "status": "running", "current_task": app.task})
        self.tell(app, *changes)

    def tell(self, app: App, *changes: dict) -> None:
        self.machine.tell(app.handle, app.report(*changes), self.now)
        self.perform()

    @precondition(lambda self: self.apps)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        app = self.pick(data)
        if not app.leaving and not app.killed:
            app.leaving = True
            app.version += 1
            self.tell(app)

    @precondition(lambda self: self.apps)
    @rule(data=st.data())
    def close_a_killed_page(self, data: st.DataObject) -> None:
        app = self.pick(data)
        if app.killed and not app.ended:
            app.ended = True
            self.tell(app)

    @precondition(lambda self: self.apps)
    @rule(data=st.data())
    def flush(self, data: st.DataObject) -> None:
        app = self.pick(data)
        app.wanted = app.version
        self.machine.want(app.handle, self.now)
        self.perform()

    # What the monitor and the network do

    @precondition(lambda self: self.monitor.rows)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.monitor.rows)))
        row = self.monitor.rows[session_id]
        if row["kill"] is None:
            row["kill"] = {"type": "kill", "session_id": session_id, "kill_id": "k"}
            if session_id in self.monitor.held and self.machine.is_open and not self.beats:
                self.down.append(row["kill"])

    @precondition(lambda self: self.apps)
    @rule(data=st.data())
    def lock_out_or_let_in(self, data: st.DataObject) -> None:
        self.monitor.locked ^= {self.pick(data).ids[-1]}

    @rule(times=st.integers(0, 3))
    def be_busy(self, times: int) -> None:
        self.monitor.busy = times

    @rule()
    def lose_the_database(self) -> None:
        self.lose_the_connection(None)
        self.monitor.rows.clear()

    @precondition(lambda self: not self.machine.is_open)
    @rule(beats=st.booleans())
    def connect(self, beats: bool) -> None:
        self.beats = beats
        self.monitor.held.clear()
        self.machine.opened(beats, self.now)
        self.perform()

    @rule(code=st.sampled_from([None, 1012, 4423]))
    def lose_the_connection(self, code: int | None) -> None:
        self.up.clear()
        self.down.clear()
        self.machine.closed(self.now, code)
        self.perform()

    @rule(frames=st.integers(1, 5))
    def deliver(self, frames: int) -> None:
        for _ in range(frames):
            if self.up:
                self.down.extend(self.monitor.take(self.up.popleft(), self.beats, self.now))

    @rule(frames=st.integers(1, 5))
    def hear(self, frames: int) -> None:
        for _ in range(frames):
            if self.down:
                self.machine.hear(self.down.popleft(), self.now, self.now)
                self.perform()

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.machine.is_open:
            self.machine.tick(self.now)
            self.perform()

    # What always holds

    @invariant()
    def memory_is_bounded(self) -> None:
        machine = self.machine
        assert len(machine._timers) <= 2 * len(self.apps)
        for entry in machine._entries.values():
            assert len(entry.pending) <= CHANGES_KEPT
        assert set(machine._entries) == {app.handle for app in self.apps.values() if not app.through}
        assert {entry.session_id for entry in machine._by_id.values()} == set(machine._by_id)

    @invariant()
    def callbacks_run_once(self) -> None:
        for app in self.apps.values():
            assert app.kills <= 1 and app.goodbyes <= FAREWELLS

    def teardown(self) -> None:
        """When the network and the monitor are well again, all that was said is there, and who left is gone."""
        if not hasattr(self, "machine"):
            return
        self.monitor.locked.clear()
        self.monitor.busy = 0
        for app in self.apps.values():
            if app.killed and not app.ended:
                self.close_the_page_of(app)
        if not self.machine.is_open:
            self.connect(False)
        for _ in range(60):
            self.now += 10
            self.machine.tick(self.now)
            self.perform()
            while self.up or self.down:
                self.deliver(1)
                self.hear(1)
            for app in self.apps.values():
                if app.killed and not app.ended:
                    self.close_the_page_of(app)
        for app in self.apps.values():
            row = self.monitor.rows.get(app.ids[-1])
            if app.through:
                assert app.leaving or app.killed, "a session was lost"
                assert row is None or app.goodbyes == FAREWELLS or app.killed or not app.settled
                continue
            assert not app.leaving and not app.killed, "a goodbye was not confirmed"
            assert self.machine._entries[app.handle].stage == LIVE
            # A late refusal of what was said before may cost a text that is good, and never more than that text.
            assert row is not None and (row["task"] == app.task or (app.was_bad and row["task"] is None))
            assert app.settled >= app.wanted, "somebody waits for ever"

    def close_the_page_of(self, app: App) -> None:
        app.ended = True
        self.tell(app)


TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=150, stateful_step_count=60, deadline=None,
                                 suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


# The times of the contract, which the model above only passes by


def lone(now: float = 0.0) -> tuple[Machine, App]:
    machine, app = Machine(lambda least, most: least), App(1, "s")
    machine.add(1, lambda attempt: "s", app.report(), now)
    machine.opened(False, now)
    return machine, app


def sent(machine: Machine) -> list[str]:
    return [effect.value["type"] for effect in machine.take_effects() if effect.what == "send"]


def test_who_is_locked_out_comes_back_when_the_lock_ends():
    machine, _ = lone()
    assert sent(machine) == ["register"]
    machine.hear({"type": "error", "session_id": "s", "status": 423, "until": "1970-01-01T00:20:00.000Z"}, 0.0, wall=0.0)
    machine.tick(1199.0)
    assert sent(machine) == []
    machine.want(1, 1199.0)  # a flush does not knock before the time
    assert sent(machine) == []
    machine.tick(1200.0)
    assert sent(machine) == ["register"]


def test_who_is_locked_out_for_good_asks_every_five_minutes():
    machine, _ = lone()
    for again in range(3):
        assert sent(machine) == ["register"]
        machine.hear({"type": "error", "session_id": "s", "status": 423, "until": None}, 300.0 * again, wall=0.0)
        machine.tick(300.0 * again + 299)
        assert sent(machine) == []
        machine.tick(300.0 * again + 300)


def test_after_a_close_with_4423_it_waits_as_long():
    machine, _ = lone()
    sent(machine)
    machine.closed(1.0, 4423)
    assert machine.connect_at() == 301.0
    machine, _ = lone()
    machine.hear({"type": "error", "session_id": "s", "status": 423, "until": "1970-01-01T00:00:10Z"}, 0.0, wall=0.0)
    machine.closed(1.0, 4423)
    assert machine.connect_at() == 10.0, "the error frame has said until when"


def test_heartbeats_come_in_time_where_there_is_no_websocket():
    machine, _ = lone()
    machine.closed(0.0)
    machine.opened(True, 0.0)
    machine.hear({"type": "registered", "session_id": "s", "resumed": False}, 0.0, 0.0)
    sent(machine)
    for beat in range(1, 4):
        machine.tick(30.0 * beat - 0.1)
        assert sent(machine) == []
        machine.tick(30.0 * beat)
        assert sent(machine) == ["heartbeat"]


def test_a_goodbye_that_the_connection_swallows_is_said_twice_and_no_more():
    machine, app = lone()
    app.leaving = True
    machine.tell(1, app.report(), 0.0)
    for again in range(FAREWELLS):
        machine.hear({"type": "registered", "session_id": "s", "session_token": "t"}, 0.0, 0.0)
        assert sent(machine) == ["register", "bye"]
        assert machine.handles() == [1]
        machine.closed(0.0)
        if again + 1 < FAREWELLS:
            machine.opened(False, 0.0)
    assert machine.handles() == []


def test_an_answer_to_a_warning_outlives_a_broken_connection_and_a_lock_is_told():
    machine, app = lone()
    machine.hear({"type": "registered", "session_id": "s", "session_token": "t", "heartbeat_interval": 30, "resumed": False}, 0.0, 0.0)
    machine.closed(1.0)
    app.version += 1
    machine.tell(1, app.report({"type": "stay"}), 1.0)
    machine.take_effects()
    machine.opened(False, 2.0)
    machine.hear({"type": "error", "session_id": "s", "status": 423, "reason": "audit", "until": "1970-01-01T00:00:09.000Z"}, 2.0, 2.0)
    told = [effect.value for effect in machine.take_effects() if effect.what == "locked"]
    assert [(lock.reason, lock.until) for lock in told] == [("audit", "1970-01-01T00:00:09.000Z")]
    machine.tick(12.0)
    machine.hear({"type": "registered", "session_id": "s", "session_token": "t", "heartbeat_interval": 30, "resumed": True}, 12.0, 12.0)
    assert [effect.value["type"] for effect in machine.take_effects() if effect.what == "send"] == ["register", "stay"]
