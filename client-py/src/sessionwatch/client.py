"""`SessionClient`, which is what an app sees."""

from __future__ import annotations

import os
import weakref
from typing import Any, Callable, List, Mapping, Optional, TypeVar

from . import callbacks, clean, hosts
from .callbacks import Callbacks
from .engine import Engine
from .presence import Presence, Shown
from .registry import registry
from .session import Session
from .settings import clean_url, default_server_url
from .values import Tag, __version__, log

F = TypeVar("F", bound=Callable[..., Any])


class SessionClient:
    """One session as the monitor shows it.

    `get_tracker` gives the present session's, always the same one; the constructor makes one more. Every method is quick,
    may be called from any thread, and raises nothing: what cannot be used is said in the log.
    """

    def __init__(
        self,
        app_name: str,
        user_id: Optional[str] = None,
        server_url: Optional[str] = None,
        heartbeat_interval: float = 30,
        *,
        token: Optional[str] = None,
        meta: Optional[Mapping[str, Tag]] = None,
        on_kill_at_end: Optional[bool] = None,
        idle: bool = True,
    ) -> None:
        """A session of its own, in the page or process whose code is running. See `get_tracker` for the arguments."""
        self._host = host = hosts.present()
        self._stopped = False
        self.tells_idle: bool = bool(idle)
        self.server_url: str = str(server_url or default_server_url())
        name = clean.app_name(app_name)
        user = user_id if user_id is not None else host.user()
        self._presence = Presence({
            "app_name": name,
            "user_id": clean.optional(user),
            "heartbeat_interval": clean.interval(heartbeat_interval),
            "meta": clean.meta(meta),
            "client": f"python/{__version__}",
        })
        self._token = _token(token)
        self._callbacks = Callbacks(host.is_page if on_kill_at_end is None else bool(on_kill_at_end))
        self._url = clean_url(self.server_url)
        if not name:
            log.error("app_name must not be empty; this session is shown nowhere")
        elif self._url is None:
            log.error("server_url must be like http://localhost:8000, not %r; this session is shown nowhere", self.server_url)
        self._session = Session(self._engine(), host, self._presence, self._callbacks)
        registry.add(self)
        host.adopt(self)

    @classmethod
    def get_tracker(
        cls,
        app_name: str,
        user_id: Optional[str] = None,
        server_url: Optional[str] = None,
        heartbeat_interval: float = 30,
        *,
        token: Optional[str] = None,
        meta: Optional[Mapping[str, Tag]] = None,
        on_kill_at_end: Optional[bool] = None,
        idle: bool = True,
    ) -> SessionClient:
        """The tracker of the present session, made at the first call; it returns at once and does no I/O.

        The same page gets the same tracker, also in threads, executors' jobs and asyncio tasks that its code has started.
        In plain Python there is one a process.

        - `user_id` defaults to the framework's signed-in user.
        - `server_url` defaults to the environment variable `SESSIONWATCH_URL`, then to `DEFAULT_SERVER_URL`.
        - `heartbeat_interval`, in seconds, matters only where no WebSocket can be had.
        - `token` is the monitor's ingest token, by default that of the environment variable `SESSIONWATCH_TOKEN`.
        - `meta` holds up to 32 tags of text, number or bool.
        - `on_kill_at_end` tells whether `on_kill` also runs when the session ends otherwise: the page is closed, the
          process ends. By default it does in a page, and does not in a process without one.
        - `idle=False` keeps a Bokeh or Panel page from telling for how long its user has done nothing (pointer, keys,
          scrolling, touch). A session that tells nothing of it counts as idle since its last task.

        With an empty `app_name` or a `server_url` that is not http(s) the tracker works and is shown nowhere.
        """
        registry.sweep()
        host = hosts.present()
        key = (clean_url(server_url or default_server_url()), _token(token), clean.app_name(app_name), host.key)
        with registry.lock:
            tracker = registry.trackers.get(key)
            if tracker is None:
                tracker = registry.trackers[key] = cls(
                    app_name, user_id, server_url, heartbeat_interval,
                    token=token, meta=meta, on_kill_at_end=on_kill_at_end, idle=idle,
                )
        tracker._revive()
        return tracker

    # How it stands

    @property
    def session_id(self) -> str:
        """The id under which the monitor shows this session."""
        return self._session.session_id

    @property
    def app_name(self) -> str:
        """The app's name, as it is sent."""
        return str(self._presence.fields["app_name"])

    @property
    def user_id(self) -> Optional[str]:
        """The user, as it is sent."""
        user: Optional[str] = self._presence.fields["user_id"]
        return user

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats, where no WebSocket can be had."""
        return float(self._presence.fields["heartbeat_interval"])

    @property
    def connected(self) -> bool:
        """Whether the monitor knows this session right now."""
        return self._session.connected

    @property
    def killed(self) -> bool:
        """Whether an administrator has ended this session.

        In a process without a page the next `get_tracker` or task begins another session, which is not killed.
        """
        return self._session.kill is not None

    # What an app says

    def task(self, name: str, status: str = "running") -> Task:
        """A context manager, plain or async: while it lasts the session shows `name`. Tasks nest as a stack."""
        return Task(self, clean.optional(name), clean.status(status) or "running")

    def set_status(self, status: str, task: Optional[str] = None) -> None:
        """Show `status` (a lower-case word such as `idle` or `running`) and `task` from now on.

        Within a `task` it lasts until that task ends. A word that the monitor reserves is logged and left out.
        """
        word = clean.status(status)
        if word is not None:
            self._presence.show(word, clean.optional(task))
            self._session.wake()

    def set_meta(self, meta: Mapping[str, Tag]) -> None:
        """Replace the session's tags. Tags that the monitor would not take are logged and left out."""
        self._presence.set_meta(clean.meta(meta))
        self._session.wake()

    def set_visibility(self, visibility: str) -> None:
        """Declare whether the user can see the page: `visible`, `hidden`, `frozen` or `suspended`."""
        if visibility not in clean.VISIBILITIES:
            log.error("visibility is one of %s, not %r", ", ".join(sorted(clean.VISIBILITIES)), visibility)
        elif self._presence.set_visibility(visibility):
            self._session.wake()

    def set_idle(self, seconds: float) -> None:
        """Tell for how long the user has done nothing; 0 when the user does something, which lasts until you tell again.

        Bokeh and Panel pages tell it by themselves, unless `idle=False`. It is a change, not a heartbeat: tell it when the
        user becomes idle, and when the user is back. What is no number of seconds is logged and left out.
        """
        idle = clean.seconds(seconds)
        if idle is not None:
            self._presence.set_idle(idle)
            self._session.wake()

    def on_kill(self, callback: F) -> F:
        """Call `callback`, once a session, when an administrator ends it; before a page is closed.

        In a page it also runs when the page is closed, loaded anew, or its process ends: `on_kill_at_end` of
        `get_tracker` says so or otherwise. It may take no argument or one, a `Kill`, and may be async. It runs beside the
        app, not on its event loop (an async one does), so it can stop work that blocks that loop. What it raises is
        logged. At a kill all callbacks together have its grace (2 s), then the page is closed all the same. Fit for use
        as a decorator.
        """
        entry, session = callbacks.entry(callback), self._session
        self._callbacks.kill.append(entry)
        kill = None if session.over is None else self._callbacks.as_kill(session.over)
        if kill is not None:
            callbacks.run_beside(lambda: callbacks.run(self._host, [(entry, kill)]))
        return callback

    def on_end(self, callback: F) -> F:
        """Call `callback`, once a session, however it ends: a kill, a page that is closed or loaded anew, the end of the
        process, `stop()`.

        It may take no argument or one, an `End` that tells the cause, and may be async. It runs after the callbacks of
        `on_kill`, as they do; at the end of the process on the main thread. Fit for use as a decorator.
        """
        entry, session = callbacks.entry(callback), self._session
        self._callbacks.end.append(entry)
        end = session.over
        if end is not None:
            callbacks.run_beside(lambda: callbacks.run(self._host, [(entry, end)]))
        return callback

    def on_message(self, callback: F) -> F:
        """Call `callback` with each `Message` of an administrator. A Panel app with notifications on shows them anyway."""
        self._callbacks.message.append(callbacks.entry(callback))
        return callback

    def on_locked(self, callback: F) -> F:
        """Call `callback` when an administrator has locked out the user or the app; it may take a `Lock`.

        The session comes back by itself when the lock is over. Until then nothing shows it; the app runs on.
        """
        self._callbacks.locked.append(callbacks.entry(callback))
        return callback

    def stay(self) -> None:
        """The user stays: what a rule has warned of (`Message.ends_at`) is called off."""
        self._session.stay()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until the monitor has seen all that was said; False when it has not.

        A monitor that has refused is asked once more.
        """
        return self._session.flush(timeout)

    def stop(self) -> None:
        """End this session: the monitor drops it at once. The next `get_tracker` makes a new one."""
        self._stopped = True
        registry.remove(self)
        self._session.end("stopped")

    # What hosts ask for

    def start(self) -> None:
        """Show the session from now on; a host calls it once there is somebody to be seen."""
        over = self._session.over
        if over is not None and over.cause == "closed" and not self._stopped:
            self._begin_anew()  # a page that the browser had put aside is back
        self._session.start()

    def page_ended(self, forgotten: bool = True) -> None:
        """The page is closed, or its framework has forgotten it; a host calls it. Only a forgotten one never comes back."""
        if forgotten:
            registry.remove(self)
        self._session.end("closed")

    def forget_with(self, page: object) -> None:
        """End the session, at the latest, when `page` is collected."""
        weakref.finalize(page, registry.forgotten.append, self).atexit = False
        weakref.finalize(page, registry.remove, self).atexit = False

    def reborn(self) -> None:
        """In a child of `fork`: another process is another session, from its first use on."""
        self._presence.after_fork()
        self._begin_anew()
        self._session.dormant = not self._host.is_page

    def _begin_anew(self) -> None:
        self._session = Session(self._engine(), self._host, self._presence, self._callbacks)

    def _revive(self) -> None:
        """A process that goes on after a kill is another session."""
        session = self._session
        if session.kill is not None and session.ended and not self._host.is_page and not self._stopped:
            self._begin_anew()
            self._session.start()

    def _engine(self) -> Optional[Engine]:
        return registry.engine(self._url, self._token) if self.app_name and self._url else None


class Task:
    """A task; each time it is entered it stands on the session's stack, and it may leave that in any order."""

    def __init__(self, tracker: SessionClient, name: Optional[str], status: str) -> None:
        self._tracker, self._name, self._status = tracker, name, status
        self._entered: List[Shown] = []

    def __enter__(self) -> SessionClient:
        self._tracker._revive()
        self._entered.append(self._tracker._presence.enter(self._status, self._name))
        self._tracker._session.wake()
        return self._tracker

    def __exit__(self, *_: object) -> None:
        self._tracker._presence.leave(self._entered.pop())
        self._tracker._session.wake()

    async def __aenter__(self) -> SessionClient:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


def _token(token: Optional[str]) -> Optional[str]:
    return str(token) if token else os.environ.get("SESSIONWATCH_TOKEN") or None
