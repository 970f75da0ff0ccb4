"""The Python client of sessionwatch: one module, to be copied or installed.

    from session_client import SessionClient

    tracker = SessionClient.get_tracker(app_name="my_app")
    with tracker.task("Generating Report"):
        ...

Nothing here waits for the monitor on the caller's thread. Each process has one daemon thread and one WebSocket a
monitor, both started at the first use; all its sessions share them, and where a WebSocket is refused they beat over
HTTP. A monitor that is away, slow or silent never hurts the app: when it comes back, every session registers by
itself with the status it has by then.

In a Panel or Bokeh app a tracker belongs to the page's Bokeh session and a kill closes that page for good. Streamlit,
Shiny and Starlette are in `session_adapters.py`, to be copied beside this file. Everywhere else there is one tracker a
process, app and monitor, and a kill runs the callbacks of `on_kill`.

The file reads from the outside in: `SessionClient` is what an app sees, `_Link` is the thread that talks to a
monitor, `_WebSocket` and `_Http` are its two ways to talk, `Host` and `BokehHost` are where a session lives.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import collections
import contextlib
import contextvars
import hashlib
import heapq
import html
import http.client
import inspect
import itertools
import json
import logging
import os
import random
import re
import selectors
import socket
import ssl
import sys
import threading
import time
import uuid
import weakref
from dataclasses import dataclass, field
from typing import Any, Callable
from urllib.parse import quote, urlsplit

try:  # Without the package the client still works: it beats over HTTP.
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidHandshake, InvalidMessage
    from websockets.frames import Opcode
    from websockets.protocol import State
    from websockets.uri import parse_uri
except ImportError:  # pragma: no cover
    ClientProtocol = None  # type: ignore[assignment,misc]

__all__ = ["Kill", "Message", "SessionClient"]
__version__ = "0.1.0"

log = logging.getLogger("sessionwatch")

#: What a terminated page reads as the reason of close code 1001.
KILL_REASON = "Session terminated by administrator"

# Seconds. The server pings every 20 s, so a quiet socket is suspicious after 25 and dead after 35.
CONNECT_TIMEOUT, QUIET, SILENCE = 5.0, 25.0, 35.0
BACKOFF_FIRST, BACKOFF_MOST = 0.2, 15.0
LINGER = 5.0  # how long thread and socket outlive the last session
WEBSOCKET_RETRY = 300.0  # how long the HTTP fallback lasts before the WebSocket is tried again
FAREWELLS = 2  # how often a goodbye is said at most, when the connection breaks before it is confirmed
EXIT_PATIENCE = 1.5  # what the end of the process may wait for the last words
PAGE_FAREWELL = 0.5  # between the closing of a page's sockets and the end of its session on the server

RESERVED_STATUSES = frozenset({"stale", "killed", "expired", "ended"})
VISIBILITIES = frozenset({"visible", "hidden", "frozen", "suspended"})
CHANGES_KEPT = 64  # status changes waiting to be sent; beyond these only the newest matter


@dataclass(frozen=True)
class Kill:
    """An administrator's request to end the session; a callback of `on_kill` that takes an argument gets it."""

    kill_id: str | None = None
    reason: str | None = None
    by: str | None = None
    grace_ms: int = 2000


@dataclass(frozen=True)
class Message:
    """A message of the administrator to the user of the session; it ends nothing."""

    message_id: str
    text: str
    level: str = "info"
    by: str | None = None


class SessionClient:
    """One session as the monitor shows it. Made by `get_tracker`; every method is quick and may be called from any thread."""

    def __init__(self, link: _Link, host: Host, key: tuple, fields: dict[str, Any]) -> None:
        self._link, self._host, self._key, self._fields = link, host, key, fields
        self._lock = threading.RLock()
        self._frames = [_Frame()]
        self._changes: collections.deque[dict] = collections.deque(maxlen=CHANGES_KEPT)
        self._version = 1  # grows with every change; `flush` waits until the monitor has seen it
        self._settled = 0
        self._on_kill: list[tuple[Callable, contextvars.Context]] = []
        self._on_message: list[tuple[Callable, contextvars.Context]] = []
        self._kill: Kill | None = None
        self._terminating = False
        self._identity = 0
        self._session_id = host.session_id(fields["app_name"], 0)
        self._wire = _Wire()

    # What an app asks for

    @classmethod
    def get_tracker(
        cls,
        app_name: str,
        user_id: str | None = None,
        server_url: str = "http://localhost:8000",
        heartbeat_interval: float = 30,
        *,
        token: str | None = None,
        meta: dict[str, str | int | float | bool] | None = None,
    ) -> SessionClient:
        """The tracker of the present session, made at the first call; it returns at once and does no I/O.

        The same page gets the same tracker, in plain Python there is one a process. `user_id` defaults to the
        framework's signed-in user. `heartbeat_interval` is in seconds and matters only without a WebSocket. `token` is
        the monitor's ingest token, by default that of the environment variable `SESSIONWATCH_TOKEN`. `meta` holds up to
        32 tags of text, number or bool.

        Raises `ValueError` for an empty `app_name`, a `server_url` that is not http(s), or an unusable `meta`.
        """
        if not app_name:
            raise ValueError("app_name must not be empty")
        url = _clean_url(server_url)
        token = token or os.environ.get("SESSIONWATCH_TOKEN") or None
        while _registry.forgotten:
            _registry.forgotten.popleft().stop()
        host = _present_host()
        key = (url, token, str(app_name), host.key)
        with _registry.lock:
            tracker = _registry.trackers.get(key)
            if tracker is None:
                user = user_id if user_id is not None else host.user()
                fields = {
                    "app_name": str(app_name)[:256],
                    "user_id": None if user is None else str(user)[:256],
                    "heartbeat_interval": max(1.0, float(heartbeat_interval)),
                    "meta": _checked_meta(meta or {}),
                    "client": f"python/{__version__}",
                }
                tracker = cls(_registry.link(url, token), host, key, fields)
                _registry.trackers[key] = tracker
                new = True
            else:
                new = False
        if new:
            host.adopt(tracker)
        return tracker

    @property
    def session_id(self) -> str:
        """The id under which the monitor shows this session."""
        return self._session_id

    @property
    def connected(self) -> bool:
        """Whether the monitor knows this session right now."""
        return self._wire.stage == _LIVE and self._link.up

    @property
    def killed(self) -> bool:
        """Whether an administrator has ended this session."""
        return self._kill is not None

    def task(self, name: str, status: str = "running") -> _Task:
        """A context manager, plain or async: while it lasts the session shows `name`. Tasks nest as a stack."""
        return _Task(self, str(name)[:256], self._checked_status(status) or "running")

    def set_status(self, status: str, task: str | None = None) -> None:
        """Show `status` (a lower-case word such as `idle` or `running`) and `task` from now on.

        Within a `task` it lasts until that task ends. A word that the monitor reserves is logged and left out.
        """
        status = self._checked_status(status)  # type: ignore[assignment]
        if status is None:
            return
        with self._lock:
            self._frames[-1].show(status, None if task is None else str(task)[:256])
            self._changed()

    def set_meta(self, meta: dict[str, str | int | float | bool]) -> None:
        """Replace the session's tags. Raises `ValueError` for more than 32, or values that are not text, number or bool."""
        with self._lock:
            self._fields["meta"] = _checked_meta(meta)
            self._changed(meta=self._fields["meta"])

    def set_visibility(self, visibility: str) -> None:
        """Declare whether the user can see the page: `visible`, `hidden`, `frozen` or `suspended`; else `ValueError`."""
        if visibility not in VISIBILITIES:
            raise ValueError(f"visibility is one of {', '.join(sorted(VISIBILITIES))}, not {visibility!r}")
        with self._lock:
            if self._fields.get("visibility") != visibility:
                self._fields["visibility"] = visibility
                self._version += 1
                self._changes.append({"type": "visibility", "visibility": visibility})
        self._wake()

    def on_kill(self, callback: Callable) -> Callable:
        """Call `callback`, once, when an administrator ends this session; before a page is closed.

        It may take no argument or one, a `Kill`, and may be async. It runs beside the app, not on its event loop
        (an async one does), so it can stop work that blocks that loop. What it raises is logged. All callbacks together
        have the grace of the kill (2 s), then the page is closed all the same. Fit for use as a decorator.
        """
        entry = (callback, contextvars.copy_context())
        with self._lock:
            late = self._kill
            if late is None:
                self._on_kill.append(entry)
        if late is not None:
            _start_thread(self._run_callbacks, [entry], late)
        return callback

    def on_message(self, callback: Callable) -> Callable:
        """Call `callback` with each `Message` of an administrator. A Panel app with notifications on shows them anyway."""
        with self._lock:
            self._on_message.append((callback, contextvars.copy_context()))
        return callback

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until the monitor has seen all that was said; False when it has not."""
        return self._link.settle([self], timeout)

    def stop(self) -> None:
        """End this session: the monitor drops it at once. The next `get_tracker` makes a new one."""
        with _registry.lock:
            if _registry.trackers.get(self._key) is self:
                del _registry.trackers[self._key]
        with self._lock:
            if self._kill is not None or self._wire.leaving:
                return
            self._wire.leaving = True
            self._version += 1
        self._wake()

    # What tasks, hosts and the link ask for

    def _start(self) -> None:
        """Let the monitor know of this session; the host calls it once there is somebody to be seen."""
        if not self._wire.leaving:
            self._link.attach(self)

    def _changed(self, **extra: Any) -> None:
        top = self._frames[-1]
        self._version += 1
        self._changes.append({"type": "status", "status": top.status, "current_task": top.task, **extra})
        self._wake()

    def _wake(self) -> None:
        if self._wire.attached:
            self._link.touch(self)
        elif self._wire.after_fork:  # a child of fork is a session of its own, from its first use on
            self._wire.after_fork = False
            self._start()

    def _checked_status(self, status: str) -> str | None:
        word = re.sub(r"[^a-z0-9_-]", "-", str(status).strip().lower())[:32]
        if word in RESERVED_STATUSES or not re.match(r"[a-z]", word):
            log.warning("status %r is not one that a session may report; the present one stays", status)
            return None
        return word

    def _registration(self) -> dict[str, Any]:
        """All that is true now. The changes that waited to be sent are part of it, so they are forgotten."""
        with self._lock:
            answers = [change for change in self._changes if change["type"] == "message_ack"]
            self._changes.clear()
            self._changes.extend(answers)
            self._wire.sent = self._version
            top = self._frames[-1]
            frame = {**self._fields, "session_id": self._session_id, "status": top.status, "current_task": top.task}
            if self._wire.session_token:
                frame["session_token"] = self._wire.session_token
        return {name: value for name, value in frame.items() if value is not None}

    def _take_changes(self) -> list[dict]:
        with self._lock:
            changes = list(self._changes)
            self._changes.clear()
            self._wire.sent = self._version
        return changes

    def _renew_identity(self) -> bool:
        """Another id, where ours turned out to be someone else's; False when that went on for too long."""
        self._identity += 1
        self._session_id = self._host.session_id(self._fields["app_name"], self._identity)
        self._wire.session_token = None
        return self._identity <= 5

    def _kill_arrived(self, kill: Kill) -> None:
        """On the link's thread: run the callbacks, then end the session. Asked again, only acknowledge again."""
        with self._lock:
            known, self._kill = self._kill, self._kill or kill
            callbacks = list(self._on_kill)
        if known is not None:
            if self._wire.ended:
                self._link.touch(self)
            return
        log.info("session %s of %s is ended by an administrator: %s", self._session_id, self._fields["app_name"],
                 kill.reason or "no reason given")
        if not callbacks:
            self._terminate()
            return
        _start_thread(self._run_callbacks, callbacks, kill)
        self._link.call_later(kill.grace_ms / 1000, self._terminate)

    def _run_callbacks(self, callbacks: list[tuple[Callable, contextvars.Context]], kill: Kill) -> None:
        for callback, context in callbacks:
            try:
                arguments = (kill,) if _takes_argument(callback) else ()
                result = context.run(self._host.call, callback, *arguments)
                if inspect.isawaitable(result):
                    self._host.wait_for(result, kill.grace_ms / 1000)
            except BaseException:  # a sys.exit() in a callback must not keep the page open either
                log.exception("a callback of on_kill failed; the session ends all the same")
        self._terminate()

    def _terminate(self) -> None:
        with self._lock:
            if self._terminating:
                return
            self._terminating = True
        try:
            self._host.terminate(self._terminated)
        except Exception:
            log.exception("the session's page could not be closed")
            self._terminated()

    def _terminated(self) -> None:
        """The session has ended here; the acknowledgement tells the monitor."""
        self._wire.ended = True
        self._link.touch(self)

    def _message_arrived(self, message: Message) -> None:
        """On the link's thread: show it; it counts as delivered only once somebody could see it."""
        def shown() -> None:
            with self._lock:
                self._changes.append({"type": "message_ack", "message_id": message.message_id})
            self._wake()

        with self._lock:
            callbacks = list(self._on_message)
        if callbacks:
            _start_thread(self._run_message_callbacks, callbacks, message, shown)
        else:
            self._host.show(message, shown)

    def _run_message_callbacks(self, callbacks: list, message: Message, shown: Callable[[], None]) -> None:
        for callback, context in callbacks:
            try:
                result = context.run(self._host.call, callback, message)
                if inspect.isawaitable(result):
                    self._host.wait_for(result, 10)
            except Exception:
                log.exception("a callback of on_message failed")
        self._host.show(message, lambda: None)
        shown()

    def _reborn(self) -> None:
        """In a child of `fork`: another process is another session, and the parent's locks may be held for ever."""
        self._lock = threading.RLock()
        plain = type(self._host) is Host
        self._wire = _Wire(after_fork=plain)
        self._session_id = self._host.session_id(self._fields["app_name"], 0)
        self._link = _registry.link(self._link.url, self._link.token)


@dataclass(eq=False)
class _Frame:
    """What a session shows: at the bottom of its stack, or while one task is the newest that runs."""

    status: str = "idle"
    task: str | None = None

    def show(self, status: str, task: str | None) -> None:
        self.status, self.task = status, task


class _Task:
    """A task; each time it is entered it stands on the session's stack, and it may leave that in any order."""

    def __init__(self, tracker: SessionClient, name: str, status: str) -> None:
        self._tracker, self._name, self._status = tracker, name, status
        self._entered: list[_Frame] = []

    def __enter__(self) -> SessionClient:
        tracker, frame = self._tracker, _Frame(self._status, self._name)
        with tracker._lock:
            self._entered.append(frame)
            tracker._frames.append(frame)
            tracker._changed()
        return tracker

    def __exit__(self, *_: object) -> None:
        tracker = self._tracker
        with tracker._lock:
            frame = self._entered.pop()
            tracker._frames = [other for other in tracker._frames if other is not frame]
            tracker._changed()

    async def __aenter__(self) -> SessionClient:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


# How far a session has come with the monitor: to be registered on this connection, asked for, known, its goodbye said
# but not yet confirmed, and through.
_NEW, _ASKED, _LIVE, _LEFT, _DONE = "new", "asked", "live", "left", "done"


@dataclass
class _Wire:
    """What the link keeps of a session. `leaving` and `ended` only ever become true."""

    stage: str = _NEW
    attached: bool = False
    session_token: str | None = None
    leaving: bool = False  # the app said stop
    ended: bool = False  # killed, and the page is gone: the acknowledgement is due
    after_fork: bool = False
    farewells: int = 0
    sent: int = 0
    asked: collections.deque[int] = field(default_factory=collections.deque)  # versions that a `registered` will confirm
    retry_at: float = 0.0
    beat_at: float = 0.0


class _Link:
    """The one thread, and the one connection, that a process has to a monitor."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = url, token
        self.up = False
        self._changed = threading.Condition()  # reentrant: a signal handler may come in between
        self._trackers: dict[str, SessionClient] = {}
        self._dirty: set[SessionClient] = set()
        self._flushing: set[SessionClient] = set()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._refused = False
        self._socket: socket.socket | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    # From any thread

    def attach(self, tracker: SessionClient) -> None:
        with self._changed:
            if tracker._wire.attached:
                return
            tracker._wire.attached = True
            while tracker.session_id in self._trackers and tracker._renew_identity():
                pass  # the page's former tracker has not said goodbye yet
            self._trackers[tracker.session_id] = tracker
            self._dirty.add(tracker)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sessionwatch", daemon=True)
                self._thread.start()
        self._wake()

    def touch(self, tracker: SessionClient) -> None:
        """Something is to be said for this session."""
        with self._changed:
            if tracker._wire.stage != _DONE:
                self._dirty.add(tracker)
        self._wake()

    def settle(self, trackers: list[SessionClient], timeout: float, hopeful: bool = False) -> bool:
        """Wait until the monitor has seen all of `trackers`; with `hopeful`, only as long as it has not failed to answer."""
        wanted = [(tracker, tracker._version) for tracker in trackers]
        if not any(tracker._wire.attached for tracker in trackers):
            return False  # nobody is to be seen yet: a page that has not opened, a child of fork that has done nothing

        def seen() -> bool:
            said_goodbye = all(t._wire.stage == _DONE for t in trackers if t._wire.leaving)
            return said_goodbye and all(tracker._settled >= version for tracker, version in wanted)

        def hopeless() -> bool:
            return self._refused or (hopeful and self._failures > 0) or all(t._wire.stage == _DONE for t in trackers)

        with self._changed:
            self._flushing.update(trackers)
            self._dirty.update(tracker for tracker in trackers if tracker._wire.attached)
        self._wake()
        with self._changed:
            self._changed.wait_for(lambda: seen() or hopeless(), timeout)
            return seen()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: then it is awake anyway
            self._wake_out.send(b"\0")

    # On the link's own thread from here on

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), callback))

    def _run(self) -> None:
        while not self._retire():
            try:
                self._converse()
                self._failures = 0
            except _Refused as refusal:
                self._refuse(refusal)
            except (_Away, OSError) as error:
                self._failures += 1
                level = logging.WARNING if self._failures == 1 else logging.DEBUG
                log.log(level, "the monitor at %s is away (%s); the app goes on, its sessions return with it", self.url, error)
            except Exception:  # whatever it is, it must not end the thread that all sessions share
                self._failures += 1
                log.exception("the connection to the monitor at %s failed", self.url)
            finally:
                self._connection_lost()
            self._pause()

    def _converse(self) -> None:
        """Talk until the connection ends: over a WebSocket or, where that is refused, over HTTP."""
        try:
            wire = _WebSocket(self.url, self.token)
        except _NoWebSocket as refusal:
            log.info("no WebSocket to the monitor at %s (%s): its sessions beat over HTTP", self.url, refusal)
            self._all_dirty()
            _HttpTalk(self, _Http(self.url, self.token)).run()
        else:
            self._socket = wire.socket
            self._all_dirty()
            try:
                _SocketTalk(self, wire).run()
            finally:
                self._socket = None
                wire.drop()

    def reached(self) -> None:
        """The monitor has answered a session."""
        if self._failures:
            log.info("the monitor at %s is there again", self.url)
        self.up, self._failures = True, 0

    def _connection_lost(self) -> None:
        with self._changed:
            self.up = False
            for tracker in list(self._trackers.values()):
                state = tracker._wire
                if state.stage == _LEFT and state.farewells >= FAREWELLS:
                    del self._trackers[tracker.session_id]
                    state.stage = _DONE
                    continue
                state.stage, state.retry_at = _NEW, 0.0
                state.asked.clear()
            self._changed.notify_all()

    def _all_dirty(self) -> None:
        with self._changed:
            self._dirty.update(self._trackers.values())

    def _pause(self) -> None:
        """Between two tries: longer each time, and never in step with the other clients of a restarted monitor."""
        most = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(self._failures, 10))
        until = time.monotonic() + most * random.uniform(0.5, 1.0)
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_in, selectors.EVENT_READ)
            while (left := until - time.monotonic()) > 0 and self._trackers:
                self.wait(selector, left)
                for tracker in self.take_dirty():
                    if tracker._wire.leaving and tracker._wire.session_token is None:
                        self.drop(tracker)  # the monitor never heard of it

    def wait(self, selector: selectors.BaseSelector, timeout: float) -> bool:
        """Sleep until the socket has something, a session was touched or a timer is due; true in the first case."""
        if self._timers:
            timeout = min(timeout, self._timers[0][0] - time.monotonic())
        readable = {key.fileobj for key, _ in selector.select(max(0.0, timeout))}
        if self._wake_in in readable:
            with contextlib.suppress(BlockingIOError):
                while self._wake_in.recv(4096):
                    pass
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        return bool(readable - {self._wake_in})

    def wake_socket(self) -> socket.socket:
        return self._wake_in

    def take_dirty(self) -> list[SessionClient]:
        with self._changed:
            dirty = list(self._dirty)
            self._dirty.clear()
        return dirty

    def trackers(self) -> list[SessionClient]:
        with self._changed:
            return list(self._trackers.values())

    def find(self, session_id: str | None) -> SessionClient | None:
        return self._trackers.get(session_id or "")

    def rename(self, tracker: SessionClient) -> bool:
        with self._changed:
            self._trackers.pop(tracker.session_id, None)
            usable = tracker._renew_identity()
            self._trackers[tracker.session_id] = tracker
        return usable

    def drop(self, tracker: SessionClient) -> None:
        """The monitor and this session have nothing more to say to each other."""
        with self._changed:
            if self._trackers.get(tracker.session_id) is tracker:
                del self._trackers[tracker.session_id]
            self._dirty.discard(tracker)
            tracker._wire.stage = _DONE
            if tracker._wire.leaving or tracker._wire.ended:
                tracker._settled = tracker._version
            self._changed.notify_all()

    def flushing(self, spoken: list[SessionClient]) -> list[tuple[SessionClient, int]]:
        """Those of `spoken` for which somebody waits, with how far they have been told."""
        with self._changed:
            waited = [(t, t._wire.sent) for t in spoken if t in self._flushing and t._wire.stage in (_LIVE, _DONE)]
            self._flushing.difference_update(t for t, _ in waited)
        return waited

    def settled(self, seen: list[tuple[SessionClient, int]]) -> None:
        with self._changed:
            for tracker, version in seen:
                tracker._settled = max(tracker._settled, version)
            self._changed.notify_all()

    def _refuse(self, refusal: _Refused) -> None:
        log.error("the monitor at %s refuses this client: %s. Its sessions are not shown until the app restarts.",
                  self.url, refusal)
        with self._changed:
            self._refused = True
            for tracker in self._trackers.values():
                tracker._wire.stage = _DONE
            self._trackers.clear()
            self._changed.notify_all()

    def _retire(self) -> bool:
        """End the thread when nobody is there to be shown; `attach` starts another."""
        with self._changed:
            if self._trackers and not self._refused:
                return False
            self._thread = None
            return True

    def abandon(self) -> None:
        """In a child of `fork`: let go of what is the parent's, without a word on the parent's connection."""
        for inherited in (self._socket, self._wake_in, self._wake_out):
            if inherited is not None:
                with contextlib.suppress(OSError):
                    os.close(inherited.detach())


class _Away(Exception):
    """The monitor cannot be reached now; it will be tried again."""


class _Refused(Exception):
    """The monitor does not want this client; trying again would not help."""


class _NoWebSocket(Exception):
    """Something answers, but not with a WebSocket."""


class _SocketTalk:
    """All sessions of a link on one WebSocket."""

    def __init__(self, link: _Link, wire: _WebSocket) -> None:
        self.link, self.wire = link, wire
        self.farewells: dict[bytes, list[SessionClient]] = {}
        self.alone_since: float | None = None

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.link.wake_socket(), selectors.EVENT_READ)
            selector.register(self.wire.socket, selectors.EVENT_READ)
            while self._speak():
                if self.link.wait(selector, LINGER):
                    for message in self.wire.receive():
                        self._hear(message)
                    for payload in self.wire.take_pongs():
                        for tracker in self.farewells.pop(payload, []):
                            self.link.drop(tracker)
                self.wire.check_alive()

    def _speak(self) -> bool:
        """Say what is due; false when nobody has been there for a while."""
        spoken = self.link.take_dirty()
        for tracker in spoken:
            self._speak_for(tracker)
        self._ask_for_confirmation(spoken)
        if self.link.trackers():
            self.alone_since = None
        elif self.alone_since is None:
            self.alone_since = time.monotonic()
        elif time.monotonic() - self.alone_since > LINGER:
            self.wire.close()
            return False
        return True

    def _ask_for_confirmation(self, spoken: list[SessionClient]) -> None:
        """Have the server say that it is through with what was sent.

        Its answers to `register` come in the order of the changes before them, and one that changes nothing is nothing to
        it. After a goodbye there is no session to ask about, but the pong says that it was received.
        """
        for tracker, _ in self.link.flushing(spoken):
            if tracker._wire.stage == _LIVE:
                self._register(tracker)
        if left := [tracker for tracker in spoken if tracker._wire.stage == _LEFT]:
            marker = os.urandom(8).hex().encode()
            self.farewells[marker] = left
            self.wire.ping(marker)

    def _register(self, tracker: SessionClient) -> None:
        frame = tracker._registration()
        tracker._wire.asked.append(tracker._wire.sent)
        self.wire.send({"type": "register", "shared": True, **frame})

    def _speak_for(self, tracker: SessionClient) -> None:
        state, now = tracker._wire, time.monotonic()
        if state.stage == _NEW:
            if tracker.killed and state.session_token is None:
                self.link.drop(tracker)
            elif now < state.retry_at:
                self.link.call_later(state.retry_at - now, lambda: self.link.touch(tracker))
            else:
                state.stage = _ASKED
                self._register(tracker)
        elif state.stage == _LIVE:
            for change in tracker._take_changes():
                self.wire.send({**change, "session_id": tracker.session_id})
            if state.ended and tracker._kill is not None:
                self.wire.send({"type": "kill_ack", "session_id": tracker.session_id, "kill_id": tracker._kill.kill_id})
                state.stage, state.farewells = _LEFT, state.farewells + 1
            elif state.leaving:
                self.wire.send({"type": "bye", "session_id": tracker.session_id, "persisted": False})
                state.stage, state.farewells = _LEFT, state.farewells + 1

    def _hear(self, message: dict) -> None:
        kind, tracker = message.get("type"), self.link.find(message.get("session_id"))
        if tracker is None:
            if kind == "error":
                log.debug("the monitor refused a frame of a session that is no more: %s", message.get("detail"))
            return
        state = tracker._wire
        if kind == "registered":
            state.stage, state.session_token = _LIVE, message.get("session_token") or state.session_token
            self.link.reached()
            if state.asked:
                self.link.settled([(tracker, state.asked.popleft())])
            self.link.touch(tracker)
        elif kind == "kill":
            state.stage = _LIVE
            tracker._kill_arrived(_kill_from(message))
        elif kind == "message":
            tracker._message_arrived(_message_from(message))
        elif kind == "error":
            _answer_refusal(self.link, tracker, int(message.get("status") or 0), str(message.get("detail") or ""))


class _HttpTalk:
    """All sessions of a link over plain HTTP: changes at once, beats at each session's interval."""

    def __init__(self, link: _Link, http_client: _Http) -> None:
        self.link, self.http = link, http_client

    def run(self) -> None:
        until = time.monotonic() + WEBSOCKET_RETRY
        with selectors.DefaultSelector() as selector, contextlib.closing(self.http):
            selector.register(self.link.wake_socket(), selectors.EVENT_READ)
            while self.link.trackers() and time.monotonic() < until:
                now = time.monotonic()
                due = set(self.link.take_dirty()) | {t for t in self.link.trackers() if t._wire.beat_at <= now}
                spoken = [tracker for tracker in due if self._speak_for(tracker)]
                self.link.settled(self.link.flushing(spoken))
                waits = [t._wire.beat_at - time.monotonic() for t in self.link.trackers()]
                self.link.wait(selector, min([*waits, 60.0]))

    def _speak_for(self, tracker: SessionClient) -> bool:
        state, now = tracker._wire, time.monotonic()
        if state.stage == _NEW:
            if tracker.killed and state.session_token is None:
                self.link.drop(tracker)
                return True
            if now < state.retry_at:
                state.beat_at = state.retry_at
                return False
            body = tracker._registration()
            body.pop("session_id")
            status, answer = self.http.ask("PUT", tracker.session_id, "", body, None)
            if status not in (200, 201):
                return self._refused(tracker, status, answer)
            self.link.reached()
            state.stage = _LIVE
            state.session_token = answer.get("session_token") or state.session_token
            state.beat_at = 0.0 if status == 200 else now + tracker._fields["heartbeat_interval"]
        if state.stage != _LIVE:
            return False
        for change in tracker._take_changes():
            kind = change.pop("type")
            if kind == "status":
                status, answer = self.http.ask("PUT", tracker.session_id, "/status", change, state.session_token)
                if status != 200:
                    return self._refused(tracker, status, answer)
            elif kind == "visibility":
                state.beat_at = 0.0  # a beat carries it
        if state.leaving or state.ended:
            self.http.ask("POST", tracker.session_id, "/end", {}, state.session_token)
            self.link.drop(tracker)
        elif now >= state.beat_at:
            return self._beat(tracker)
        return True

    def _beat(self, tracker: SessionClient) -> bool:
        state = tracker._wire
        body = tracker._registration()
        body = {name: body[name] for name in ("status", "current_task", "visibility") if name in body}
        status, answer = self.http.ask("POST", tracker.session_id, "/heartbeat", body, state.session_token)
        if status != 200:
            return self._refused(tracker, status, answer)
        state.beat_at = time.monotonic() + tracker._fields["heartbeat_interval"]
        if answer.get("kill_requested"):
            tracker._kill_arrived(_kill_from(answer))
        return True

    def _refused(self, tracker: SessionClient, status: int, answer: dict) -> bool:
        tracker._wire.beat_at = time.monotonic() + tracker._fields["heartbeat_interval"]
        _answer_refusal(self.link, tracker, status, str(answer.get("detail") or answer.get("title") or status))
        return False


def _answer_refusal(link: _Link, tracker: SessionClient, status: int, detail: str) -> None:
    """What to do when the monitor says no to one session, whichever way it says so."""
    state = tracker._wire
    if state.stage == _LEFT:  # it has ended here, so the answer makes no difference
        link.drop(tracker)
        return
    if status in (401, 421):  # said to the client, not to the session
        raise _Refused(detail)
    if status == 410:  # ended by an administrator while we were away: nothing is left to acknowledge
        tracker._kill_arrived(Kill(reason=detail or None))
        link.drop(tracker)
    elif status == 403 and state.stage in (_NEW, _ASKED) and link.rename(tracker):
        state.stage, state.retry_at = _NEW, 0.0
        link.touch(tracker)
    elif status in (404, 429, 503):
        state.stage, state.retry_at = _NEW, time.monotonic() + random.uniform(1.0, 3.0)
        link.touch(tracker)
    elif state.stage == _LIVE:
        log.warning("the monitor refused a change of session %s: %s", tracker.session_id, detail)
    else:
        log.error("the monitor refuses session %s of %s: %s", tracker.session_id, tracker._fields["app_name"], detail)
        link.drop(tracker)


class _WebSocket:
    """A client connection over the websockets package's protocol object, read by whoever owns it.

    The package's own sync client keeps a reader and a keepalive thread for each connection; on this one a process with
    any number of sessions has a single thread.
    """

    def __init__(self, url: str, token: str | None) -> None:
        """Connect and shake hands. Raises `_NoWebSocket` when refused, `OSError` or `_Away` when out of reach."""
        if ClientProtocol is None:
            raise _NoWebSocket("the package 'websockets' is not installed")
        address = parse_uri("ws" + url[len("http"):] + "/ws/client")
        self.socket = _connect(address.host, address.port, address.secure)
        offered = ["sessionwatch.v1"]
        if token:
            offered.append("sessionwatch.auth." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("="))
        self.protocol = ClientProtocol(address, subprotocols=offered, max_size=1 << 20, logger=_quiet)
        self._fragments = b""
        self._inbox: list[dict] = []
        self._pongs: list[bytes] = []
        self._pinged = False
        self.heard = time.monotonic()
        try:
            self.protocol.send_request(self.protocol.connect())
            self._push()
            deadline = time.monotonic() + CONNECT_TIMEOUT
            while self.protocol.state is State.CONNECTING and self.protocol.handshake_exc is None:
                if time.monotonic() > deadline:
                    raise _Away("it does not answer")
                self._pull()
        except BaseException:
            self.drop()
            raise
        if (refusal := self.protocol.handshake_exc) is not None:
            self.drop()
            if isinstance(refusal, InvalidHandshake) and not isinstance(refusal, InvalidMessage):
                raise _NoWebSocket(str(refusal))
            raise _Away(str(refusal) or "the connection ended during the handshake")

    def send(self, frame: dict) -> None:
        self.protocol.send_text(json.dumps(frame, separators=(",", ":")).encode())
        self._push()

    def ping(self, payload: bytes = b"") -> None:
        self.protocol.send_ping(payload)
        self._push()

    def receive(self) -> list[dict]:
        """The frames that have come in. Raises `_Away` or `_Refused` when the connection is closed."""
        self._pull()
        inbox, self._inbox = self._inbox, []
        if not inbox and self.protocol.state is not State.OPEN:
            raise self._closed()
        return inbox

    def take_pongs(self) -> list[bytes]:
        pongs, self._pongs = self._pongs, []
        return pongs

    def check_alive(self) -> None:
        """Ask a quiet server for a sign of life; raise `_Away` when none comes."""
        silence = time.monotonic() - self.heard
        if silence > SILENCE:
            raise _Away("it has fallen silent")
        if silence > QUIET and not self._pinged:
            self._pinged = True
            self.ping()

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.protocol.send_close(1000)
            self._push()

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def _push(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.socket.sendall(data)
            else:
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_WR)

    def _pull(self) -> None:
        more = True
        while more:
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, ssl.SSLWantReadError):
                return
            if data:
                self.protocol.receive_data(data)
                self.heard, self._pinged = time.monotonic(), False
            else:
                self.protocol.receive_eof()
            with contextlib.suppress(OSError):
                self._push()
            for event in self.protocol.events_received():
                self._take(event)
            more = bool(data) and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _take(self, event: Any) -> None:
        opcode = getattr(event, "opcode", None)
        if opcode is Opcode.PONG:
            self._pongs.append(bytes(event.data))
        elif opcode in (Opcode.TEXT, Opcode.CONT):
            self._fragments += bytes(event.data)
            if event.fin:
                text, self._fragments = self._fragments, b""
                with contextlib.suppress(ValueError):
                    message = json.loads(text)
                    if isinstance(message, dict):
                        self._inbox.append(message)

    def _closed(self) -> Exception:
        close = self.protocol.close_rcvd
        if close is not None and close.code in (4401, 4403):
            return _Refused(close.reason or "no or wrong token, or not allowed")
        return _Away(f"it closed the connection, {close.code} {close.reason}" if close else "the connection broke")


class _Http:
    """Requests to a monitor over one kept-alive connection."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_TIMEOUT)
        self._base, self._token = parts.path, token

    def ask(self, method: str, session_id: str, verb: str, body: dict, session_token: str | None) -> tuple[int, dict]:
        """Status and JSON of the answer, `{}` where there is none. Raises `_Away` when nobody answers."""
        if session_token:
            body = {**body, "session_token": session_token}
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        path = f"{self._base}/sessions/{quote(session_id, safe='')}{verb}"
        for attempt in (1, 2):  # a kept-alive connection may have been closed meanwhile
            try:
                self._connection.request(method, path, json.dumps(body), headers)
                response = self._connection.getresponse()
                data = response.read()
                break
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise _Away(f"{error}") from error
        if response.status in (502, 503, 504):
            raise _Away(f"HTTP {response.status}")
        try:
            answer = json.loads(data)
        except ValueError:
            answer = {}
        return response.status, answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        self._connection.close()


class Host:
    """Where a session lives. This one is a plain process: it has no page to close and nowhere to show a message."""

    key: tuple = ("process",)

    def user(self) -> str | None:
        """Who is signed in, where the framework knows."""
        return None

    def session_id(self, app_name: str, attempt: int) -> str:
        return str(uuid.uuid4())

    def adopt(self, tracker: SessionClient) -> None:
        """Start the tracker when there is somebody to be seen, and stop it when they have gone."""
        tracker._start()

    def call(self, callback: Callable, *arguments: Any) -> Any:
        """Run a callback as if the session's own code called it."""
        return callback(*arguments)

    def wait_for(self, awaitable: Any, timeout: float) -> None:
        """Wait, on the callbacks' thread, for what an async callback returned."""
        async def bounded() -> None:
            await asyncio.wait_for(awaitable, timeout)
        asyncio.run(bounded())

    def terminate(self, done: Callable[[], None]) -> None:
        """End the user's session, then call `done`, from any thread. Called on no particular thread; must not block."""
        done()

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        """Show a message to the user and then call `shown`; not at all where that cannot be."""


class _Nowhere(Host):
    """A script that runs for nobody, such as a warm start: its tracker is never shown."""

    def __init__(self, document: Any) -> None:
        self.key = ("nowhere", id(document))
        self._document = weakref.ref(document)

    def adopt(self, tracker: SessionClient) -> None:
        weakref.finalize(self._document(), _registry.forgotten.append, tracker).atexit = False


class LoopHost(Host):
    """A session that lives on an asyncio event loop; the base of the hosts that have a page."""

    def __init__(self, key: tuple, loop: asyncio.AbstractEventLoop) -> None:
        self.key, self.loop = key, loop
        self._tasks: set[asyncio.Task] = set()

    async def end(self) -> None:
        """End the session, on its loop."""
        raise NotImplementedError

    def wait_for(self, awaitable: Any, timeout: float) -> None:
        async def bounded() -> None:
            await awaitable
        asyncio.run_coroutine_threadsafe(bounded(), self.loop).result(timeout)

    def terminate(self, done: Callable[[], None]) -> None:
        async def end() -> None:
            try:
                await self.end()
            except Exception:
                log.exception("the session's page could not be closed")
            finally:
                done()

        def start() -> None:
            task = self.loop.create_task(end())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.loop.call_soon_threadsafe(start)  # raises when the loop is closed: then the page is gone already


class BokehHost(LoopHost):
    """A Bokeh session, hence a Panel page. Bokeh's own names with an underscore are used where it offers nothing public."""

    _of_document: weakref.WeakKeyDictionary[Any, Host] = weakref.WeakKeyDictionary()

    def __init__(self, document: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(("bokeh", id(document)), loop)
        self._document = weakref.ref(document)
        self._bokeh_id = str(document.session_context.id)

    @classmethod
    def current(cls) -> Host | None:
        """The session whose code is running, None outside of any."""
        if "bokeh.document" not in sys.modules:
            return None
        from bokeh.io import curdoc
        panel_state = getattr(sys.modules.get("panel.io.state"), "state", None)
        document = panel_state._curdoc.get() if panel_state is not None else None
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if document is None and running is not None:
            document = curdoc()
        document = getattr(document, "_doc", document)  # out of Bokeh's proxy for unlocked callbacks
        if document in cls._of_document:  # also when the session has ended since, so that its code makes no new one
            return cls._of_document[document]
        # In a thread of the app's own, curdoc() is whichever page happens to run on the loop: nothing to go by. It does
        # tell that Panel's liveness check tries a script out for no page at all.
        launching = getattr(panel_state, "_launching", ())
        for tried in (document, curdoc()) if launching else ():
            if tried in launching and tried.session_context is None:
                return cls._of_document.setdefault(tried, _Nowhere(tried))
        context = getattr(document, "session_context", None)
        if context is None:
            return None
        application = getattr(context.server_context, "application_context", None)
        if application is None:  # `--warm` and `--autoreload` try the script out before there is a server
            return cls._of_document.setdefault(document, _Nowhere(document))
        io_loop = getattr(application, "io_loop", None)
        loop = getattr(io_loop, "asyncio_loop", None) or running
        if loop is None or running not in (None, loop):
            return None
        cls._of_document[document] = host = cls(document, loop)
        return host

    @classmethod
    def known(cls) -> bool:
        """Whether this process serves pages."""
        return len(cls._of_document) > 0

    def user(self) -> str | None:
        if panel := sys.modules.get("panel"):
            with contextlib.suppress(Exception):
                return panel.state.user
        return None

    def session_id(self, app_name: str, attempt: int) -> str:
        """A digest: whoever has the Bokeh id can open the session, so it stays here.

        The same page has the same id in every process of `--num-procs`, so a page that was ended in one of them is
        known as ended when it comes back through another.
        """
        seed = f"{app_name}\0{self._bokeh_id}\0{attempt}"
        return str(uuid.UUID(hashlib.sha256(seed.encode()).hexdigest()[:32]))

    def adopt(self, tracker: SessionClient) -> None:
        document = self._document()
        if document is None or document.session_context is None:
            return
        document.on_session_destroyed(lambda session_context: tracker.stop())
        # A document that was never served is only collected. That may happen anywhere, also where locks are held.
        weakref.finalize(document, _registry.forgotten.append, tracker).atexit = False
        _notice_closed_pages_in_fastapi()
        self.loop.call_soon_threadsafe(self._follow, tracker)  # by then Bokeh has made the session of a running script

    def _follow(self, tracker: SessionClient) -> None:
        """Start the tracker with the page's first WebSocket; when the last one closes it shows as suspended.

        A script also runs where nobody looks: for requests without a browser, for warm starts, and in the process of
        `--num-procs` that the WebSocket did not reach. Only a page that opened is a session. Bokeh keeps one whose page
        has closed for a while, and it may come back.
        """
        session = getattr(getattr(self._document(), "session_context", None), "session", None)
        if session is None:
            return
        subscribe, unsubscribe = session.subscribe, session.unsubscribe

        def page_came(connection: Any) -> None:
            subscribe(connection)
            tracker.set_visibility("visible")
            tracker._start()

        def page_went(connection: Any) -> None:
            unsubscribe(connection)
            if session.connection_count == 0 and not tracker.killed:
                tracker.set_visibility("suspended")

        session.subscribe, session.unsubscribe = page_came, page_went
        if session.connection_count > 0:
            tracker._start()

    def call(self, callback: Callable, *arguments: Any) -> Any:
        panel_state, document = sys.modules.get("panel.io.state"), self._document()
        if panel_state is None or document is None:
            return callback(*arguments)
        with panel_state.set_curdoc(document):
            return callback(*arguments)

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        document, panel = self._document(), sys.modules.get("panel")
        if document is None or panel is None:
            return

        def notify() -> None:
            area = panel.state.notifications
            if area is not None:
                open_toast = area.warning if message.level == "warning" else area.info
                open_toast(html.escape(message.text), duration=0)
                shown()

        document.add_next_tick_callback(notify)

    async def end(self) -> None:
        """Close every WebSocket of the page, keep it from coming back, and take its session off the Bokeh server.

        None of it waits for the document's lock, which an async handler may hold for long.
        """
        document = self._document()
        context = getattr(document, "session_context", None)
        session = getattr(context, "session", None)
        if document is None or session is None or session.destroyed:
            return
        _Revival.forbid(self._bokeh_id)
        connections = list(session._subscribed_connections)
        for connection in connections:
            await self._stop_reconnecting(document, connection)
        for connection in connections:
            closing = connection._socket.close(1001, KILL_REASON) if hasattr(connection._socket, "close") \
                else connection._socket._socket.close(1001, KILL_REASON)
            if inspect.isawaitable(closing):
                await closing
        await asyncio.sleep(PAGE_FAREWELL)
        await self._destroy(context, session)

    @staticmethod
    async def _stop_reconnecting(document: Any, connection: Any) -> None:
        """Tell the page, past the lock, that there is no use in trying again; one that does is turned away all the same."""
        try:
            from bokeh.document.events import ModelChangedEvent
            patch = ModelChangedEvent(document, document.config, "reconnect_session", False)
            sending = connection._socket.send_message(connection.protocol.create("PATCH-DOC", [patch]))
            await asyncio.wait_for(sending, 0.05)
        except Exception as error:
            log.debug("the page could not be told to stay closed: %r", error)

    @staticmethod
    async def _destroy(context: Any, session: Any) -> None:
        application_context = context.server_context.application_context
        for connection in list(session._subscribed_connections):
            connection._socket.application.client_lost(connection)
            connection._socket.connection = None  # its on_close would look for the session that is gone
        if application_context is None or session.destroyed:
            return
        application_context._sessions.pop(session.id, None)
        application_context._session_contexts.pop(session.id, None)
        session.destroy()
        await application_context.application.on_session_destroyed(context)


class _Revival:
    """Turns away pages that were ended: BokehJS comes back by itself, with a token that would start the app anew."""

    MOST = 10_000
    _ended: collections.OrderedDict[str, None] = collections.OrderedDict()
    _guarded: set[type] = set()

    @classmethod
    def forbid(cls, bokeh_id: str) -> None:
        cls._ended[bokeh_id] = None
        while len(cls._ended) > cls.MOST:
            cls._ended.popitem(last=False)
        for name in ("bokeh.server.views.ws", "bokeh_fastapi.handler"):
            handler = getattr(sys.modules.get(name), "WSHandler", None)
            if handler is not None and handler not in cls._guarded:
                cls._guarded.add(handler)
                cls._guard(handler)

    @classmethod
    def _guard(cls, handler: Any) -> None:
        from bokeh.util.token import get_session_id
        original = handler._async_open

        async def _async_open(self: Any, *arguments: Any) -> Any:
            if get_session_id(arguments[-1]) not in cls._ended:
                return await original(self, *arguments)
            closing = self.close(1001, KILL_REASON) if hasattr(self, "close") else self._socket.close(1001, KILL_REASON)
            if inspect.isawaitable(closing):
                await closing
            return None

        handler._async_open = _async_open


def _notice_closed_pages_in_fastapi() -> None:
    """bokeh_fastapi forgets to tell Bokeh that a page's WebSocket closed, so its sessions would live for ever."""
    handler: Any = getattr(sys.modules.get("bokeh_fastapi.handler"), "WSHandler", None)
    if handler is None or hasattr(handler, "_sessionwatch_receive_loop"):
        return
    handler._sessionwatch_receive_loop = handler._receive_loop

    async def _receive_loop(self: Any) -> None:
        try:
            await self._sessionwatch_receive_loop()
        finally:
            if self.connection is not None and self.connection in self.application._clients:
                self.application.client_lost(self.connection)

    handler._receive_loop = _receive_loop


class _Registry:
    """The trackers and links of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.trackers: dict[tuple, SessionClient] = {}
        self.forgotten: collections.deque[SessionClient] = collections.deque()
        self.links: dict[tuple, _Link] = {}

    def link(self, url: str, token: str | None) -> _Link:
        with self.lock:
            if (url, token) not in self.links:
                self.links[url, token] = _Link(url, token)
            return self.links[url, token]

    def after_fork(self) -> None:
        self.lock = threading.RLock()
        inherited, self.links = list(self.links.values()), {}
        for link in inherited:
            link.abandon()
        for tracker in list(self.trackers.values()):
            tracker._reborn()

    def at_exit(self) -> None:
        """Say goodbye for all sessions, within a bound: a monitor that cannot be reached delays nothing."""
        deadline = time.monotonic() + EXIT_PATIENCE
        for link in list(self.links.values()):
            trackers = link.trackers()
            for tracker in trackers:
                tracker.stop()
            if trackers:
                link.settle(trackers, max(0.0, deadline - time.monotonic()), hopeful=True)


_registry = _Registry()
_quiet = logging.getLogger("sessionwatch.websocket")
_quiet.setLevel(logging.CRITICAL)
atexit.register(_registry.at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_registry.after_fork)


def _present_host() -> Host:
    """Where the calling code runs: a page of a known framework, or a plain process."""
    if (host := BokehHost.current()) is not None:
        return host
    if not sys.modules.keys().isdisjoint(("session_adapters", "shiny", "streamlit")):
        with contextlib.suppress(ImportError):
            import session_adapters
            if (host := session_adapters.current_host()) is not None:
                return host
    if BokehHost.known() and threading.current_thread() is not threading.main_thread():
        log.warning("get_tracker was called in a thread of which nobody knows the page, so this is the process's tracker; "
                    "get the tracker in the page's own code and hand it to the thread")
    return Host()


def _connect(host: str, port: int, secure: bool) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if secure:
        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    return connection


def _clean_url(server_url: str) -> str:
    parts = urlsplit(str(server_url).rstrip("/"))
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"server_url must be like http://localhost:8000, not {server_url!r}")
    return f"{scheme}://{parts.netloc}{parts.path}"


def _checked_meta(meta: dict[str, Any]) -> dict[str, Any]:
    if len(meta) > 32 or not all(isinstance(value, (str, int, float, bool)) for value in meta.values()):
        raise ValueError("meta holds at most 32 tags, each text, a number or a bool")
    if len(json.dumps(meta).encode()) > 4096:
        raise ValueError("meta must not exceed 4 KiB")
    return {str(name): value for name, value in meta.items()}


def _kill_from(message: dict) -> Kill:
    grace = int(message.get("grace_ms") or 0) or Kill.grace_ms  # none is left where the kill was over already
    return Kill(message.get("kill_id"), message.get("reason"), message.get("by"), grace)


def _message_from(message: dict) -> Message:
    return Message(str(message.get("message_id")), str(message.get("text") or ""), message.get("level") or "info",
                   message.get("by"))


def _takes_argument(callback: Callable) -> bool:
    """Whether a callback wants the `Kill`: it has a positional parameter without a default."""
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _start_thread(target: Callable, *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, name="sessionwatch-callbacks", daemon=True).start()
