"""The trackers and engines of this process, and what becomes of them at a fork and at its end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, Optional, Tuple

from . import belonging, forked, hosts, settings
from .engine import Engine

if TYPE_CHECKING:
    from .client import SessionClient

Key = Tuple[Any, ...]


class Registry:
    """What `get_tracker` finds again."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.trackers: Dict[Key, SessionClient] = {}
        self.engines: Dict[Tuple[str, Optional[str]], Engine] = {}
        # Trackers whose page was collected. That may happen anywhere, also where locks are held, so it is only noted.
        self.forgotten: Deque[SessionClient] = deque()
        self._all: weakref.WeakSet[SessionClient] = weakref.WeakSet()

    def add(self, tracker: SessionClient) -> None:
        """Know of a tracker, so that a fork makes it another session."""
        with self.lock:
            self._all.add(tracker)

    def remove(self, tracker: SessionClient) -> None:
        """The next `get_tracker` makes a new one."""
        with self.lock:
            for key in [key for key, known in self.trackers.items() if known is tracker]:
                del self.trackers[key]

    def sweep(self) -> None:
        """End the trackers whose page was collected."""
        while self.forgotten:
            self.forgotten.popleft().page_ended()

    def engine(self, url: str, token: Optional[str]) -> Engine:
        """The engine for a monitor."""
        with self.lock:
            engine = self.engines.get((url, token))
            if engine is None:
                engine = self.engines[url, token] = Engine(url, token)
            return engine

    def after_fork(self) -> None:
        """In the child: nothing of the parent's is touched."""
        self.lock = threading.RLock()
        belonging.after_fork()
        if hosts.serves_pages:
            hosts.serves_pages = False
            forked.take_own_signals()
        inherited, self.engines = list(self.engines.values()), {}
        for engine in inherited:
            engine.abandon()
        for tracker in list(self._all):
            tracker.reborn()

    def at_exit(self) -> None:
        """Say goodbye for all sessions, within a bound: a monitor that cannot be reached delays nothing."""
        leaving = [(engine, engine.sessions()) for engine in list(self.engines.values())]
        for _, sessions in leaving:
            for session in sessions:
                session.end("exit", inline=True)
        deadline = time.monotonic() + settings.EXIT_PATIENCE
        for engine, sessions in leaving:
            if sessions:
                engine.settle(sessions, max(0.0, deadline - time.monotonic()), hopeful=True)


registry = Registry()
atexit.register(registry.at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=registry.after_fork)
