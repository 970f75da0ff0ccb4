"""A Panel app that runs tasks, to try sessionwatch.

    pip install panel sessionwatch
    sessionwatch &
    panel serve examples/panel/task_runner.py

Open http://localhost:5006/task_runner in some tabs, run tasks, and watch http://localhost:8000. A kill there ends a running
task, closes its page for good and does not change the other pages.
"""

import asyncio
import os

import panel as pn

from session_client import SessionClient

pn.extension(notifications=True, disconnect_notification="This session was ended.")

tracker = SessionClient.get_tracker(
    app_name="task_runner",
    server_url=os.environ.get("SESSIONWATCH_URL", "http://localhost:8000"),
)

name = pn.widgets.TextInput(name="Task", value="Generating Report", max_length=256)
seconds = pn.widgets.IntSlider(name="Duration in seconds", value=5, start=1, end=120)
run = pn.widgets.Button(name="Run", button_type="primary")
progress = pn.indicators.Progress(name="Progress", value=0, max=100, sizing_mode="stretch_width")
state = pn.pane.Markdown("Idle.")
running: set[asyncio.Task] = set()


async def run_task(event):
    """Several tasks may run at once; the dashboard shows the one that was started last."""
    work = asyncio.current_task()
    running.add(work)
    try:
        async with tracker.task(name.value):
            state.object = f"Running **{name.value}**…"
            for step in range(100):
                await asyncio.sleep(seconds.value / 100)
                progress.value = step + 1
        state.object = "Done."
    finally:
        running.discard(work)


@tracker.on_kill
async def stop_working(kill):
    """Clean up before the page is closed: there are 2 s for it."""
    for work in list(running):
        work.cancel()


run.on_click(run_task)

pn.Column("# Task runner", name, seconds, run, progress, state, max_width=480).servable()
