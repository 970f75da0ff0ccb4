"""Panel pages in a real browser, for the tests."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

from bokeh.document import Document
from bokeh.document.events import MessageSentEvent
from bokeh.events import DocumentReady
from bokeh.protocol import Protocol
from bokeh.util.token import generate_jwt_token, generate_session_id
from websockets.asyncio.client import ClientConnection, connect

from support import APPS, CLIENT, Gate, Monitor, Process, eventually, free_port

CLOSE_REASON = "Session terminated by administrator"
NOTIFICATION = "You have been disconnected"

# Notes every WebSocket's opening and closing with the time, before any script of the page runs.
SPY = """
window.opens = 0; window.closes = [];
window.WebSocket = class extends window.WebSocket {
  constructor(...given) {
    super(...given);
    window.asked = given;
    this.addEventListener('open', () => { window.opens += 1; });
    this.addEventListener('close', (event) => {
      window.closes.push({ code: event.code, reason: event.reason, at: Date.now() });
    });
  }
};
"""


class PanelServer(Process):
    """`page.py` under `panel serve`, or mounted in FastAPI."""

    def __init__(self, monitor: Monitor | Gate, app_name: str, *options: str, fastapi: bool = False, **env: str) -> None:
        self.port = free_port()
        if fastapi:
            command = [sys.executable, str(APPS / "mounted.py"), str(self.port)]
        else:
            command = [sys.executable, "-m", "panel", "serve", str(APPS / "page.py"), "--port", str(self.port),
                       "--check-unused-sessions", "500", "--unused-session-lifetime", "3000",
                       "--plugins", "table", *options]
        self.url = f"http://localhost:{self.port}/page"
        super().__init__(command, {"MONITOR_URL": monitor.url, "APP_NAME": app_name, **env,
                                   "PYTHONPATH": f"{CLIENT}:{APPS}"})
        eventually(self._answers, 40, "the app's server to answer")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.output()
        try:
            self.table()
            return True
        except OSError:
            return False

    def table(self) -> list[str]:
        """The Bokeh ids in the server's session table."""
        return self._get("/table")

    def threads(self) -> list[str]:
        """The names of the server's threads."""
        return self._get("/threads")

    def _get(self, path: str) -> list[str]:
        with urllib.request.urlopen(f"http://localhost:{self.port}{path}", timeout=5) as answer:
            return json.loads(answer.read())


@contextlib.asynccontextmanager
async def bare_page(server: PanelServer) -> AsyncIterator[ClientConnection]:
    """A page without a browser: its WebSocket, and the word that BokehJS sends when the page has rendered."""
    token = generate_jwt_token(generate_session_id(), extra_payload={"headers": {}, "cookies": {}, "arguments": {}})
    async with connect(server.url.replace("http", "ws") + "/ws", subprotocols=["bokeh", token], origin=f"http://localhost:{server.port}",
                       max_size=None, open_timeout=60) as websocket:
        await websocket.recv()  # the ACK comes once the app's script has run
        ready = MessageSentEvent(Document(), "bokeh_event", DocumentReady())
        message = Protocol().create("PATCH-DOC", [ready])
        for part in (message.header_json, message.metadata_json, message.content_json):
            await websocket.send(part)
        yield websocket


class Page:
    """One page of one user."""

    def __init__(self, browser: Any, url: str) -> None:
        self.context = browser.new_context()
        self.page = self.context.new_page()
        self.page.add_init_script(SPY)
        self.open(url)

    def open(self, url: str) -> None:
        """Load the app, anew: another session."""
        self.page.goto(url)
        self.page.wait_for_function("window.opens > 0")
        self.page.get_by_text("ready").wait_for()

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def closes(self) -> list[dict]:
        return self.page.evaluate("window.closes")

    def opened(self) -> int:
        return self.page.evaluate("window.opens")

    def wait_closed(self, count: int = 1, timeout: float = 10.0) -> dict:
        self.page.wait_for_function(f"window.closes.length >= {count}", timeout=timeout * 1000)
        return self.closes()[count - 1]

    def come_back(self) -> None:
        """Connect once more, with the address and the token that BokehJS used."""
        self.page.evaluate("void new WebSocket(...window.asked)")

    def wait_notified(self) -> str:
        toast = self.page.locator(".notyf__disconnect")
        toast.wait_for(timeout=5000)
        return toast.inner_text()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
