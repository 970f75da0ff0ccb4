"""Where the monitor is, and how long things take."""

from __future__ import annotations

import os
from typing import Optional
from urllib.parse import urlsplit

#: Where the monitor is unless `server_url` or the environment variable `SESSIONWATCH_URL` says otherwise.
DEFAULT_SERVER_URL = "http://localhost:8000"

# Seconds.
CONNECT_TIMEOUT = 5.0
PING_EVERY, PING_TIMEOUT = 20.0, 15.0
BACKOFF_FIRST, BACKOFF_MOST = 0.2, 15.0
LINGER = 5.0  # how long thread and connection outlive the last session
WEBSOCKET_RETRY = 300.0  # how long the HTTP fallback lasts before the WebSocket is tried again
REFUSED_RETRY = 300.0  # between two tries where the monitor refuses, or locks out without saying until when
EXIT_PATIENCE = 1.5  # what the end of the process may wait for the last words
PAGE_IDLE = 60.0  # without input for this long the user of a page counts as idle
PAGE_RENDERS = 3.0  # how long a page may take to render, where nothing tells when it has
PAGE_FAREWELL = 0.5  # between the closing of a page's sockets and the end of its session on the server


def default_server_url() -> str:
    """The monitor's address where the app names none."""
    return os.environ.get("SESSIONWATCH_URL") or DEFAULT_SERVER_URL


def clean_url(server_url: object) -> Optional[str]:
    """The address in one form, None where it is not one of http or https."""
    try:
        parts = urlsplit(str(server_url).strip().rstrip("/"))
        port = parts.port  # raises for what is no port
        host = parts.hostname
    except ValueError:
        return None
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in ("http", "https") or not host or port == 0:
        return None
    return f"{scheme}://{parts.netloc}{parts.path}"
