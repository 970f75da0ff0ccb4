"""The Python client of sessionwatch under the name of the original system's file; all of it is in `sessionwatch`."""

from sessionwatch import (
    DEFAULT_SERVER_URL,
    End,
    Host,
    Kill,
    LoopHost,
    Message,
    SessionClient,
    Task,
    __version__,
    register_host,
    websocket_session,
)

__all__ = [
    "DEFAULT_SERVER_URL",
    "End",
    "Host",
    "Kill",
    "LoopHost",
    "Message",
    "SessionClient",
    "Task",
    "__version__",
    "register_host",
    "websocket_session",
]
