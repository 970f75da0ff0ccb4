"""One session from its beginning to its end, as the threads of the app and the engine's thread share it."""

from __future__ import annotations

import threading
from typing import Any, Callable, Optional

from . import callbacks
from .callbacks import Callbacks
from .engine import Engine
from .hosts.base import Host
from .presence import Presence, Report
from .values import End, Kill, Lock, Message, log


class Session:
    """What a tracker shows at a time. A tracker of a process gets another one after a kill."""

    def __init__(self, engine: Optional[Engine], host: Host, presence: Presence, calls: Callbacks) -> None:
        self.host, self.presence = host, presence
        self._engine, self._callbacks = engine, calls
        self._lock = threading.RLock()  # reentrant: a signal handler may come in between
        self._terminating = False
        self._app_name = str(presence.fields["app_name"])
        self._first_id = self.session_id = host.session_id(self._app_name, 0)
        self.leaving = False  # it says goodbye
        self.ended = False  # killed, and the page is gone: the acknowledgement is due
        self.dormant = False  # in a child of `fork` that has not used it yet
        self.kill: Optional[Kill] = None
        self.over: Optional[End] = None
        # The engine's thread writes these.
        self.handle = 0
        self.settled = 0
        self.live = False
        self.through = False

    # For the app's threads

    @property
    def version(self) -> int:
        """Grows with everything that the monitor is to see."""
        return self.presence.version

    @property
    def connected(self) -> bool:
        """Whether the monitor knows this session right now."""
        return self.live and self._engine is not None and self._engine.up

    def start(self) -> None:
        """Show it from now on."""
        if self._engine is not None and not self.leaving:
            self._engine.attach(self)

    def wake(self) -> None:
        """Something has changed."""
        if self.handle and self._engine is not None:
            self._engine.touch(self)
        elif self.dormant:
            self.dormant = False
            self.start()

    def stay(self) -> None:
        """The user stays: what a rule has warned of is called off."""
        self.presence.stay()
        self.wake()

    def flush(self, timeout: float) -> bool:
        """Wait until the monitor has seen it all."""
        return self._engine is not None and self._engine.settle([self], timeout)

    def end(self, cause: str, inline: bool = False) -> None:
        """End it for another cause than a kill: run the callbacks, and say goodbye."""
        with self._lock:
            if self.over is not None:
                return
            self.over = end = End(cause)
            self.leaving = True
        calls = self._callbacks.at_end(end) if self.handle else []
        self.presence.touch()
        self.wake()
        if inline:
            callbacks.run(self.host, calls)
        elif calls:
            callbacks.run_beside(lambda: callbacks.run(self.host, calls))

    # For the engine's thread

    def report(self) -> Report:
        """How it stands; asked once for each change."""
        return self.presence.take(self.leaving, self.ended)

    def identify(self, attempt: int) -> str:
        """Its id, and another one for each further attempt."""
        return self._first_id if attempt == 0 else self.host.session_id(self._app_name, attempt)

    def kill_arrived(self, kill: Kill, later: Callable[[float, Callable[[], None]], None]) -> None:
        """Run the callbacks, then end the session; callbacks that hang have the grace and no more."""
        log.info("session %s of %s is ended by an administrator: %s", self.session_id, self._app_name,
                 kill.reason or "no reason given")
        with self._lock:
            self.kill, known = kill, self.over
            if known is None:
                self.over = End("killed", kill)
        calls = [] if self.over is None or known is not None else self._callbacks.at_end(self.over)
        if not calls:
            self._terminate()
            return

        def run() -> None:
            callbacks.run(self.host, calls, kill.grace_ms / 1000)
            self._terminate()

        callbacks.run_beside(run)
        later(kill.grace_ms / 1000, self._terminate)

    def message_arrived(self, message: Message) -> None:
        """Show it; it counts as delivered only once somebody could see it."""

        def shown() -> None:
            self.presence.acknowledge(message.message_id)
            self.wake()

        def show(done: Callable[[], None]) -> None:
            if message.ends_at is None:
                self.host.show(message, done)
            else:
                self.host.warn(message, done, self.stay)

        def run() -> None:
            callbacks.run(self.host, calls)
            show(lambda: None)
            shown()

        calls: Any = [(entry, message) for entry in list(self._callbacks.message)]
        if calls:
            callbacks.run_beside(run)
        else:
            show(shown)

    def locked_out(self, lock: Lock) -> None:
        """Tell the app that the session cannot be shown for a while."""
        calls: Any = [(entry, lock) for entry in list(self._callbacks.locked)]
        if calls:
            callbacks.run_beside(lambda: callbacks.run(self.host, calls))

    def _terminate(self) -> None:
        with self._lock:
            if self._terminating:
                return
            self._terminating = True
        try:
            self.host.terminate(self._terminated)
        except Exception:
            log.exception("the session's page could not be closed")
            self._terminated()

    def _terminated(self) -> None:
        """The session has ended here; the acknowledgement tells the monitor."""
        self.ended = True
        self.wake()
