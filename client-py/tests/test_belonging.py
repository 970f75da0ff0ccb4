"""Whose work it is, without a browser: what the wrapped ways to start work note, and that they keep nothing alive."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

from session_client import SessionClient
from sessionwatch import belonging, hosts, websocket_session
from sessionwatch.hosts.base import Host, LoopHost
from sessionwatch.registry import registry
from support import Monitor, eventually, run_async

NOWHERE = "http://127.0.0.1:9"


class Page(LoopHost):
    """A page of a framework of this test's own."""

    present: Page | None = None

    def __init__(self, name: str) -> None:
        super().__init__(("test page", name), asyncio.new_event_loop())
        self.loop.close()


@pytest.fixture(autouse=True)
def framework(monkeypatch):
    monkeypatch.setitem(hosts._registered, "threading", lambda: Page.present)
    yield
    Page.present = None


def key() -> tuple:
    return hosts.present().key


def test_two_pages_share_the_workers_of_a_pool_and_each_job_is_its_pages():
    with ThreadPoolExecutor(1) as executor, ThreadPool(1) as pool:
        pages = [Page("a"), Page("b")]
        for page in (*pages, *pages):
            Page.present = page
            job, mapped = executor.submit(lambda: (Page.present, key())), None
            Page.present = None  # as on a worker, where no framework knows of a page
            assert job.result()[1] == page.key
            Page.present = page
            mapped = pool.map_async(lambda _: key(), [1])
            streamed = pool.imap(lambda _: key(), [1])
            Page.present = None
            assert mapped.get(5) == [page.key]
            assert next(streamed) == page.key
        # A job that no page has given belongs to none, although the worker was started for the first page.
        belonging._page.set(None)
        assert executor.submit(key).result() == ("process",)
        assert pool.apply(key) == ("process",)


def test_a_page_that_has_ended_is_not_the_process():
    page = Page("short")
    Page.present = page
    go, keys = threading.Event(), []

    def work() -> None:
        go.wait(10)
        keys.append(key())

    thread = threading.Thread(target=work)
    thread.start()
    gone = weakref.ref(page)
    Page.present = page = None  # type: ignore[assignment]
    belonging._page.set(None)
    gc.collect()
    assert gone() is None, "the note of a running thread keeps the page alive"
    go.set()
    thread.join()
    assert keys == [hosts._nowhere.key]


def test_the_wrappers_change_nothing_for_those_who_start():
    page = Page.present = Page("p")
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert "run" not in vars(thread)
    with pytest.raises(RuntimeError, match="threads can only be started once"):
        thread.start()
    assert "run" not in vars(thread)
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(TypeError):
            executor.submit()
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 // 0).result()
        assert executor.submit(lambda *given, **named: (given, named), 1, two=2).result() == ((1,), {"two": 2})
    with ProcessPoolExecutor(1) as processes:
        assert processes.submit(abs, -1).result() == 1
    assert page is Page.present


def test_a_framework_that_fails_never_reaches_those_who_start(monkeypatch):
    def fails() -> Host:
        raise RuntimeError("a framework in the middle of its own start")

    monkeypatch.setitem(hosts._registered, "threading", fails)
    monkeypatch.setattr(belonging, "_find", fails)
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(lambda: 7).result() == 7
    assert not SessionClient.get_tracker("app", server_url=NOWHERE).killed


def test_pages_that_end_leave_nothing_behind(monitor: Monitor, app_name):
    """A hundred WebSockets, each with a thread of its own."""
    hosts_seen: list = []

    async def handler(number: int) -> None:
        async with websocket_session(object(), app_name=app_name, server_url=monitor.url) as tracker:
            hosts_seen.append(weakref.ref(tracker._host))
            await asyncio.to_thread(tracker.flush)
            thread = threading.Thread(target=lambda: SessionClient.get_tracker(app_name, server_url=monitor.url).set_status("busy"))
            thread.start()
            await asyncio.to_thread(thread.join)

    async def all_of_them() -> None:
        await asyncio.gather(*(handler(number) for number in range(100)))

    run_async(all_of_them())
    eventually(lambda: monitor.sessions(app_name) == [])
    assert registry.trackers == {}
    eventually(lambda: gc.collect() is not None and not any(host() for host in hosts_seen), what="the pages to be collected")
