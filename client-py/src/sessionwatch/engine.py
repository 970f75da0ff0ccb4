"""The one thread, and the one connection, that a process has to a monitor.

An event loop of its own runs in a daemon thread, from the first session to a while after the last. It owns the state
machine. Other threads only note that a session has something to say, and wake it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Set, Tuple

from . import settings
from .belonging import start_unnoted
from .entry import Effect
from .machine import Machine
from .over_http import Again, HttpTransport
from .transport import Away, NoWebSocket, Refused, Transport
from .values import Frame, log
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from .session import Session


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in its own thread. asyncio's pool of threads would be waited for at the end of the process."""

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0,
                          flags: int = 0) -> List[Tuple[Any, ...]]:
        return list(socket.getaddrinfo(host, port, family, type, proto, flags))


class Engine:
    """All sessions of this process that one monitor shows."""

    def __init__(self, url: str, token: Optional[str]) -> None:
        self.url, self._token = url, token
        self.up = False
        self.failures = 0
        self._refused = False
        self._changed = threading.Condition()  # reentrant: a signal handler may come in between
        self._sessions: Dict[int, Session] = {}
        self._fresh: Set[Session] = set()
        self._dirty: Set[Session] = set()
        self._waited: Set[Session] = set()
        self._numbers = itertools.count(1)
        self.thread: Optional[threading.Thread] = None
        self._loop: Optional[_Loop] = None
        self._woken: Optional[asyncio.Event] = None
        self._machine = Machine(random.uniform)
        self._transport: Optional[Transport] = None

    # From any thread

    def attach(self, session: Session) -> None:
        """Show a session from now on."""
        with self._changed:
            if session.handle:
                return
            session.handle = next(self._numbers)
            self._sessions[session.handle] = session
            self._fresh.add(session)
            if self.thread is None:
                self._loop = _Loop()
                self.thread = threading.Thread(target=self._run, args=(self._loop,), name="sessionwatch", daemon=True)
                start_unnoted(self.thread)
        self._wake()

    def touch(self, session: Session) -> None:
        """Something is to be said for this session."""
        if session not in self._dirty:
            with self._changed:
                if session.handle in self._sessions:
                    self._dirty.add(session)
            self._wake()

    def settle(self, sessions: List[Session], timeout: float, hopeful: bool = False) -> bool:
        """Wait until the monitor has seen all of `sessions`; with `hopeful`, only as long as it has not failed to answer."""
        shown = [session for session in sessions if session.handle]
        if not shown:
            return False  # nobody is to be seen yet: a page that has not opened, a child of fork that has done nothing
        wanted = [(session, session.version) for session in shown]

        def seen() -> bool:
            return all((s.through or not s.leaving) and s.settled >= version for s, version in wanted)

        def hopeless() -> bool:
            if hopeful and (self.failures > 0 or self._refused):
                return True
            return all(session.through for session in shown)

        with self._changed:
            self._waited.update(shown)
            self._dirty.update(session for session in shown if session.handle in self._sessions)
        self._wake()
        with self._changed:
            self._changed.wait_for(lambda: seen() or hopeless(), timeout)
            return seen()

    def sessions(self) -> List[Session]:
        """Those that are shown, or to be shown."""
        with self._changed:
            return list(self._sessions.values())

    def abandon(self) -> None:
        """In a child of `fork`: let go of what is the parent's, without a word on the parent's connection."""
        if self._transport is not None:
            self._transport.abandon()
        _inherited.append(self._loop)  # never collected: to close it would speak to the parent's selector

    def _wake(self) -> None:
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed: nobody is left to be shown
                loop.call_soon_threadsafe(woken.set)

    # On the engine's own thread from here on

    def _run(self, loop: _Loop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._live())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def _live(self) -> None:
        self._woken = asyncio.Event()
        while not self._retire():
            code = None
            pause = 0.0
            try:
                await self._converse()
                self.failures = 0
            except Refused as refusal:
                if not self._refused:
                    log.error("the monitor at %s refuses this client: %s. It is asked again every %.0f minutes, and at each flush().",
                              self.url, refusal, settings.REFUSED_RETRY / 60)
                self._refused, pause = True, settings.REFUSED_RETRY
            except Again:
                pass
            except (Away, OSError, EOFError) as error:
                self.failures += 1
                level = logging.WARNING if self.failures == 1 else logging.DEBUG
                log.log(level, "the monitor at %s is away (%s); the app goes on, its sessions return with it", self.url, error)
                code = getattr(error, "code", None)
            except Exception:  # whatever it is, it must not end the thread that all sessions share
                self.failures += 1
                log.exception("the connection to the monitor at %s failed", self.url)
            self._collect()
            self._machine.closed(time.monotonic(), code)
            self._tell(self._machine.take_effects())
            self._lost()
            if self._machine.handles():
                await self._pause(pause)

    async def _converse(self) -> None:
        """Talk until the connection ends: over a WebSocket or, where that is refused, over HTTP."""
        self._woken_event().clear()
        transport: Transport
        try:
            transport = await WebSocketTransport.open(self.url, self._token, self._hear)
        except NoWebSocket as refusal:
            log.info("no WebSocket to the monitor at %s (%s): its sessions beat over HTTP", self.url, refusal)
            transport = HttpTransport(self.url, self._token, self._hear)
        self._transport = transport
        listening = asyncio.ensure_future(transport.listen())
        listening.add_done_callback(lambda _: self._woken_event().set())
        self._machine.opened(transport.beats, time.monotonic())
        alone_since = None
        try:
            while True:
                self._collect()
                self._machine.tick(time.monotonic())
                await self._perform(transport)
                if listening.done():
                    listening.result()
                if self._machine.handles():
                    alone_since = None
                elif alone_since is None:
                    alone_since = time.monotonic()
                elif time.monotonic() - alone_since >= settings.LINGER:
                    return
                await self._sleep(settings.LINGER if alone_since is not None else 60.0, self._machine.next_due())
        finally:
            self._transport = None
            listening.cancel()
            with contextlib.suppress(BaseException):
                await listening
            await transport.close()

    async def _perform(self, transport: Transport) -> None:
        while effects := self._machine.take_effects():
            effects.reverse()
            try:
                while effects:
                    effect = effects.pop()
                    if effect.what == "send":
                        await transport.send(effect.value)
                    elif effect.what == "refused":
                        raise Refused(str(effect.value))
                    else:
                        self._tell([effect])
            finally:  # what sessions are to be told does not depend on the connection
                self._tell([effect for effect in reversed(effects) if effect.what != "send"])

    def _hear(self, frame: Frame) -> None:
        self._machine.hear(frame, time.monotonic(), time.time())
        self._woken_event().set()

    def _collect(self) -> None:
        """Take over what other threads have noted."""
        with self._changed:
            fresh, self._fresh = self._fresh, set()
            dirty, self._dirty = self._dirty, set()
            waited, self._waited = self._waited, set()
        now = time.monotonic()
        for session in sorted(fresh, key=lambda session: session.handle):
            self._machine.add(session.handle, session.identify, session.report(), now)
        for session in dirty - fresh:
            self._machine.tell(session.handle, session.report(), now)
        for session in waited:
            self._machine.want(session.handle, now)

    def _tell(self, effects: List[Effect]) -> None:
        """Tell sessions what became of them."""
        for effect in effects:
            session = self._sessions.get(effect.handle)
            if session is None:
                continue
            if effect.what == "log":
                level, text, detail = effect.value
                log.log(level, f"the monitor at %s: {text}", self.url, detail)
            elif effect.what == "up":
                self._reached()
                session.live = True
            elif effect.what == "kill":
                session.kill_arrived(effect.value, self._later)
            elif effect.what == "message":
                session.message_arrived(effect.value)
            elif effect.what == "locked":
                session.locked_out(effect.value)
            elif effect.what == "renamed":
                session.session_id = effect.value
            with self._changed:
                if effect.what in ("settled", "done"):
                    session.settled = max(session.settled, effect.value)
                if effect.what == "done":
                    session.live, session.through = False, True
                    self._sessions.pop(effect.handle, None)
                    self._dirty.discard(session)
                self._changed.notify_all()

    def _later(self, seconds: float, callback: Any) -> None:
        if self._loop is not None:
            self._loop.call_later(seconds, callback)

    def _reached(self) -> None:
        if self.failures:
            log.info("the monitor at %s is there again", self.url)
        self.up, self.failures, self._refused = True, 0, False

    def _lost(self) -> None:
        with self._changed:
            self.up = False
            for session in self._sessions.values():
                session.live = False
            self._changed.notify_all()

    async def _pause(self, seconds: float) -> None:
        """Between two tries: longer each time, and never in step with the other clients of a restarted monitor."""
        most = min(settings.BACKOFF_MOST, settings.BACKOFF_FIRST * 2 ** min(self.failures, 10))
        until = time.monotonic() + (seconds or most * random.uniform(0.5, 1.0))
        while self._machine.handles():
            connect_at = max(until, self._machine.connect_at() or 0.0)
            if connect_at <= time.monotonic():
                return
            await self._sleep(60.0, connect_at)
            if seconds and (self._waited or self._fresh):
                return  # refused before; somebody asks for another try
            self._collect()
            self._tell(self._machine.take_effects())

    async def _sleep(self, at_most: float, until: Optional[float]) -> None:
        """Wait until somebody wakes this thread, or time has come."""
        seconds = at_most if until is None else min(at_most, until - time.monotonic())
        woken = self._woken_event()
        if seconds > 0 and not woken.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(woken.wait(), seconds)
        elif seconds <= 0:
            await asyncio.sleep(0)
        woken.clear()

    def _woken_event(self) -> asyncio.Event:
        assert self._woken is not None
        return self._woken

    def _retire(self) -> bool:
        """End the thread when nobody is there to be shown; `attach` starts another."""
        with self._changed:
            if self._sessions:
                return False
            self.thread = self._loop = self._woken = None
            return True


_inherited: List[Any] = []
