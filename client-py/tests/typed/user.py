"""A small program of a user, whom `mypy --strict` and pyright must find nothing to say about."""

from __future__ import annotations

import session_client
from session_adapters import websocket_session
from session_client import SessionClient
from sessionwatch import DEFAULT_SERVER_URL, End, Host, Kill, Message, register_host

tracker: SessionClient = SessionClient.get_tracker(
    "app", user_id=None, server_url=DEFAULT_SERVER_URL, heartbeat_interval=5, token="t", meta={"tier": "gold", "seats": 3},
    on_kill_at_end=True, idle=False,
)
own = session_client.SessionClient("own")


@tracker.on_kill
def killed(kill: Kill) -> None:
    print(kill.cause, kill.reason, kill.by)


@tracker.on_end
async def ended(end: End) -> None:
    print(end.cause, end.kill)


@tracker.on_message
def said(message: Message) -> None:
    print(message.text.upper(), message.level)


with tracker.task("work", status="loading") as same:
    same.set_status("uploading", "part 2")


async def asynchronous(websocket: object) -> None:
    async with websocket_session(websocket, app_name="chat", user_id="ada") as session, session.task("talking"):
        print(session.session_id)


class Kiosk(Host):
    """A framework of the user's own."""


def find() -> Host | None:
    return Kiosk()


register_host("kiosk", find)
killed(Kill())
seen: bool = tracker.flush(1.0)
words: list[str] = [tracker.session_id, tracker.app_name, tracker.server_url]
user: str | None = tracker.user_id
interval: float = tracker.heartbeat_interval + own.heartbeat_interval
print(tracker.connected, tracker.killed)
tracker.set_idle(60)
tracker.stay()
tracker.stop()
