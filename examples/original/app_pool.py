"""A Panel app in the style of the original system's pool demo: each run has a pool of processes.

    pip install panel sessionwatch
    sessionwatch &
    panel serve examples/original/app_pool.py

The page's row shows the run. The workers are part of the page's work and have no rows of their own: a worker process is a
session only if its own code calls `get_tracker`. A kill, or closing the tab, ends the pool.
"""

import threading

import panel as pn
from work import Run

from session_client import SessionClient

pn.extension(disconnect_notification="This session was ended.")

tracker = SessionClient.get_tracker(app_name="original_pool")
runs = []

seconds = pn.widgets.IntInput(name="Seconds", value=60)
button = pn.widgets.Button(name="Run")


@tracker.on_kill
def end_runs():
    """Runs at a kill, and when the tab is closed or reloaded."""
    for run in runs:
        run.end()


def start(event):
    run = Run()
    runs.append(run)
    threading.Thread(target=run.work, args=(seconds.value,), daemon=True).start()


button.on_click(start)
pn.Column("# A pool of processes", seconds, button, "ready", max_width=480).servable()
