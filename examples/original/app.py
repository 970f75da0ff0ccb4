"""A Panel app in the style of the original system: work runs in plain threads, in an executor, and as asyncio tasks.

    pip install panel sessionwatch
    sessionwatch &
    panel serve examples/original/app.py

Open http://localhost:5006/app in two tabs. All work that a page starts is shown in that page's row. A kill stops that
page's work, and so does closing its tab.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import panel as pn
from work import work, work_in_a_nested_thread, work_in_a_task

from session_client import SessionClient

pn.extension(disconnect_notification="This session was ended.")

tracker = SessionClient.get_tracker(app_name="original_app")
stopping = threading.Event()
executor = pn.state.as_cached("executor", lambda: ThreadPoolExecutor(8))  # one for all pages
running = set()

seconds = pn.widgets.IntInput(name="Seconds", value=60)

# It runs at a kill, and when the tab is closed or reloaded.
tracker.on_kill(stopping.set)


def in_a_thread(event):
    threading.Thread(target=work, args=("in a thread", seconds.value, stopping), daemon=True).start()


def in_nested_threads(event):
    threading.Thread(target=work_in_a_nested_thread, args=(seconds.value, stopping), daemon=True).start()


def in_an_executor(event):
    executor.submit(work, "in an executor", seconds.value, stopping)


async def in_a_task(event):
    running.add(asyncio.create_task(work_in_a_task(seconds.value, stopping)))


buttons = []
for name, start in (("Thread", in_a_thread), ("Nested", in_nested_threads), ("Executor", in_an_executor), ("Task", in_a_task)):
    button = pn.widgets.Button(name=name)
    button.on_click(start)
    buttons.append(button)

pn.Column("# In the original's manner", seconds, *buttons, "ready", max_width=480).servable()
