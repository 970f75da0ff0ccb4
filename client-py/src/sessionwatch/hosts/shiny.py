"""A Shiny for Python session."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..values import KILL_REASON, Message
from .base import LoopHost, digest

if TYPE_CHECKING:
    from ..client import SessionClient

LAST_WORD = 0.1  # for the page to be told why it ends

_of_session: weakref.WeakKeyDictionary[Any, ShinyHost] = weakref.WeakKeyDictionary()


def current() -> Optional[ShinyHost]:
    """The session whose code is running, None outside of any."""
    from shiny.session import get_current_session

    session: Any = get_current_session()
    if session is None or session.is_stub_session():
        return None
    root = session.root_scope()
    host = _of_session.get(root)
    if host is None:
        host = _of_session[root] = ShinyHost(root)
    return host


class ShinyHost(LoopHost):
    """One user's session."""

    def __init__(self, session: Any) -> None:
        super().__init__(("shiny", session.id), asyncio.get_running_loop())
        self._secret = str(session.id)
        self._session = weakref.ref(session)
        self._warnings = 0

    def user(self) -> Optional[str]:
        session = self._session()
        return session.user if session is not None else None

    def session_id(self, app_name: str, attempt: int) -> str:
        return digest(app_name, self._secret, attempt)

    def adopt(self, tracker: SessionClient) -> None:
        session = self._session()
        if session is not None:
            session.on_ended(tracker.page_ended)
            tracker.start()

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        def notify() -> None:
            if self._notify(message.text, "warning" if message.level == "warning" else "message"):
                shown()

        self.loop.call_soon_threadsafe(notify)

    def warn(self, message: Message, shown: Callable[[], None], stay: Callable[[], None]) -> None:
        def notify() -> None:
            from shiny import reactive, ui

            session = self._session()
            if session is None:
                return
            effect: Any = reactive.effect(session=session)
            event: Any = reactive.event
            self._warnings += 1
            name = f"sessionwatch_stay_{self._warnings}"

            def answered() -> None:
                ui.notification_remove(name, session=session)
                stay()

            effect(event(session.input[name])(answered))
            self._notify(message.text, "warning", action=ui.input_action_button(name, "Stay"), id=name)
            shown()

        self.loop.call_soon_threadsafe(notify)

    def _notify(self, text: str, kind: Any, **more: Any) -> bool:
        from shiny import ui

        session = self._session()
        if session is not None:
            ui.notification_show(text, duration=None, type=kind, session=session, **more)
        return session is not None

    async def end(self) -> None:
        session = self._session()
        if session is None:
            return
        with contextlib.suppress(Exception):  # it only tells the user why
            self._notify(KILL_REASON, "error")
            await asyncio.sleep(LAST_WORD)
        session.allow_reconnect(False)
        # Shiny's own close() passes no reason on, the WebSocket below does.
        websocket = getattr(session._conn, "conn", None)
        if websocket is not None:
            with contextlib.suppress(RuntimeError):
                await websocket.close(1001, KILL_REASON)
        await session.close(1001)
