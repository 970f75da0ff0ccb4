"""To which page code belongs that runs beside it: in threads, in the jobs of executors, in asyncio tasks.

A context variable holds a weak reference to the page. It travels by itself into asyncio tasks, `asyncio.to_thread` and
whatever else copies its context. Threads and executors do not, so `Thread.start` and `submit` are wrapped, once in a
process: they note the page whose code called them. The wrappers never raise, and a note keeps no page alive.
"""

from __future__ import annotations

import contextvars
import functools
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import pool
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple

from .values import log

if TYPE_CHECKING:
    from .hosts.base import Host

#: A page, and the number of the process generation in which it was noted: a child of `fork` has no pages of its parent.
Note = Tuple[int, "weakref.ReferenceType[Host]"]

_page: contextvars.ContextVar[Optional[Note]] = contextvars.ContextVar("sessionwatch_page", default=None)
_generation = 0
_find: Callable[[], Optional[Host]] = lambda: None
_original_start = threading.Thread.start
_installed = False


class Gone:
    """The page that this code belongs to has ended."""


GONE = Gone()


def noted() -> Host | Gone | None:
    """The page that this code was started for, `GONE` where that page has ended, None where none was noted."""
    note = _page.get()
    if note is None or note[0] != _generation:
        return None
    return note[1]() or GONE


def note_page(host: Host) -> None:
    """From here on, code of this context belongs to `host`, unless a framework says otherwise."""
    _page.set((_generation, weakref.ref(host)))


def generation() -> int:
    """How many times this process has been forked, counted from its first ancestor that had a client."""
    return _generation


def after_fork() -> None:
    """In a child of `fork`: the notes of the parent count no more."""
    global _generation
    _generation += 1


def start_unnoted(thread: threading.Thread) -> None:
    """Start a thread that belongs to no page, such as the client's own."""
    _original_start(thread)


def install(find: Callable[[], Optional[Host]]) -> None:
    """Wrap `Thread.start` and the ways to give a job to a pool of threads; `find` tells the page of the calling code."""
    global _find, _installed
    _find = find
    if _installed:
        return
    _installed = True
    _wrap_start()
    _wrap_job(ThreadPoolExecutor, "submit")
    # `map` and `starmap` of a ThreadPool go through `_map_async`; a process pool inherits none of these wrappers.
    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        if hasattr(pool.ThreadPool, name):
            _wrap_job(pool.ThreadPool, name)


def _note() -> Optional[Note]:
    try:
        host = _find()
        if host is not None:
            return (_generation, weakref.ref(host))
        return _page.get()  # a thread of a thread; also where the page has ended since
    except Exception:
        log.debug("the page of a thread could not be told", exc_info=True)
        return None


def _wrap_start() -> None:
    original = threading.Thread.start

    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        note = _note()
        if note is None:
            return original(self)
        run = self.run

        def run_for_page() -> None:
            self.__dict__.pop("run", None)
            _page.set(note)
            run()

        self.run = run_for_page  # type: ignore[method-assign]
        try:
            return original(self)
        except BaseException:
            self.__dict__.pop("run", None)
            raise

    threading.Thread.start = start  # type: ignore[method-assign]


def _wrap_job(owner: Any, name: str) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def give(self: Any, job: Any = None, /, *arguments: Any, **named: Any) -> Any:
        # A job without a page gets none either: its worker may have been started for some other page.
        if not callable(job):
            return original(self, *(() if job is None else (job,)), *arguments, **named)
        try:
            job = Job(job, _note())
        except Exception:
            log.debug("the page of a job could not be noted", exc_info=True)
        return original(self, job, *arguments, **named)

    setattr(owner, name, give)


class Job:
    """A job of a pool of threads, which runs for the page that gave it."""

    def __init__(self, job: Callable[..., Any], note: Optional[Note]) -> None:
        functools.update_wrapper(self, job)
        self._job, self._note = job, note

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        reset = _page.set(self._note)
        try:
            return self._job(*arguments, **named)
        finally:
            _page.reset(reset)
