"""What a Bokeh page tells of its user, and what it asks: a model without a view, whose script is `bokeh_script.js`."""

from __future__ import annotations

import itertools
import json
import math
import pkgutil
import weakref
from typing import Any, Callable, Dict, List, Tuple

from .. import settings
from ..values import Message, log

#: Warnings that are remembered as not answered yet.
WARNINGS_MOST = 16


class PageScript:
    """The client's script in one page.

    Its model is added once the page's WebSocket is open: before, the page's template would have to have a place for it. A
    page that was open already may be in the midst of its first rendering, and then waits for that to be over.
    """

    def __init__(self, document: Any) -> None:
        self._document = weakref.ref(document)
        self._followers: List[Callable[[float], None]] = []
        self._warnings: Dict[str, Callable[[str], None]] = {}
        self._numbers = itertools.count(1)
        self._model: Any = None
        self._wanted = self._rendered = False
        self._works = False  # the page has answered, so its script runs
        self._waiting: List[Tuple[Callable[[], None], Callable[[], None]]] = []
        document.on_event("document_ready", lambda event: self._ready())

    def follow(self, tell: Callable[[float], None]) -> None:
        """Call `tell` with the seconds for which the user has done nothing, whenever the user becomes idle or active."""
        self._followers.append(tell)
        if self._works:
            self._say("follow")

    def opened(self, just_now: bool = True) -> None:
        """A WebSocket of the page has opened, or was open before a session needed the script."""
        document = self._document()
        if document is None:
            return
        self._wanted = True
        if just_now or self._rendered:
            document.add_next_tick_callback(self._begin)
        else:
            document.add_timeout_callback(self._ready, round(settings.PAGE_RENDERS * 1000))

    def warn(self, message: Message, shown: Callable[[], None], stay: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Ask the user to stay; `otherwise` is called where the page's script does not run."""
        document = self._document()
        if document is None:
            return

        def ask() -> None:
            if self._works:
                self._ask(message, shown, stay)
                return
            self._waiting.append((lambda: self._ask(message, shown, stay), otherwise))
            document.add_timeout_callback(self._give_up, round(settings.PAGE_RENDERS * 1000))

        document.add_next_tick_callback(ask)

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, otherwise in waiting:
            otherwise()

    def _ask(self, message: Message, shown: Callable[[], None], stay: Callable[[], None]) -> None:

        def answered(what: str) -> None:
            if what == "shown":
                shown()
            elif self._warnings.pop(message.message_id, None):
                stay()

        self._warnings[message.message_id] = answered
        while len(self._warnings) > WARNINGS_MOST:
            del self._warnings[next(iter(self._warnings))]
        self._say("warn", message.message_id, message.text, message.ends_at)

    def _begin(self) -> None:
        document = self._document()
        if document is None:
            return
        self._add(document)
        if self._rendered:
            self._say("here")

    def _ready(self) -> None:
        """The page has been rendered."""
        self._rendered = True
        if self._wanted:
            self._begin()

    def _add(self, document: Any) -> None:
        from bokeh.models import ColumnDataSource, CustomJS

        if self._model is None:
            code = (pkgutil.get_data(__name__, "bokeh_script.js") or b"").decode()
            self._model = ColumnDataSource(name="", js_property_callbacks={
                "change:tags": [CustomJS(code=f"const idle_after = {settings.PAGE_IDLE};\n{code}")]})
            self._model.on_change("name", self._hear)
        if self._model.document is None:
            document.add_root(self._model)

    def _say(self, *words: Any) -> None:
        document = self._document()
        if document is not None:
            self._add(document)  # again, where the app has cleared its document
            self._model.tags = [next(self._numbers), *words]

    def _hear(self, attribute: str, old: Any, new: Any) -> None:
        """The page says something. Its user can make it say anything."""
        try:
            _, what, *rest = json.loads(new)
            if what == "here":
                self._works = True
                if self._followers:
                    self._say("follow")
                waiting, self._waiting = self._waiting, []
                for ask, _ in waiting:
                    ask()
            elif what == "idle":
                seconds = float(rest[0])
                if math.isfinite(seconds) and seconds >= 0:
                    for tell in self._followers:
                        tell(seconds)
            elif what in ("shown", "stay") and (answered := self._warnings.get(str(rest[0]))):
                answered(what)
        except (ValueError, TypeError, IndexError):
            log.debug("the page says %r", new)
