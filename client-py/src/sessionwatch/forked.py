"""What a worker process must not inherit from the app server that forked it: the server's way to take signals.

asyncio has signals written into a socket that a forked child shares with its server, and leaves the child a handler that
does nothing. So the SIGTERM by which `Pool.terminate()` ends a worker would stop the whole server instead, with all of its
pages, and leave the worker running. Python 3.12 closes the first gap, none the second.
"""

from __future__ import annotations

import contextlib
import signal

_SERVERS = ("asyncio", "tornado", "bokeh", "uvicorn")


def take_own_signals() -> None:
    """In a child of `fork`: signals that the server had taken end this process, as they do by default."""
    with contextlib.suppress(ValueError):  # not in the main thread: then this process takes no signals anyway
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        inherited = [number for number, handler in handlers.items() if _is_a_servers(handler)]
        if inherited:
            signal.set_wakeup_fd(-1)
        for number in inherited:
            signal.signal(number, signal.SIG_DFL)


def _is_a_servers(handler: object) -> bool:
    module = getattr(handler, "__module__", None) or ""
    return str(module).split(".")[0] in _SERVERS
