"""All sessions of a monitor on one WebSocket, over the asyncio client of the package `websockets`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
from typing import Any, List
from urllib.parse import urlsplit

from .settings import CONNECT_TIMEOUT, PING_EVERY, PING_TIMEOUT
from .transport import Away, Hear, NoWebSocket, Refused
from .values import Frame

_quiet = logging.getLogger("sessionwatch.websocket")
_quiet.setLevel(logging.CRITICAL)


class WebSocketTransport:
    """The connection to `/ws/client`. A quiet server is asked for a sign of life."""

    beats = False

    def __init__(self, connection: Any, hear: Hear) -> None:
        self._connection, self._hear = connection, hear

    @classmethod
    async def open(cls, url: str, token: str | None, hear: Hear) -> WebSocketTransport:
        """Connect and shake hands. Raises `NoWebSocket` when refused, `OSError` or `Away` when out of reach."""
        try:
            from websockets.asyncio.client import connect
            from websockets.exceptions import InvalidHandshake, InvalidMessage, WebSocketException
        except ImportError as error:
            raise NoWebSocket("the package 'websockets' 15 or newer is not installed") from error
        offered: List[Any] = ["sessionwatch.v1"]
        if token:
            offered.append("sessionwatch.auth." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("="))
        try:
            connection = await connect(
                "ws" + url[len("http"):] + "/ws/client",
                subprotocols=offered, compression=None, proxy=None if is_loopback(url) else True, logger=_quiet,
                open_timeout=CONNECT_TIMEOUT, ping_interval=PING_EVERY, ping_timeout=PING_TIMEOUT, close_timeout=1.0,
            )
        except (InvalidMessage, asyncio.TimeoutError) as error:
            raise Away(str(error) or "it does not answer") from error
        except (InvalidHandshake, TypeError) as error:
            raise NoWebSocket(str(error)) from error
        except WebSocketException as error:
            raise Away(str(error)) from error
        return cls(connection, hear)

    async def send(self, frame: Frame) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(json.dumps(frame, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
            if frame["type"] in ("bye", "kill_ack"):
                # There is no session to ask about any more; the pong tells that the goodbye has been received.
                pong = await self._connection.ping(os.urandom(8).hex())
                pong.add_done_callback(lambda answer: self._left(answer, frame["session_id"]))
        except ConnectionClosed as error:
            raise self._closed(error) from error

    def _left(self, answer: Any, session_id: str) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._hear({"type": "left", "session_id": session_id})

    async def listen(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                text = await self._connection.recv()
                with contextlib.suppress(ValueError):
                    frame = json.loads(text)
                    if isinstance(frame, dict):
                        self._hear(frame)
        except ConnectionClosed as error:
            raise self._closed(error) from error

    @staticmethod
    def _closed(error: Any) -> Exception:
        close = error.rcvd
        if close is None:
            return Away("the connection broke, or fell silent")
        if close.code in (4401, 4403):
            return Refused(close.reason or "no or wrong token, or not allowed")
        return Away(f"it closed the connection, {close.code} {close.reason}", close.code)

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._connection.close()

    def abandon(self) -> None:
        with contextlib.suppress(Exception):
            shared = self._connection.transport.get_extra_info("socket")
            os.close(shared._sock.detach())  # the object keeps no number that the child may use for another file


def is_loopback(url: str) -> bool:
    """Whether the monitor is on this machine, where no proxy could reach it."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
