"""Shiny, Streamlit and Starlette/FastAPI for `session_client.py`; copy this file beside it.

In Shiny and Streamlit the line is the same as everywhere, each user's session gets its own tracker:

    tracker = SessionClient.get_tracker(app_name="my_app")

A Starlette or FastAPI WebSocket is a session for as long as its handler runs:

    async with websocket_session(websocket, app_name="my_app") as tracker:
        ...

A kill closes the session's WebSocket with 1001 and `Session terminated by administrator`, and keeps it closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import sys
import uuid
import weakref
from collections.abc import AsyncIterator
from typing import Any, Callable

from session_client import KILL_REASON, LoopHost, Message, SessionClient, log

__all__ = ["websocket_session"]


def current_host() -> LoopHost | None:
    """The session whose code is running, None outside of any; `get_tracker` asks this."""
    for find in (_websocket_host.get, ShinyHost.current, StreamlitHost.current):
        if (host := find()) is not None:
            return host
    return None


class _PageHost(LoopHost):
    """A session with an id of its framework's own, which may open it and therefore stays here."""

    def __init__(self, key: tuple[str, str], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(key, loop)
        self._secret = key[1]

    def session_id(self, app_name: str, attempt: int) -> str:
        seed = f"{app_name}\0{self._secret}\0{attempt}"
        return str(uuid.UUID(hashlib.sha256(seed.encode()).hexdigest()[:32]))


class ShinyHost(_PageHost):
    """A Shiny for Python session."""

    def __init__(self, session: Any) -> None:
        super().__init__(("shiny", session.id), asyncio.get_running_loop())
        self._session = session

    @classmethod
    def current(cls) -> ShinyHost | None:
        if "shiny.session" not in sys.modules:
            return None
        from shiny.session import get_current_session
        session = get_current_session()
        if session is None or session.is_stub_session():
            return None
        return cls(session.root_scope())

    def user(self) -> str | None:
        return self._session.user

    def adopt(self, tracker: SessionClient) -> None:
        self._session.on_ended(tracker.stop)
        tracker._start()

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        def notify() -> None:
            from shiny import ui
            kind = "warning" if message.level == "warning" else "message"
            ui.notification_show(message.text, duration=None, type=kind, session=self._session)
            shown()

        self.loop.call_soon_threadsafe(notify)

    async def end(self) -> None:
        self._session.allow_reconnect(False)
        # Shiny's own close() passes no reason on, the WebSocket below does.
        websocket = getattr(self._session._conn, "conn", None)
        if websocket is not None:
            with contextlib.suppress(RuntimeError):
                await websocket.close(1001, KILL_REASON)
        await self._session.close(1001)


class StreamlitHost(_PageHost):
    """A Streamlit session. It keeps its state for some minutes after the page has gone, and shows as suspended then."""

    LOOK_AGAIN = 1.0  # seconds between two looks at whether the page is there
    LAST_WORD = 0.1  # for the page to be told why it ends
    TURNED_AWAY = 5.0  # a page that was ended asks again at once, for as long as it is open
    _ended: set[str] = set()

    def __init__(self, runtime: Any, context: Any) -> None:
        app_session = runtime.get_app_session(context.session_id)
        super().__init__(("streamlit", context.session_id), app_session._event_loop)
        self._runtime, self._context = runtime, context
        self._app_session = weakref.ref(app_session)

    @classmethod
    def current(cls) -> StreamlitHost | None:
        if "streamlit.runtime" not in sys.modules:
            return None
        from streamlit import runtime
        from streamlit.runtime.scriptrunner import get_script_run_ctx
        context = get_script_run_ctx(suppress_warning=True)
        if context is None or not runtime.exists() or runtime.get_instance().get_app_session(context.session_id) is None:
            return None
        return cls(runtime.get_instance(), context)

    def user(self) -> str | None:
        return self._context.user_info.get("email") or None

    def adopt(self, tracker: SessionClient) -> None:
        tracker._start()
        self.loop.call_soon_threadsafe(self._look, tracker)

    def _look(self, tracker: SessionClient) -> None:
        session = self._app_session()
        if session is None or session._state.name == "SHUTDOWN_REQUESTED":
            tracker.stop()
            return
        here = self._runtime.is_active_session(self._secret)
        tracker.set_visibility("visible" if here else "suspended")
        del session
        self.loop.call_later(self.LOOK_AGAIN, self._look, tracker)

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        def write() -> None:
            self._toast(message.text)
            shown()

        self.loop.call_soon_threadsafe(write)

    def _toast(self, text: str) -> None:
        """Show a note on the page. The public `st.toast` reaches it only while the script runs."""
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
        from streamlit.proto.RootContainer_pb2 import RootContainer
        note = ForwardMsg()
        note.metadata.delta_path[:] = [RootContainer.EVENT, 0]
        note.delta.new_element.toast.body = text
        note.delta.new_element.toast.duration = 0  # until it is dismissed
        session = self._app_session()
        if session is not None:
            session._enqueue_forward_msg(note)

    async def end(self) -> None:
        self._keep_out()
        self._toast(KILL_REASON)
        await asyncio.sleep(self.LAST_WORD)
        client = self._runtime.get_client(self._secret)
        self._runtime.close_session(self._secret)
        if client is not None:
            await _close_streamlit(client)

    def _keep_out(self) -> None:
        """The page tries to come back with the session's id, and would be given a new session for it."""
        self._ended.add(self._secret)
        if hasattr(self._runtime, "_sessionwatch_connect"):
            return
        connect = self._runtime._sessionwatch_connect = self._runtime.connect_session

        def connect_session(client: Any, *arguments: Any, existing_session_id: str | None = None, **named: Any) -> str:
            if existing_session_id not in self._ended:
                return connect(client, *arguments, existing_session_id=existing_session_id, **named)
            closing = self.loop.create_task(_close_streamlit(client, after=self.TURNED_AWAY))
            self._tasks.add(closing)
            closing.add_done_callback(self._tasks.discard)
            return str(existing_session_id)

        self._runtime.connect_session = connect_session


async def _close_streamlit(client: Any, after: float = 0.0) -> None:
    await asyncio.sleep(after)
    websocket = getattr(client, "_websocket", None)
    if websocket is not None:
        with contextlib.suppress(Exception):  # whichever way Starlette says that the page has gone
            await websocket.close(1001, KILL_REASON)
    elif hasattr(client, "close"):  # Streamlit on Tornado: the handler itself is the client
        client.close(1001, KILL_REASON)


class WebSocketHost(LoopHost):
    """One Starlette or FastAPI WebSocket."""

    def __init__(self, websocket: Any) -> None:
        self._secret = uuid.uuid4().hex
        super().__init__(("websocket", self._secret), asyncio.get_running_loop())
        self._websocket = websocket

    async def end(self) -> None:
        try:
            await self._websocket.close(1001, KILL_REASON)
        except RuntimeError as error:
            log.debug("the WebSocket was closed already: %s", error)


_websocket_host: contextvars.ContextVar[WebSocketHost | None] = contextvars.ContextVar("_websocket_host", default=None)


@contextlib.asynccontextmanager
async def websocket_session(websocket: Any, app_name: str, **settings: Any) -> AsyncIterator[SessionClient]:
    """A session for as long as the block lasts; `settings` are those of `SessionClient.get_tracker`.

    Within the block, `get_tracker` with the same settings gives the same tracker. A kill closes `websocket`, so that the
    handler's next receive ends it.
    """
    reset = _websocket_host.set(WebSocketHost(websocket))
    try:
        tracker = SessionClient.get_tracker(app_name, **settings)
        try:
            yield tracker
        finally:
            tracker.stop()
    finally:
        _websocket_host.reset(reset)
