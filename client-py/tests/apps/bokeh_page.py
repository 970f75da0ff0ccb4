"""A page of Bokeh alone; its pages reconnect by themselves unless told otherwise."""

import os
import sys

from bokeh.io import curdoc
from bokeh.models import Button, Div

from session_client import SessionClient

tracker = SessionClient.get_tracker(app_name=os.environ["APP_NAME"], server_url=os.environ["MONITOR_URL"])
assert "panel" not in sys.modules
tracker.on_kill(lambda print=print: print("CALLBACK", flush=True))
curdoc().on_session_destroyed(lambda session_context, print=print: print("DESTROYED", flush=True))

count = 0
shown = Div(text="ready")
button = Button(label="Report")


def report(event):
    with tracker.task("Generating Report"):
        tracker.flush(2)


button.on_click(report)
curdoc().add_root(button)
curdoc().add_root(shown)
