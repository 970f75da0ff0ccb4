"""What the state machine keeps of one session, and what it hands out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, Optional

from .presence import CHANGES_KEPT, Report
from .values import Frame, Kill

# How far a session has come: to be registered on this connection, asked for, known to the monitor, its goodbye said but
# not yet confirmed, and through.
NEW, ASKED, LIVE, LEFT, DONE = "new", "asked", "live", "left", "done"


@dataclass(frozen=True)
class Effect:
    """What the engine is to do: `send` a frame, or tell a session (`kill`, `message`, `settled`, `renamed`, `done`,
    `up`), or `refused` (the monitor wants none of us), or `log`."""

    what: str
    handle: int = 0
    value: Any = None


@dataclass(eq=False)
class Entry:
    """What the machine knows of one session."""

    handle: int
    identify: Callable[[int], str]
    session_id: str
    report: Report
    stage: str = NEW
    identity: int = 0
    token: Optional[str] = None
    kill: Optional[Kill] = None
    pending: Deque[Frame] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    # The versions that answers to `register` will confirm. One whose answer was a refusal may stay in it: then an answer
    # confirms an older version than it could, and never a newer one.
    asked: Deque[int] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    settled: int = 0
    wanted: int = 0  # the version for which somebody waits
    ask_at: float = 0.0
    retry_at: float = 0.0
    beat_at: float = 0.0
    timer_at: Optional[float] = None  # an entry has one timer at most
    given_up: bool = False  # refused for a reason that only a change of the app, or of the monitor, can mend
    farewells: int = 0
    refused: Dict[str, Any] = field(default_factory=dict)  # fields that the monitor took exception to, with their values
