"""A Shiny session with a task."""

import asyncio
import os

from shiny import App, reactive, render, ui

from session_client import SessionClient

app_ui = ui.page_fluid(ui.input_action_button("report", "Report"), ui.output_text("shown"))


def server(input, output, session):
    def tracker():
        return SessionClient.get_tracker(app_name=os.environ["APP_NAME"], server_url=os.environ["MONITOR_URL"])

    tracker().on_kill(lambda: print("CALLBACK", flush=True))
    session.on_ended(lambda: print("ENDED", flush=True))

    @render.text
    def shown():
        return f"ready {input.report()}"

    @reactive.effect
    @reactive.event(input.report)
    async def report():
        async with tracker().task("Generating Report"):
            await asyncio.sleep(0.5)


app = App(app_ui, server)
