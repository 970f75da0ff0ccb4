"""The frameworks in which a session may live. Each registers how to find the session whose code is running."""

from __future__ import annotations

import importlib
import sys
from typing import Callable, Dict, Optional, Union

from .. import belonging
from ..values import log
from .base import Host, LoopHost, Nowhere

__all__ = ["Host", "LoopHost", "Nowhere", "page", "present", "register_host"]

Find = Callable[[], Optional[Host]]

# The framework's module, and how to find its present session: a function, or the name of the module here that has one.
# A framework that an app does not use is never imported, and neither is what stands here about it.
_registered: Dict[str, Union[str, Find]] = {
    "bokeh.document": "bokeh",
    "shiny.session": "shiny",
    "streamlit.runtime": "streamlit",
    "starlette.websockets": "starlette",
}


def register_host(module: str, find: Find) -> None:
    """Teach the client another framework.

    `find` returns the `Host` of the session whose code is running, the same one each time, or None outside of any. It is
    asked once `module` has been imported, on the thread and in the context of that code.
    """
    _registered[module] = find


def page() -> Optional[Host]:
    """The page whose code is running, as its framework tells; None where it does not."""
    for module in list(_registered):
        if module not in sys.modules:
            continue
        find = _registered[module]
        try:
            if isinstance(find, str):
                find = _registered[module] = importlib.import_module(f"{__name__}.{find}").current
            host = find()
            # A child of `fork` is no page of its parent's, whatever the framework has left there.
            if host is not None and host.generation == belonging.generation():
                return host
        except Exception:
            log.debug("whether this is code of a page of %s could not be told", module, exc_info=True)
    return None


def present() -> Host:
    """Where the calling code lives: a page, also in what that page has started, or else the process."""
    global serves_pages
    if (host := page()) is not None:
        serves_pages = True
        if not isinstance(host, Nowhere):
            belonging.note_page(host)
        return host
    noted = belonging.noted()
    if isinstance(noted, Host):
        return noted
    return Host() if noted is None else _nowhere


#: Whether this process has had a page.
serves_pages = False
_nowhere = Nowhere()
belonging.install(page)
