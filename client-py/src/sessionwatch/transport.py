"""What the engine asks of a transport, and how a transport tells that it failed."""

from __future__ import annotations

from typing import Callable, Optional, Protocol

from .values import Frame


#: Takes a frame that came in.
Hear = Callable[[Frame], None]


class Transport(Protocol):
    """One connection to a monitor. It keeps the promises that `machine` names."""

    #: Whether sessions have to send heartbeats over it.
    beats: bool

    async def send(self, frame: Frame) -> None:
        """Send one frame. What is answered comes through `hear`."""

    async def listen(self) -> None:
        """Take what comes in until the connection ends, and raise `Away` or `Refused` then."""

    async def close(self) -> None:
        """End the connection in order. Raises nothing."""

    def abandon(self) -> None:
        """In a child of `fork`: let go of the parent's connection without a word on it."""


class Away(Exception):
    """The monitor cannot be reached now; it will be tried again."""

    def __init__(self, text: str, code: Optional[int] = None) -> None:
        super().__init__(text)
        self.code = code


class Refused(Exception):
    """The monitor does not want this client."""


class NoWebSocket(Exception):
    """Something answers, but not with a WebSocket."""
