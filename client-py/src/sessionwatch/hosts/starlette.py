"""A Starlette or FastAPI WebSocket, a session for as long as its handler runs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import uuid
from typing import TYPE_CHECKING, Any, AsyncIterator, Optional

from ..values import KILL_REASON, log
from .base import LoopHost, digest

if TYPE_CHECKING:
    from ..client import SessionClient


class WebSocketHost(LoopHost):
    """One WebSocket."""

    def __init__(self, websocket: Any) -> None:
        self._secret = uuid.uuid4().hex
        super().__init__(("websocket", self._secret), asyncio.get_running_loop())
        self._websocket = websocket

    def session_id(self, app_name: str, attempt: int) -> str:
        return digest(app_name, self._secret, attempt)

    async def end(self) -> None:
        try:
            await self._websocket.close(1001, KILL_REASON)
        except RuntimeError as error:
            log.debug("the WebSocket was closed already: %s", error)


_present: contextvars.ContextVar[Optional[WebSocketHost]] = contextvars.ContextVar("sessionwatch_websocket", default=None)


def current() -> Optional[WebSocketHost]:
    """The WebSocket in whose `websocket_session` this code runs, None outside of any."""
    return _present.get()


@contextlib.asynccontextmanager
async def websocket_session(websocket: Any, app_name: str, **settings: Any) -> AsyncIterator[SessionClient]:
    """A session for as long as the block lasts; `settings` are those of `SessionClient.get_tracker`.

    Within the block, `get_tracker` with the same settings gives the same tracker. A kill closes `websocket`, so that the
    handler's next receive ends it.
    """
    from ..client import SessionClient

    reset = _present.set(WebSocketHost(websocket))
    try:
        tracker = SessionClient.get_tracker(app_name, **settings)
        try:
            yield tracker
        finally:
            tracker.page_ended()
    finally:
        _present.reset(reset)
