"""All that the client does with names that Bokeh and Panel do not promise to keep.

`NAMES` lists them; a test compares it with the installed releases and fails when one is gone. With a release outside of
`TESTED` a warning is logged once, and all goes on as far as the names are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import socket
import sys
import time
from collections import OrderedDict
from typing import Any, Callable, ContextManager, Iterator, Optional, Set, Tuple

from .. import belonging, settings
from ..values import KILL_REASON, log
from .base import Host

#: The first and the last release of Bokeh with which the tests have been run, as (major, minor).
TESTED = ((3, 4), (3, 10))

#: Module, class or None, and the names that are used of it.
NAMES = (
    ("bokeh.io.doc", None, ("patch_curdoc",)),
    ("bokeh.document.callbacks", None, ("invoke_with_curdoc",)),
    ("bokeh.server.session", "ServerSession", ("subscribe", "unsubscribe", "connection_count", "destroyed", "destroy")),
    ("bokeh.server.contexts", "ApplicationContext", ("io_loop", "application", "server_context")),
    ("bokeh.server.contexts", "BokehSessionContext", ("session", "server_context")),
    ("bokeh.server.connection", "ServerConnection", ("protocol", "session", "detach_session")),
    ("bokeh.server.views.ws", "WSHandler", ("_async_open", "close", "on_close", "send_message")),
    ("bokeh.server.tornado", "BokehTornado", ("client_lost",)),
    ("bokeh.document.events", "ModelChangedEvent", ()),
    ("bokeh.util.token", None, ("get_session_id",)),
)

#: Module, and what stands in its source: attributes that only an instance has.
ATTRIBUTES = (
    ("bokeh.server.session", ("_subscribed_connections",)),
    ("bokeh.server.connection", ("self._socket",)),
    ("bokeh.server.contexts", ("self._sessions", "self._session_contexts", "application_context")),
    ("bokeh.server.views.ws", ("self.connection", "self.application.client_lost")),
    ("tornado.websocket", ("self.ws_connection", "self.stream", "self.close_code")),
)

PANEL_ATTRIBUTES = (("panel.io.state", ("_curdoc", "_launching", "def set_curdoc")),)

_installed = False


def install(document_runs: Callable[[Any], Optional[Host]]) -> None:
    """Note, whenever Bokeh runs code of a document, that what this code starts belongs to that page."""
    global _installed
    if _installed:
        return
    _installed = True
    import bokeh
    import bokeh.io.doc

    version = tuple(int(number) for number in re.findall(r"\d+", bokeh.__version__)[:2])
    if not TESTED[0] <= version <= TESTED[1]:
        log.warning("Bokeh %s is not among the releases that sessionwatch was tested with (%s to %s); see that kills close pages",
                    bokeh.__version__, *(".".join(map(str, tested)) for tested in TESTED))
    original = bokeh.io.doc.patch_curdoc

    @contextlib.contextmanager
    def patch_curdoc(document: Any) -> Iterator[None]:
        with original(document):
            # It stays noted afterwards: an async callback goes on in this context when Bokeh has taken curdoc() back.
            if (host := document_runs(document)) is not None:
                belonging.note_page(host)
            yield

    bokeh.io.doc.patch_curdoc = patch_curdoc


def _panel_state() -> Any:
    return getattr(sys.modules.get("panel.io.state"), "state", None)


def panel_document() -> Any:
    """The document whose code Panel runs in this context."""
    state = _panel_state()
    return unlocked(state._curdoc.get()) if state is not None else None


def launching() -> Any:
    """The documents of scripts that Panel tries out for its liveness check."""
    return getattr(_panel_state(), "_launching", ())


def unlocked(document: Any) -> Any:
    """The document itself, out of Bokeh's proxy for callbacks without a lock."""
    return getattr(document, "_doc", document)


def served(context: Any) -> Tuple[bool, Optional[asyncio.AbstractEventLoop]]:
    """Whether a server shows this session to somebody, and on which loop."""
    application = getattr(context.server_context, "application_context", None)
    io_loop = getattr(application, "io_loop", None)
    return application is not None, getattr(io_loop, "asyncio_loop", None)


def session_of(document: Any) -> Any:
    """The server's session of a document, None where there is none."""
    return getattr(getattr(document, "session_context", None), "session", None)


def may_come_back(document: Any) -> bool:
    """Whether a page may open a lost WebSocket again: BokehJS by itself, or the user whom Panel prompts.

    Panel turns both off unless `reconnect` says otherwise; before Bokeh 3.8 the first was always on.
    """
    if panel := sys.modules.get("panel"):
        with as_document(document), contextlib.suppress(Exception):
            if panel.config.reconnect:
                return True
    return bool(getattr(getattr(document, "config", None), "reconnect_session", True))


def as_document(document: Any) -> ContextManager[Any]:
    """A context in which code runs as the document's own."""
    set_curdoc = getattr(sys.modules.get("panel.io.state"), "set_curdoc", None)
    if set_curdoc is None or document is None:
        return contextlib.nullcontext()
    context: ContextManager[Any] = set_curdoc(document)
    return context


def follow_connections(session: Any, came: Callable[[], None], went: Callable[[Optional[int]], None]) -> None:
    """Tell when a WebSocket of the page opens, and when its last one has closed, with the close code."""
    subscribe, unsubscribe = session.subscribe, session.unsubscribe

    def page_came(connection: Any) -> None:
        subscribe(connection)
        came()

    def page_went(connection: Any) -> None:
        unsubscribe(connection)
        if session.connection_count == 0:
            went(getattr(getattr(connection, "_socket", None), "close_code", None))

    session.subscribe, session.unsubscribe = page_came, page_went


async def end(document: Any, bokeh_id: str) -> None:
    """Close the page of a document for good."""
    context = getattr(document, "session_context", None)
    session = getattr(context, "session", None)
    if session is None or session.destroyed:
        return
    _forbid(bokeh_id)
    connections = list(session._subscribed_connections)
    for connection in connections:
        await _stop_reconnecting(document, connection)
    for connection in connections:
        await _close(connection._socket)
    await asyncio.sleep(settings.PAGE_FAREWELL)
    await _destroy(context, session)


async def _close(handler: Any) -> None:
    """Close a page's WebSocket: Tornado's handler, or the one of bokeh_fastapi."""
    stream = getattr(getattr(handler, "ws_connection", None), "stream", None)
    if stream is not None and not stream.closed():
        task = asyncio.ensure_future(_hang_up(stream, stream.socket.dup()))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
    websocket = handler if hasattr(handler, "close") else handler._socket
    closing = websocket.close(1001, KILL_REASON)
    if inspect.isawaitable(closing):
        await closing


async def _hang_up(stream: Any, connection: socket.socket) -> None:
    """End the TCP connection once the closing handshake is over.

    Tornado only closes its file. Where the page's code has forked workers, each of them has that file open as well, and
    the browser would wait for the end of the connection until they have all ended.
    """
    with connection:
        until = time.monotonic() + settings.PAGE_FAREWELL
        while not stream.closed() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


_tasks: Set[asyncio.Future[None]] = set()


async def _stop_reconnecting(document: Any, connection: Any) -> None:
    """Tell the page, past the lock, that there is no use in trying again; one that does is turned away all the same."""
    try:
        from bokeh.document.events import ModelChangedEvent

        config = getattr(document, "config", None)
        if config is None or not hasattr(config, "reconnect_session"):
            return  # releases before 3.8, which do not reconnect by themselves
        patch = ModelChangedEvent(document, config, "reconnect_session", False)
        sending = connection._socket.send_message(connection.protocol.create("PATCH-DOC", [patch]))
        await asyncio.wait_for(sending, 0.3)  # longer only where the page takes nothing any more
    except Exception as error:
        log.debug("the page could not be told to stay closed: %r", error)


async def _destroy(context: Any, session: Any) -> None:
    application_context = context.server_context.application_context
    for connection in list(session._subscribed_connections):
        connection._socket.application.client_lost(connection)
        connection._socket.connection = None  # its on_close would look for the session that is gone
    if application_context is None or session.destroyed:
        return
    application_context._sessions.pop(session.id, None)
    application_context._session_contexts.pop(session.id, None)
    session.destroy()
    await application_context.application.on_session_destroyed(context)


# Pages that were ended come back by themselves, with a token that would start the app anew. They are turned away.

_ENDED_MOST = 10_000
_ended: OrderedDict[str, None] = OrderedDict()
_guarded: Set[type] = set()


def _forbid(bokeh_id: str) -> None:
    _ended[bokeh_id] = None
    while len(_ended) > _ENDED_MOST:
        _ended.popitem(last=False)
    for name in ("bokeh.server.views.ws", "bokeh_fastapi.handler"):
        handler = getattr(sys.modules.get(name), "WSHandler", None)
        if handler is not None and handler not in _guarded:
            _guarded.add(handler)
            _guard(handler)


def _guard(handler: Any) -> None:
    from bokeh.util.token import get_session_id

    original = handler._async_open

    async def _async_open(self: Any, *arguments: Any) -> Any:
        if get_session_id(arguments[-1]) not in _ended:
            return await original(self, *arguments)
        await _close(self)
        return None

    handler._async_open = _async_open


def notice_closed_pages_in_fastapi() -> None:
    """bokeh_fastapi forgets to tell Bokeh that a page's WebSocket closed, so its sessions would live for ever."""
    handler: Any = getattr(sys.modules.get("bokeh_fastapi.handler"), "WSHandler", None)
    if handler is None or hasattr(handler, "_sessionwatch_receive_loop"):
        return
    handler._sessionwatch_receive_loop = handler._receive_loop

    async def _receive_loop(self: Any) -> None:
        receive = self._socket._receive

        async def noting() -> Any:
            message = await receive()
            if message.get("type") == "websocket.disconnect":
                self.close_code = message.get("code")
            return message

        self._socket._receive = noting
        try:
            await self._sessionwatch_receive_loop()
        finally:
            if self.connection is not None and self.connection in self.application._clients:
                self.application.client_lost(self.connection)

    handler._receive_loop = _receive_loop
