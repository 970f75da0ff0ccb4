"""What a session shows: its tasks as a stack, its tags, whether its page can be seen. No I/O; any thread may call it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Deque, Dict, List, Optional, Tuple

from .values import Frame, Tag

CHANGES_KEPT = 64  # changes that wait to be sent; beyond these only the newest matter


@dataclass(frozen=True)
class Report:
    """What is true at `version`, and the changes since the report before."""

    version: int
    registration: Frame
    changes: Tuple[Frame, ...] = ()
    leaving: bool = False
    ended: bool = False
    #: When the user did something last, on the monotonic clock; infinite while the user is active, None where nobody looks.
    last_input: Optional[float] = None

    def idle_seconds(self, now: float) -> Optional[float]:
        """For how long the user has done nothing; 0 while the user is active."""
        return None if self.last_input is None else round(max(0.0, now - self.last_input), 1)


@dataclass(eq=False)
class Shown:
    """What a session shows: at the bottom of its stack, or while one task is the newest that runs."""

    status: str = "idle"
    task: Optional[str] = None


@dataclass(eq=False)
class Presence:
    """The state of a session as its app declares it. `version` grows with every change."""

    fields: Dict[str, Any]
    version: int = 1
    _last_input: Optional[float] = None
    _stack: List[Shown] = field(default_factory=lambda: [Shown()])
    _changes: Deque[Frame] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    _lock: Any = field(default_factory=threading.RLock)  # reentrant: a signal handler may come in between

    def enter(self, status: str, task: Optional[str]) -> Shown:
        """A task begins; give what is returned to `leave`."""
        shown = Shown(status, task)
        with self._lock:
            self._stack.append(shown)
            self._changed()
        return shown

    def leave(self, shown: Shown) -> None:
        """A task ends, in any order."""
        with self._lock:
            self._stack = [other for other in self._stack if other is not shown]
            self._changed()

    def show(self, status: str, task: Optional[str]) -> None:
        """Change what the newest task shows, or the session where there is none."""
        with self._lock:
            self._stack[-1].status, self._stack[-1].task = status, task
            self._changed()

    def set_meta(self, tags: Dict[str, Tag]) -> None:
        """Replace the tags."""
        with self._lock:
            self.fields["meta"] = tags
            self._changed(meta=tags)

    def set_visibility(self, visibility: str) -> bool:
        """Declare the page's visibility; False where it is that already."""
        with self._lock:
            if self.fields.get("visibility") == visibility:
                return False
            self.fields["visibility"] = visibility
            self.version += 1
            self._changes.append({"type": "visibility", "visibility": visibility})
            return True

    def set_idle(self, seconds: float) -> None:
        """The user has done nothing for so many seconds; 0 when the user is active, until it is said otherwise."""
        with self._lock:
            self._last_input = time.monotonic() - seconds if seconds > 0 else math.inf
            self.version += 1
            self._changes.append({"type": "heartbeat", "idle_seconds": round(seconds, 1)})

    def acknowledge(self, message_id: str) -> None:
        """Tell the monitor that a message was shown."""
        with self._lock:
            self.version += 1
            self._changes.append({"type": "message_ack", "message_id": message_id})

    def stay(self) -> None:
        """Tell the monitor that the user stays."""
        with self._lock:
            self.version += 1
            self._changes.append({"type": "stay"})

    def touch(self) -> None:
        """Something outside of what is shown has changed, such as that the session leaves."""
        with self._lock:
            self.version += 1

    def now(self) -> Tuple[str, Optional[str]]:
        """The status and the task of this moment."""
        with self._lock:
            return self._stack[-1].status, self._stack[-1].task

    def take(self, leaving: bool, ended: bool) -> Report:
        """All that is true now, and the changes that no report has told yet."""
        with self._lock:
            top = self._stack[-1]
            frame = {**self.fields, "status": top.status, "current_task": top.task}
            changes = tuple(self._changes)
            self._changes.clear()
            return Report(self.version, frame, changes, leaving, ended, self._last_input)

    def after_fork(self) -> None:
        """In a child of `fork` a thread of the parent may hold the lock for ever."""
        self._lock = threading.RLock()
        self._last_input = None

    def _changed(self, **extra: Any) -> None:
        top = self._stack[-1]
        self.version += 1
        self._changes.append({"type": "status", "status": top.status, "current_task": top.task, **extra})
