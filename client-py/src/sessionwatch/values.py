"""The values that callbacks get, and the words that several modules share."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Dict, Optional, Union

__version__ = "0.1.0"

#: The logger of the client.
log = logging.getLogger("sessionwatch")

#: What a terminated page reads as the reason of close code 1001.
KILL_REASON = "Session terminated by administrator"

#: The milliseconds that callbacks have after a kill, unless the monitor names another number.
GRACE_MS = 2000

#: A frame of `/ws/client`, in either direction.
Frame = Dict[str, Any]

#: What a tag of `meta` may be.
Tag = Union[str, int, float, bool]


@dataclass(frozen=True)
class Kill:
    """Why the session ends; a callback of `on_kill` that takes an argument gets it.

    `cause` is `killed` for an administrator's kill. In a page `on_kill` also runs when the page ends otherwise; `cause`
    then is that of the `End`, and the other fields are None.
    """

    kill_id: Optional[str] = None
    reason: Optional[str] = None
    by: Optional[str] = None
    grace_ms: int = GRACE_MS
    cause: str = "killed"


@dataclass(frozen=True)
class End:
    """How a session ended; a callback of `on_end` that takes an argument gets it.

    `cause` is one of:

    - `killed`: an administrator ended it, `kill` tells who and why;
    - `closed`: the page was closed or loaded anew, or its framework forgot it;
    - `exit`: the process ends;
    - `stopped`: the app called `stop()`.
    """

    cause: str
    kill: Optional[Kill] = None


@dataclass(frozen=True)
class Message:
    """A message of the administrator to the user of the session; it ends nothing.

    The warning of a rule also has `rule`, its name, and `ends_at`, when it will end the session (RFC 3339) unless the user
    stays: `SessionClient.stay()`.
    """

    message_id: str
    text: str
    level: str = "info"
    by: Optional[str] = None
    rule: Optional[str] = None
    ends_at: Optional[str] = None


@dataclass(frozen=True)
class Lock:
    """Why the session cannot register now; a callback of `on_locked` that takes an argument gets it.

    `until` is when it tries again by itself (RFC 3339); None where the lock has no end, which is tried every 5 minutes.
    """

    reason: Optional[str] = None
    until: Optional[str] = None


def kill_from(frame: Frame) -> Kill:
    """The kill in a frame or in the answer to a heartbeat."""
    # The grace is 0 where the kill was over already; callbacks still get their time.
    grace = int(frame.get("grace_ms") or 0) or GRACE_MS
    return Kill(frame.get("kill_id"), frame.get("reason"), frame.get("by"), grace)


def message_from(frame: Frame) -> Message:
    """The message in a frame."""
    return Message(
        str(frame.get("message_id")), str(frame.get("text") or ""), frame.get("level") or "info", frame.get("by"),
        frame.get("rule"), frame.get("ends_at"),
    )
