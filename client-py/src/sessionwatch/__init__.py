"""The Python client of sessionwatch.

    from sessionwatch import SessionClient

    tracker = SessionClient.get_tracker(app_name="my_app")
    with tracker.task("Generating Report"):
        ...

Nothing here waits for the monitor on the caller's thread. Each process has one daemon thread and one WebSocket a
monitor, both started at the first use; all its sessions share them, and where a WebSocket is refused they beat over
HTTP. A monitor that is away, slow or silent never hurts the app: when it comes back, every session registers by
itself with the status it has by then.

In a Panel, Bokeh, Shiny or Streamlit app a tracker belongs to the page, and a kill closes that page for good. For a
Starlette or FastAPI WebSocket there is `websocket_session`. Everywhere else there is one tracker a process, app and
monitor, and a kill runs the callbacks of `on_kill`.

The modules, from the outside in: `client` is what an app sees; `session` one session, `presence` what it shows, `clean`
what may be sent; `engine` the thread, `machine` its pure state machine, `websocket` and `over_http` its two transports;
`hosts` where a session lives; `belonging` whose page a thread works for.
"""

from .client import SessionClient, Task
from .hosts import register_host
from .hosts.base import Host, LoopHost
from .hosts.starlette import websocket_session
from .settings import DEFAULT_SERVER_URL
from .values import End, Kill, Lock, Message, __version__

__all__ = [
    "DEFAULT_SERVER_URL",
    "End",
    "Host",
    "Kill",
    "Lock",
    "LoopHost",
    "Message",
    "SessionClient",
    "Task",
    "__version__",
    "register_host",
    "websocket_session",
]
