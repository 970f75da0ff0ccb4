"""A Bokeh session, hence a Panel page."""

from __future__ import annotations

import asyncio
import contextlib
import html
import sys
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

from ..values import Message
from . import bokeh_private as private
from .base import Host, LoopHost, Nowhere, digest
from .bokeh_script import PageScript

if TYPE_CHECKING:
    from ..client import SessionClient

_of_document: weakref.WeakKeyDictionary[Any, Host] = weakref.WeakKeyDictionary()

# With these a browser closes the WebSocket of a page that it closes or loads anew; a lost network has other codes.
PAGE_CLOSED = (1000, 1001)


def current() -> Optional[Host]:
    """The session whose code is running, None outside of any."""
    from bokeh.io import curdoc

    private.install(_document_runs)
    try:
        running: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    document = private.panel_document()
    if document is None and running is not None:
        # Bokeh's own curdoc() is one for all threads: it tells the page only on the loop that serves pages.
        document = private.unlocked(curdoc())
        known = _of_document.get(document)
        if isinstance(known, BokehHost) and known.loop is not running:
            return None
    if document in _of_document:  # also when the session has ended since, so that its code makes no new one
        return _of_document[document]
    # In a thread curdoc() is whichever page happens to run on the loop: nothing to go by. It does tell that Panel's
    # liveness check tries a script out for no page at all.
    launching = private.launching()
    candidates: Tuple[Any, ...] = (document, curdoc()) if launching else ()
    for tried in candidates:
        if tried in launching and tried.session_context is None:
            return _of_document.setdefault(tried, Nowhere(tried))
    return _host_of(document, running)


def _host_of(document: Any, running: Optional[asyncio.AbstractEventLoop] = None) -> Optional[Host]:
    if document in _of_document:
        return _of_document[document]
    context = getattr(document, "session_context", None)
    if context is None:
        return None
    served, loop = private.served(context)
    if not served:  # `--warm` and `--autoreload` try the script out before there is a server
        return _of_document.setdefault(document, Nowhere(document))
    loop = loop or running
    if loop is None or running not in (None, loop):
        return None
    _of_document[document] = host = BokehHost(document, loop)
    return host


def _document_runs(document: Any) -> Optional[Host]:
    """Bokeh begins to run code of `document` on its loop."""
    try:
        return _host_of(private.unlocked(document), asyncio.get_running_loop())
    except RuntimeError:
        return None


class BokehHost(LoopHost):
    """The session of one Bokeh document."""

    def __init__(self, document: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(("bokeh", id(document)), loop)
        self._document = weakref.ref(document)
        self._bokeh_id = str(document.session_context.id)
        self._page = PageScript(document)

    def user(self) -> Optional[str]:
        if panel := sys.modules.get("panel"):
            with contextlib.suppress(Exception):
                return str(panel.state.user) if panel.state.user else None
        return None

    def session_id(self, app_name: str, attempt: int) -> str:
        """A digest: whoever has the Bokeh id can open the session, so it stays here.

        The same page has the same id in every process of `--num-procs`, so a page that was ended in one of them is
        known as ended when it comes back through another.
        """
        return digest(app_name, self._bokeh_id, attempt)

    def adopt(self, tracker: SessionClient) -> None:
        document = self._document()
        if document is None or document.session_context is None:
            return
        document.on_session_destroyed(lambda session_context: tracker.page_ended())
        # A document that was never served is only collected.
        tracker.forget_with(document)
        private.notice_closed_pages_in_fastapi()
        self.loop.call_soon_threadsafe(self._follow, tracker)  # by then Bokeh has made the session of a running script

    def _follow(self, tracker: SessionClient) -> None:
        """Start the tracker with the page's first WebSocket, and end it with the page.

        A script also runs where nobody looks: for requests without a browser, for warm starts, and in the process of
        `--num-procs` that the WebSocket did not reach. Only a page that opened is a session. A page whose WebSocket is
        lost shows as suspended where it may come back; Bokeh keeps it for a while.
        """
        session = private.session_of(self._document())
        if session is None:
            return
        if tracker.tells_idle:
            told = weakref.WeakMethod(tracker.set_idle)

            def tell(seconds: float) -> None:
                if (set_idle := told()) is not None:
                    set_idle(seconds)

            self._page.follow(tell)

        def came() -> None:
            self._page.opened()
            tracker.set_visibility("visible")
            tracker.start()

        def went(code: Optional[int]) -> None:
            if code in PAGE_CLOSED or not private.may_come_back(self._document()):
                tracker.page_ended(forgotten=False)
            elif not tracker.killed:
                tracker.set_visibility("suspended")

        private.follow_connections(session, came, went)
        if session.connection_count > 0:
            self._page.opened(just_now=False)
            tracker.start()

    def call(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        document = self._document()
        with private.as_document(document):
            return callback(*arguments)

    def warn(self, message: Message, shown: Callable[[], None], stay: Callable[[], None]) -> None:
        self._page.warn(message, shown, stay, lambda: self.show(message, shown))

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        document, panel = self._document(), sys.modules.get("panel")
        if document is None or panel is None:
            return

        def notify() -> None:
            area = panel.state.notifications
            if area is not None:
                open_toast = area.warning if message.level == "warning" else area.info
                open_toast(html.escape(message.text), duration=0)
                shown()

        document.add_next_tick_callback(notify)

    async def end(self) -> None:
        """Close every WebSocket of the page, keep it from coming back, and take its session off the Bokeh server.

        None of it waits for the document's lock, which an async handler may hold for long.
        """
        document = self._document()
        if document is not None:
            await private.end(document, self._bokeh_id)
