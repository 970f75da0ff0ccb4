"""A Streamlit session. It keeps its state for some minutes after the page has gone, and shows as suspended then."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..values import KILL_REASON, Message
from .base import LoopHost, digest

if TYPE_CHECKING:
    from ..client import SessionClient

LOOK_AGAIN = 1.0  # seconds between two looks at whether the page is there
LAST_WORD = 0.1  # for the page to be told why it ends
ENDED_MOST = 10_000  # sessions that are remembered as ended
TURNED_AWAY = 5.0  # a page that was ended asks again at once, for as long as it is open

_of_session: weakref.WeakKeyDictionary[Any, StreamlitHost] = weakref.WeakKeyDictionary()


def current() -> Optional[StreamlitHost]:
    """The session whose script is running, None outside of any."""
    from streamlit import runtime
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context: Any = get_script_run_ctx(suppress_warning=True)
    if context is None or not runtime.exists():
        return None
    app: Any = runtime.get_instance()
    session = app.get_app_session(context.session_id)
    if session is None:
        return None
    host = _of_session.get(session)
    if host is None:
        host = _of_session[session] = StreamlitHost(app, session, context)
    return host


class StreamlitHost(LoopHost):
    """One user's session."""

    _ended: OrderedDict[str, None] = OrderedDict()

    def __init__(self, runtime: Any, session: Any, context: Any) -> None:
        super().__init__(("streamlit", context.session_id), session._event_loop)
        self._runtime, self._secret = runtime, str(context.session_id)
        self._user = (context.user_info or {}).get("email") or None
        self._app_session = weakref.ref(session)

    def user(self) -> Optional[str]:
        return self._user

    def session_id(self, app_name: str, attempt: int) -> str:
        return digest(app_name, self._secret, attempt)

    def adopt(self, tracker: SessionClient) -> None:
        tracker.start()
        self.loop.call_soon_threadsafe(self._look, tracker)

    def _look(self, tracker: SessionClient) -> None:
        session = self._app_session()
        if session is None or session._state.name == "SHUTDOWN_REQUESTED":
            tracker.page_ended()
            return
        here = self._runtime.is_active_session(self._secret)
        tracker.set_visibility("visible" if here else "suspended")
        del session
        self.loop.call_later(LOOK_AGAIN, self._look, tracker)

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
        await asyncio.sleep(LAST_WORD)
        client = self._runtime.get_client(self._secret)
        self._runtime.close_session(self._secret)
        if client is not None:
            await _close(client)

    def _keep_out(self) -> None:
        """The page tries to come back with the session's id, and would be given a new session for it."""
        self._ended[self._secret] = None
        while len(self._ended) > ENDED_MOST:
            self._ended.popitem(last=False)
        if hasattr(self._runtime, "_sessionwatch_connect"):
            return
        connect = self._runtime._sessionwatch_connect = self._runtime.connect_session
        ended, loop, tasks = self._ended, self.loop, self._tasks

        def connect_session(client: Any, *arguments: Any, existing_session_id: Optional[str] = None, **named: Any) -> str:
            if existing_session_id not in ended:
                return str(connect(client, *arguments, existing_session_id=existing_session_id, **named))
            closing = loop.create_task(_close(client, after=TURNED_AWAY))
            tasks.add(closing)
            closing.add_done_callback(tasks.discard)
            return str(existing_session_id)

        self._runtime.connect_session = connect_session


async def _close(client: Any, after: float = 0.0) -> None:
    await asyncio.sleep(after)
    websocket = getattr(client, "_websocket", None)
    if websocket is not None:
        with contextlib.suppress(Exception):  # whichever way Starlette says that the page has gone
            await websocket.close(1001, KILL_REASON)
    elif hasattr(client, "close"):  # Streamlit on Tornado: the handler itself is the client
        client.close(1001, KILL_REASON)
