"""Where a session lives: a plain process, or a page on an event loop."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional, Set, Tuple

from .. import belonging
from ..values import Message, log

if TYPE_CHECKING:
    from ..client import SessionClient

Key = Tuple[Any, ...]


class Host:
    """Where a session lives. This one is a plain process: it has no page to close and nowhere to show a message."""

    #: The same for all code of one session.
    key: Key = ("process",)
    #: Whether a page ends with its session. A process goes on after a kill, so it may begin another session.
    is_page = False

    def __init__(self) -> None:
        self.generation = belonging.generation()

    def user(self) -> Optional[str]:
        """Who is signed in, where the framework knows."""
        return None

    def session_id(self, app_name: str, attempt: int) -> str:
        """The id of the session; another one for each further `attempt`."""
        return str(uuid.uuid4())

    def adopt(self, tracker: SessionClient) -> None:
        """Start the tracker when there is somebody to be seen, and end it when they have gone."""
        tracker.start()

    def call(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """Run a callback as if the session's own code called it."""
        return callback(*arguments)

    def wait_for(self, awaitable: Any, timeout: float) -> None:
        """Wait, on the callbacks' thread, for what an async callback returned."""

        async def bounded() -> None:
            await asyncio.wait_for(awaitable, timeout)

        asyncio.run(bounded())

    def terminate(self, done: Callable[[], None]) -> None:
        """End the user's session, then call `done`, from any thread. Called on no particular thread; must not block."""
        done()

    def show(self, message: Message, shown: Callable[[], None]) -> None:
        """Show a message to the user and then call `shown`; not at all where that cannot be."""

    def warn(self, message: Message, shown: Callable[[], None], stay: Callable[[], None]) -> None:
        """Show that a rule will end the session at `message.ends_at`, and call `stay` when the user answers.

        A host that cannot ask shows it as a message; then it is up to the app to call `SessionClient.stay`.
        """
        self.show(message, shown)


class Nowhere(Host):
    """Code that runs for nobody, such as a warm start or a thread whose page has ended: its tracker is never shown."""

    is_page = True

    def __init__(self, document: Any = None) -> None:
        super().__init__()
        self.key = ("nowhere", id(document))
        self._document = None if document is None else weakref.ref(document)

    def adopt(self, tracker: SessionClient) -> None:
        document = self._document() if self._document is not None else None
        tracker.forget_with(document if document is not None else self)


class LoopHost(Host):
    """A session that lives on an asyncio event loop; the base of the hosts that have a page."""

    is_page = True

    def __init__(self, key: Key, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.key, self.loop = key, loop
        self._tasks: Set[asyncio.Task[None]] = set()

    async def end(self) -> None:
        """End the session, on its loop."""
        raise NotImplementedError

    def wait_for(self, awaitable: Any, timeout: float) -> None:
        async def bounded() -> None:
            await awaitable

        if self.loop.is_running():
            asyncio.run_coroutine_threadsafe(bounded(), self.loop).result(timeout)
        else:  # the process ends
            super().wait_for(awaitable, timeout)

    def terminate(self, done: Callable[[], None]) -> None:
        async def end() -> None:
            try:
                await self.end()
            except Exception:
                log.exception("the session's page could not be closed")
            finally:
                done()

        def start() -> None:
            task = self.loop.create_task(end())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.loop.call_soon_threadsafe(start)  # raises when the loop is closed: then the page is gone already


def digest(app_name: str, secret: str, attempt: int) -> str:
    """A session's id out of an id that would open the framework's session, and therefore stays in the app."""
    return str(uuid.UUID(hashlib.sha256(f"{app_name}\0{secret}\0{attempt}".encode()).hexdigest()[:32]))
