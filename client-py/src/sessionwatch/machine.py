"""The state machine of all sessions of one monitor. Pure: no I/O, no clock, no threads.

The engine's thread owns it: it puts in what happened (a report of a session, a frame, a connection opened or lost, the
time), and takes out the effects. Two promises of every transport make the one way of confirmation: each `register` is
answered by `registered`, `kill` or `error`, after everything that was sent before it; each `bye` and `kill_ack` is answered
by `left`. So a version is confirmed by the answer to a `register` that was sent after it.
"""

from __future__ import annotations

import datetime
import heapq
import itertools
import logging
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import refusal
from .entry import ASKED, DONE, LEFT, LIVE, NEW, Effect, Entry
from .presence import Report
from .settings import REFUSED_RETRY
from .values import Frame, Kill, Lock, Message, kill_from, message_from

FAREWELLS = 2  # how often a goodbye is said at most, when the connection breaks before it is confirmed
IDENTITIES = 5  # how many other ids are tried, where one turns out to be somebody else's
ASK_AGAIN = 1.0  # seconds until a confirmation that somebody waits for is asked for once more


class Machine:
    """All sessions of one monitor."""

    def __init__(self, jitter: Callable[[float, float], float]) -> None:
        self._jitter = jitter
        self._entries: Dict[int, Entry] = {}
        self._by_id: Dict[str, Entry] = {}
        self._timers: List[Tuple[float, int, Entry]] = []
        self._count = itertools.count()
        self._effects: List[Effect] = []
        self._beats = False
        self.is_open = False
        self.failing = False

    # What the engine asks

    def take_effects(self) -> List[Effect]:
        """What is to be done now, in order."""
        effects, self._effects = self._effects, []
        return effects

    def handles(self) -> List[int]:
        """The sessions that are not through."""
        return list(self._entries)

    def is_live(self, handle: int) -> bool:
        """Whether the monitor knows the session, over the present connection."""
        entry = self._entries.get(handle)
        return entry is not None and entry.stage == LIVE and self.is_open

    def next_due(self) -> Optional[float]:
        """When `tick` has something to do."""
        return self._timers[0][0] if self._timers else None

    def connect_at(self) -> Optional[float]:
        """From when on a connection is of use, None for never."""
        return min((entry.retry_at for entry in self._entries.values()), default=None)

    # What happened

    def add(self, handle: int, identify: Callable[[int], str], report: Report, now: float) -> None:
        """A session begins; `identify` gives its id, and another one for each further number."""
        entry = Entry(handle, identify, identify(0), report)
        while entry.session_id in self._by_id and self._next_identity(entry):
            pass  # the page's former session has not said goodbye yet
        self._entries[handle] = self._by_id[entry.session_id] = entry
        self._advance(entry, now)

    def tell(self, handle: int, report: Report, now: float) -> None:
        """A session says how it stands."""
        if (entry := self._entries.get(handle)) is None:
            return
        entry.report = report
        entry.pending.extend(report.changes)
        self._advance(entry, now)

    def want(self, handle: int, now: float) -> None:
        """Somebody waits until the monitor has seen the session as it stands. What was refused is tried again."""
        if (entry := self._entries.get(handle)) is None:
            return
        entry.wanted = entry.report.version
        if entry.settled >= entry.wanted and entry.stage == LIVE:
            return
        entry.ask_at = 0.0
        if entry.given_up:
            entry.given_up, entry.retry_at = False, 0.0
        self._advance(entry, now)

    def opened(self, beats: bool, now: float) -> None:
        """A connection is there. Where it `beats`, sessions send heartbeats."""
        self.is_open, self.failing, self._beats = True, False, beats
        for entry in list(self._entries.values()):
            self._advance(entry, now)

    def closed(self, now: float, code: Optional[int] = None) -> None:
        """The connection is lost, or could not be made."""
        self.is_open, self.failing = False, True
        self._timers.clear()
        for entry in list(self._entries.values()):
            entry.timer_at = None
            if entry.stage == LEFT and entry.farewells >= FAREWELLS:
                self._done(entry)
                continue
            if code == 4423 and entry.retry_at <= now:
                entry.retry_at = now + REFUSED_RETRY
            elif entry.stage != NEW:
                entry.retry_at = 0.0
            entry.stage = NEW
            entry.asked.clear()
            self._advance(entry, now)

    def tick(self, now: float) -> None:
        """Do what is due by now."""
        while self._timers and self._timers[0][0] <= now:
            entry = heapq.heappop(self._timers)[2]
            entry.timer_at = None
            self._advance(entry, now)

    def hear(self, frame: Frame, now: float, wall: float) -> None:
        """A frame came in; `wall` is the time of day, for what names one."""
        kind, entry = frame.get("type"), self._by_id.get(str(frame.get("session_id")))
        if entry is None:
            return
        if kind == "registered":
            self._registered(entry, frame, now)
        elif kind == "kill":
            self._killed(entry, kill_from(frame), now)
        elif kind == "message":
            self._effect("message", entry, message_from(frame))
        elif kind == "left" and entry.stage == LEFT:
            self._done(entry)
        elif kind == "error":
            self._refused(entry, frame, now, wall)

    # How a session goes on

    def _advance(self, entry: Entry, now: float) -> None:
        """Say what is due for one session. Asked again, it does nothing more."""
        if entry.stage == DONE:
            return
        if entry.stage == NEW:
            never_known = entry.token is None
            if never_known and (entry.kill is not None or (entry.report.leaving and self.failing)):
                self._done(entry)  # there is nobody to say goodbye to
            elif self.is_open and entry.retry_at > now:
                self._timer(entry.retry_at, entry)
            elif self.is_open:
                entry.stage = ASKED
                self._register(entry, now)
        elif entry.stage == LIVE:
            self._speak(entry, now)

    def _speak(self, entry: Entry, now: float) -> None:
        while entry.pending:
            self._send(entry, refusal.without_refused(entry.pending.popleft(), entry.refused))
        if entry.report.ended and entry.kill is not None:
            self._leave(entry, {"type": "kill_ack", "kill_id": entry.kill.kill_id})
        elif entry.report.leaving:
            self._leave(entry, {"type": "bye", "persisted": False})
        else:
            if entry.wanted > entry.settled:
                if entry.ask_at <= now:
                    self._register(entry, now)
                self._timer(entry.ask_at, entry)
            if self._beats:
                if entry.beat_at <= now:
                    entry.beat_at = now + float(entry.report.registration["heartbeat_interval"])
                    state = {name: entry.report.registration.get(name) for name in ("status", "current_task", "visibility")}
                    beat = {name: value for name, value in state.items() if value is not None or name == "current_task"}
                    self._send(entry, refusal.without_refused({"type": "heartbeat", **beat}, entry.refused))
                self._timer(entry.beat_at, entry)

    def _register(self, entry: Entry, now: float) -> None:
        """Tell all that is true now; the changes that waited to be sent are part of it."""
        answers = [change for change in entry.pending if change["type"] in ("message_ack", "stay")]
        entry.pending.clear()
        entry.pending.extend(answers)
        entry.asked.append(entry.report.version)
        entry.ask_at = now + ASK_AGAIN
        frame = refusal.without_refused(entry.report.registration, entry.refused)
        frame["idle_seconds"] = entry.report.idle_seconds(now)
        if entry.token:
            frame["session_token"] = entry.token
        frame = {name: value for name, value in frame.items() if value is not None}
        self._send(entry, {"type": "register", "shared": True, **frame})

    def _leave(self, entry: Entry, goodbye: Frame) -> None:
        entry.stage, entry.farewells = LEFT, entry.farewells + 1
        self._send(entry, goodbye)

    def _registered(self, entry: Entry, frame: Frame, now: float) -> None:
        entry.token = frame.get("session_token") or entry.token
        if entry.asked:
            entry.settled = max(entry.settled, entry.asked.popleft())
            self._effect("settled", entry, entry.settled)
        if entry.stage in (NEW, ASKED):
            entry.stage = LIVE
            # A session that was there already may have been asked to end while nobody listened.
            entry.beat_at = now if frame.get("resumed") else now + float(entry.report.registration["heartbeat_interval"])
            self._effect("up", entry)
        if entry.stage == LIVE:
            self._speak(entry, now)

    def _killed(self, entry: Entry, kill: Kill, now: float) -> None:
        if entry.stage in (NEW, ASKED):
            entry.stage = LIVE
            if entry.asked:
                entry.asked.popleft()  # this was the answer
        if entry.kill is None:
            entry.kill = kill
            self._effect("kill", entry, kill)
        elif entry.stage == LIVE:
            self._speak(entry, now)

    def _refused(self, entry: Entry, frame: Frame, now: float, wall: float) -> None:
        """The monitor says no. It costs a field at most, never the session."""
        status, detail = int(frame.get("status") or 0), str(frame.get("detail") or "")
        if entry.stage == LEFT:  # the session has ended here, so the answer makes no difference
            self._done(entry)
        elif status in (401, 421):  # said to the client, not to the session
            self._effect("refused", entry, detail)
        elif status == 410:  # ended by an administrator while we were away: there is nothing left to acknowledge
            if entry.kill is None:
                entry.kill = Kill(frame.get("kill_id"), frame.get("reason"), frame.get("by"))
                self._effect("kill", entry, entry.kill)
            self._done(entry)
        elif status == 423:
            self._log(entry, logging.WARNING, "is locked out: %s", frame.get("reason") or detail)
            self._effect("locked", entry, Lock(frame.get("reason"), frame.get("until")))
            until = _seconds_until(frame, wall)
            self._retry(entry, now, REFUSED_RETRY if until is None else until + self._jitter(0.0, 1.0))
        elif status in (404, 429, 503):
            self._retry(entry, now, self._jitter(1.0, 3.0))
        elif status == 403 and entry.stage == LIVE:
            self._log(entry, logging.WARNING, "was refused a change: %s", detail)
        elif (status == 403 or "app_name must stay" in detail) and self._next_identity(entry):  # it is somebody else's id
            self._by_id[entry.session_id] = entry
            entry.token = None
            self._retry(entry, now, 0.0)
        elif entry.stage == LIVE:
            # Which of its frames was refused is not said. The present state, told as a whole, gets an answer of its own,
            # once those to the frames before have had the time to come.
            self._retry(entry, now, ASK_AGAIN)
        elif entry.stage == NEW:
            return
        elif status != 403 and (name := refusal.field_to_drop(detail, entry.report.registration, entry.refused)) is not None:
            self._log(entry, logging.WARNING, f"goes on without its {name}: %s", detail)
            self._retry(entry, now, 0.0)
        else:
            self._log(entry, logging.ERROR, "is refused and tried again in some minutes: %s", detail)
            entry.given_up = True
            self._retry(entry, now, REFUSED_RETRY)

    def _retry(self, entry: Entry, now: float, seconds: float) -> None:
        if entry.stage == ASKED and entry.asked:
            entry.asked.popleft()  # the refusal was its answer; in any other stage it may have been another frame's
        entry.stage, entry.retry_at = NEW, now + max(0.0, seconds)
        self._advance(entry, now)

    def _next_identity(self, entry: Entry) -> bool:
        if entry.identity >= IDENTITIES:
            return False
        if self._by_id.get(entry.session_id) is entry:
            del self._by_id[entry.session_id]
        entry.identity += 1
        entry.session_id = entry.identify(entry.identity)
        self._effect("renamed", entry, entry.session_id)
        return entry.session_id not in self._by_id

    def _done(self, entry: Entry) -> None:
        seen = entry.report.version if entry.stage == LEFT or entry.kill is not None else entry.settled
        entry.stage = DONE
        self._entries.pop(entry.handle, None)
        if self._by_id.get(entry.session_id) is entry:
            del self._by_id[entry.session_id]
        self._effect("done", entry, seen)

    # Small helpers

    def _send(self, entry: Entry, frame: Frame) -> None:
        self._effect("send", entry, {**frame, "session_id": entry.session_id})

    def _effect(self, what: str, entry: Entry, value: Any = None) -> None:
        self._effects.append(Effect(what, entry.handle, value))

    def _log(self, entry: Entry, level: int, text: str, detail: str) -> None:
        self._effect("log", entry, (level, f"session {entry.session_id} {text}", detail))

    def _timer(self, at: float, entry: Entry) -> None:
        if entry.timer_at is None or at < entry.timer_at:
            entry.timer_at = at
            heapq.heappush(self._timers, (at, next(self._count), entry))


def _seconds_until(frame: Frame, wall: float) -> Optional[float]:
    """How long a lock lasts, where the monitor says so."""
    try:
        return max(0.0, datetime.datetime.fromisoformat(str(frame.get("until")).replace("Z", "+00:00")).timestamp() - wall)
    except ValueError:
        return None
