"""All sessions of a monitor over plain HTTP, one request a frame, for where a WebSocket cannot be had."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import ssl
import time
import urllib.request
from typing import Any, Dict, Optional, Tuple
from urllib.parse import quote, unquote, urlsplit

from .settings import CONNECT_TIMEOUT, WEBSOCKET_RETRY
from .transport import Away, Hear
from .values import Frame
from .websocket import is_loopback

# The fields of a frame that its request does not carry.
_OUTSIDE = ("type", "session_id", "shared", "session_token")


class HttpTransport:
    """Requests over one kept-alive connection; they block the engine's own thread and nobody else."""

    beats = True

    def __init__(self, url: str, token: Optional[str], hear: Hear) -> None:
        self._hear, self._token = hear, token
        self._tokens: Dict[str, str] = {}  # of the sessions
        self._connection, self._base, self._headers = _connection(url)
        self._until = time.monotonic() + WEBSOCKET_RETRY

    async def send(self, frame: Frame) -> None:
        kind, session_id = frame["type"], frame["session_id"]
        body = {name: value for name, value in frame.items() if name not in _OUTSIDE}
        if "session_token" in frame:
            self._tokens[session_id] = frame["session_token"]
        if kind == "register":
            status, answer = self._ask("PUT", session_id, "", body)
            if status in (200, 201):
                self._tokens[session_id] = answer.get("session_token") or self._tokens.get(session_id, "")
                self._hear({**answer, "type": "registered", "session_id": session_id, "resumed": status == 200})
                return
        elif kind == "status":
            status, answer = self._ask("PUT", session_id, "/status", body)
        elif kind in ("heartbeat", "visibility"):
            status, answer = self._ask("POST", session_id, "/heartbeat", body)
            if answer.get("kill_requested"):
                self._hear({**answer, "type": "kill", "session_id": session_id})
        elif kind == "stay":
            status, answer = self._ask("POST", session_id, "/stay", {})
        elif kind in ("bye", "kill_ack"):
            self._ask("POST", session_id, "/end", {})
            self._tokens.pop(session_id, None)
            self._hear({"type": "left", "session_id": session_id})
            return
        else:
            return  # messages do not come over HTTP
        if status != 200:
            detail = str(answer.get("detail") or answer.get("title") or status)
            self._hear({**answer, "type": "error", "session_id": session_id, "status": status, "detail": detail})

    async def listen(self) -> None:
        """Nothing comes in by itself. After a while the WebSocket is worth another try."""
        await asyncio.sleep(max(0.0, self._until - time.monotonic()))
        raise Again()

    def _ask(self, method: str, session_id: str, verb: str, body: Frame) -> Tuple[int, Dict[str, Any]]:
        """Status and JSON of the answer, `{}` where there is none. Raises `Away` when nobody answers."""
        if token := self._tokens.get(session_id):
            body = {**body, "session_token": token}
        headers = {"Content-Type": "application/json", **self._headers}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        path = f"{self._base}/sessions/{quote(session_id, safe='')}{verb}"
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        try:
            response, received = self._exchange(method, path, data, headers)
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            if isinstance(error, TimeoutError):
                raise Away(str(error)) from error
            try:  # a kept-alive connection may have been closed meanwhile
                response, received = self._exchange(method, path, data, headers)
            except (http.client.HTTPException, OSError) as again:
                self._connection.close()
                raise Away(str(again) or type(again).__name__) from again
        if response.status in (502, 503, 504):
            raise Away(f"HTTP {response.status}")
        try:
            answer = json.loads(received)
        except ValueError:
            answer = None
        return response.status, answer if isinstance(answer, dict) else {}

    def _exchange(self, method: str, path: str, data: bytes, headers: Dict[str, str]) -> Tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        return response, response.read()

    async def close(self) -> None:
        self._connection.close()

    def abandon(self) -> None:
        with contextlib.suppress(Exception):
            os.close(self._connection.sock.detach())


class Again(Away):
    """HTTP has lasted for a while; the monitor is not away."""

    def __init__(self) -> None:
        super().__init__("the WebSocket is tried again")


def _connection(url: str) -> Tuple[http.client.HTTPConnection, str, Dict[str, str]]:
    """A connection to the monitor, directly or through the environment's proxy; what paths begin with; more headers."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    proxy = None
    if not is_loopback(url) and not urllib.request.proxy_bypass(f"{host}:{port}"):
        proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy is None:
        if context is not None:
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=context), parts.path, {}
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT), parts.path, {}
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    headers = {}
    if through.username:
        secret = f"{unquote(through.username)}:{unquote(through.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
    proxy_host, proxy_port = through.hostname or "", through.port or 80
    if context is not None:
        tunnel = http.client.HTTPSConnection(proxy_host, proxy_port, timeout=CONNECT_TIMEOUT, context=context)
        tunnel.set_tunnel(host, port, headers)
        return tunnel, parts.path, {}
    return http.client.HTTPConnection(proxy_host, proxy_port, timeout=CONNECT_TIMEOUT), url, headers
