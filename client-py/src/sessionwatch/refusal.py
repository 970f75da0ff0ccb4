"""What becomes of a field that the monitor refuses: it is left out for as long as it has the value that was refused."""

from __future__ import annotations

from typing import Any, Dict, Optional

from .values import Frame

# In the order in which they are given up where the refusal names none.
DROPPED = ("meta", "current_task", "status", "user_id", "visibility", "client", "heartbeat_interval")
PLAIN_NAME = "unnamed"  # what the app is called where its name is refused


def field_to_drop(detail: str, registration: Frame, refused: Dict[str, Any]) -> Optional[str]:
    """The field to go on without, noted in `refused`; None where all have been given up already."""
    left = [name for name in (*DROPPED, "app_name") if _is_told(name, registration, refused)]
    named = [name for name in left if name in detail]
    if not left:
        return None
    name = named[0] if named else left[0]
    refused[name] = registration.get(name)
    return name


def _is_told(name: str, registration: Frame, refused: Dict[str, Any]) -> bool:
    value = registration.get(name)
    if value is None or (name in refused and refused[name] == value):
        return False
    return not (name == "status" and value == "idle")


def without_refused(frame: Frame, refused: Dict[str, Any]) -> Frame:
    """A copy of `frame` without the values that were refused."""
    copy = {name: value for name, value in frame.items() if not (name in refused and refused[name] == value)}
    if "app_name" in frame and "app_name" not in copy:
        copy["app_name"] = PLAIN_NAME
    return copy
