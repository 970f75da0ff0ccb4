"""The callbacks of an app: kept with the context in which they were given, and run one after another."""

from __future__ import annotations

import contextvars
import inspect
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

from .belonging import start_unnoted
from .hosts.base import Host
from .values import End, Kill, Lock, Message, log

Entry = Tuple[Callable[..., Any], contextvars.Context]

_WHEN: Dict[type, str] = {Lock: "locked"}

END_PATIENCE = 10.0  # seconds that an async callback has, where no kill sets a limit


@dataclass(eq=False)
class Callbacks:
    """The callbacks of one tracker. `kill_at_end` tells whether those of `on_kill` run at every end."""

    kill_at_end: bool
    kill: List[Entry] = field(default_factory=list)
    end: List[Entry] = field(default_factory=list)
    message: List[Entry] = field(default_factory=list)
    locked: List[Entry] = field(default_factory=list)

    def at_end(self, end: End) -> List[Tuple[Entry, Any]]:
        """Those to run at this end, each with its argument."""
        kill = self.as_kill(end)
        for_kill = [] if kill is None else [(entry, kill) for entry in self.kill]
        return [*for_kill, *((entry, end) for entry in self.end)]

    def as_kill(self, end: End) -> Optional[Kill]:
        """What `on_kill` is given at this end, None where it is not run."""
        if end.kill is not None:
            return end.kill
        return Kill(cause=end.cause) if self.kill_at_end and end.cause != "stopped" else None


def entry(callback: Callable[..., Any]) -> Entry:
    """A callback with the present context, in which it will run."""
    return callback, contextvars.copy_context()


def run(host: Host, calls: List[Tuple[Entry, Any]], patience: float = END_PATIENCE) -> None:
    """Run callbacks, each with its argument if it takes one. What they raise is logged."""
    for (callback, context), argument in calls:
        try:
            arguments = (argument,) if _takes_argument(callback) or isinstance(argument, Message) else ()
            result = context.run(host.call, callback, *arguments)
            if inspect.isawaitable(result):
                host.wait_for(result, patience)
        except BaseException:  # a sys.exit() in a callback must not keep the page open either
            log.exception("a callback of on_%s failed; %s", _WHEN.get(type(argument), type(argument).__name__.lower()),
                          "the session goes on" if isinstance(argument, (Message, Lock)) else "the session ends all the same")


def run_beside(target: Callable[[], None]) -> None:
    """Run `target` in a thread of its own, or here where the process ends and starts no more threads."""
    try:
        start_unnoted(threading.Thread(target=target, name="sessionwatch-callbacks", daemon=True))
    except RuntimeError:
        target()


def _takes_argument(callback: Callable[..., Any]) -> bool:
    """Whether a callback wants to be told: it has a positional parameter without a default."""
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
