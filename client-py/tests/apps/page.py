"""A Panel page with the ways to be busy that a kill has to cope with; it prints what happens to it."""

import asyncio
import os
import time

import panel as pn

from session_client import SessionClient
from sessionwatch import settings

RECONNECT = {"true": True, "prompt": "prompt"}.get(os.environ.get("RECONNECT", ""), False)
pn.extension(notifications=True, disconnect_notification="You have been disconnected", reconnect=RECONNECT)

settings.PAGE_IDLE = float(os.environ.get("PAGE_IDLE", settings.PAGE_IDLE))
tracker = SessionClient.get_tracker(app_name=os.environ["APP_NAME"], server_url=os.environ["MONITOR_URL"],
                                    idle="TELLS_IDLE" not in os.environ)
assert tracker is SessionClient.get_tracker(app_name=os.environ["APP_NAME"], server_url=os.environ["MONITOR_URL"])
print("SCRIPT", os.getpid(), tracker.session_id, flush=True)


def say(*words, print=print):  # the module's names are gone by the time that a destroyed page says its last
    print(*words, flush=True)


def on_kill(kill, say=say):
    if kill.cause == "killed":
        say("CALLBACK")


def on_kill_with_an_error(kill):
    if kill.cause == "killed":
        raise RuntimeError("a callback that fails")


async def on_kill_async(kill, say=say):
    if kill.cause == "killed":
        say("ASYNC CALLBACK", kill.by, kill.reason)


def on_end(end, say=say):
    say("END", end.cause)


tracker.on_end(on_end)
tracker.on_kill(on_kill_with_an_error)
tracker.on_kill(on_kill)
tracker.on_kill(on_kill_async)
pn.state.on_session_destroyed(lambda context, say=say: say("DESTROYED"))

hold = pn.widgets.Button(name="Hold the lock for 6 s")
block = pn.widgets.Button(name="Block the loop for 3 s")
report = pn.widgets.Button(name="Report")
beside_button = pn.widgets.Button(name="Ask beside")
wait = pn.widgets.Button(name="Wait")
wait.on_click(lambda event: tracker.set_status("waiting"))
typed = pn.widgets.TextInput(placeholder="type here")
shown = pn.pane.Markdown("ready")


async def hold_the_lock(event, say=say, sleep=asyncio.sleep):
    with tracker.task("holding"):
        say("HOLDING")
        await sleep(6)
        say("HELD")


def block_the_loop(event, say=say, sleep=time.sleep):
    with tracker.task("blocking"):
        say("BLOCKING")
        tracker.flush(1)
        sleep(3)
        say("BLOCKED")


async def make_report(event, sleep=asyncio.sleep):
    async with tracker.task("Generating Report"):
        shown.object = "working"
        await sleep(0.5)
    shown.object = "finished"


async def ask_beside(event, say=say):
    """Ask for the tracker in all that a page may start; workers of the pools are shared by all pages."""
    import beside

    say("PAGE", tracker.session_id)
    await beside.ask_in_all_ways(os.environ["APP_NAME"], os.environ["MONITOR_URL"], say)
    say("ASKED ALL")


beside_button.on_click(ask_beside)
hold.on_click(hold_the_lock)
block.on_click(block_the_loop)
report.on_click(make_report)
pn.Column(hold, block, report, beside_button, wait, typed, shown).servable()
