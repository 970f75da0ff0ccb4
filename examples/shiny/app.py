"""A Shiny for Python app whose users show up in sessionwatch.

    pip install shiny sessionwatch
    shiny run examples/shiny/app.py --port 8001
"""

import asyncio
import os

from shiny import App, reactive, render, ui

from session_client import SessionClient

app_ui = ui.page_fluid(
    ui.h2("Report"),
    ui.input_slider("seconds", "Duration in seconds", min=1, max=60, value=5),
    ui.input_action_button("run", "Run"),
    ui.output_text("state"),
)


def server(input, output, session):
    tracker = SessionClient.get_tracker(
        app_name="shiny_report",
        server_url=os.environ.get("SESSIONWATCH_URL", "http://localhost:8000"),
    )
    done = reactive.value("Idle.")

    @render.text
    def state():
        return done()

    @reactive.effect
    @reactive.event(input.run)
    async def report():
        async with tracker.task("Generating Report"):
            await asyncio.sleep(input.seconds())
        done.set("Done.")


app = App(app_ui, server)
