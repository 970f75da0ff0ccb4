"""All the ways in which a page may start work beside itself. The pools are the process's: their workers serve every page."""

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

from session_client import SessionClient

executor = ThreadPoolExecutor(1)
pool = ThreadPool(1)


class Worker(threading.Thread):
    """A thread that overrides `run`."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def run(self):
        self.work()


async def ask_in_all_ways(app_name, url, say):
    def ask(way):
        say("ASKED BY", way, SessionClient.get_tracker(app_name, server_url=url).session_id)

    async def ask_async(way):
        await asyncio.sleep(0.01)
        ask(way)

    def nested():
        inner = threading.Thread(target=ask, args=("nested",))
        inner.start()
        inner.join()

    for thread in (threading.Thread(target=ask, args=("thread",)), Worker(functools.partial(ask, "subclass")),
                   threading.Timer(0.01, ask, args=("timer",)), threading.Thread(target=nested),
                   threading.Thread(target=lambda: asyncio.run(ask_async("loop")))):
        thread.start()
        await asyncio.to_thread(thread.join)
    await asyncio.wrap_future(executor.submit(ask, "executor"))
    await asyncio.to_thread(lambda: list(executor.map(ask, ["map"])))
    await asyncio.get_running_loop().run_in_executor(executor, ask, "run_in_executor")
    await asyncio.to_thread(lambda: pool.map(ask, ["pool"]))
    await asyncio.to_thread(ask, "to_thread")
    await asyncio.create_task(ask_async("task"))
