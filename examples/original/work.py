"""The work of the apps in this folder. It knows nothing of pages: `get_tracker` finds the page that started it."""

import asyncio
import logging
import multiprocessing
import os
import threading
import time

from session_client import SessionClient

logging.basicConfig()
log = logging.getLogger("work")
log.setLevel(logging.INFO)


def work(name, seconds, stopping):
    """Work that can be stopped, in any thread."""
    tracker = SessionClient.get_tracker(app_name="original_app")
    with tracker.task(name):
        stopped = stopping.wait(seconds)
    log.info("%s %s %s", "STOPPED" if stopped else "FINISHED", name, tracker.session_id)


def work_in_a_nested_thread(seconds, stopping):
    """A thread that starts another one and ends before it."""
    threading.Thread(target=work, args=("in a nested thread", seconds, stopping), daemon=True).start()


async def work_in_a_task(seconds, stopping):
    """The same as a coroutine."""
    name, tracker = "in a task", SessionClient.get_tracker(app_name="original_app")
    until = time.monotonic() + seconds
    async with tracker.task(name):
        while not stopping.is_set() and time.monotonic() < until:
            await asyncio.sleep(0.05)
    log.info("%s %s %s", "STOPPED" if stopping.is_set() else "FINISHED", name, tracker.session_id)


def compute(seconds):
    """The work of one process of a pool. It uses no tracker, so the process is not a session."""
    log.info("WORKER %s", os.getpid())
    time.sleep(seconds)
    return os.getpid()


class Run:
    """A computation in a pool of processes, which can be ended from another thread."""

    def __init__(self):
        self.pool = multiprocessing.Pool(2)
        self.ended = threading.Event()

    def work(self, seconds):
        """Wait for the results, in a thread that the page started."""
        with SessionClient.get_tracker(app_name="original_pool").task("Computing in a pool"):
            results = self.pool.map_async(compute, [seconds] * 2)
            while not results.ready() and not self.ended.is_set():
                results.wait(0.1)

    def end(self):
        """Terminate the processes of the pool."""
        self.pool.terminate()
        self.ended.set()
