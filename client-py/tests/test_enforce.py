"""The Starlette example of docs/enforce.md, run as it stands there."""

from __future__ import annotations

import http.client
import re
import sys

from support import ROOT, Monitor, Process, eventually, free_port

PROGRAM = re.search(r"^```python\n(.*?)^```", (ROOT / "docs/enforce.md").read_text(), re.M | re.S)[1]


def answer(port: int, cookie: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Cookie": f"monitor_session={cookie}"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def test_a_killed_session_is_refused_and_a_live_one_is_not(tmp_path):
    with Monitor() as monitor:
        for session_id in ("live", "killed"):
            monitor.ask("POST", "/sessions", {"app_name": "shop", "session_id": session_id})
        (tmp_path / "guarded.py").write_text(PROGRAM)
        port = free_port()
        # A local monitor takes any view token for granted; a wrong one it would refuse.
        command = [sys.executable, "-m", "uvicorn", "guarded:app", "--port", str(port), "--app-dir", str(tmp_path)]
        with Process(command, {"SESSIONWATCH_URL": monitor.url, "SESSIONWATCH_VIEW_TOKEN": monitor.token("view")}):
            eventually(lambda: answer(port, "live") == 200, what="the app")
            assert answer(port, "killed") == 200
            monitor.kill("killed")
            assert answer(port, "killed") == 410
            assert answer(port, "live") == 200
            assert answer(port, "never") == 410
            assert answer(port, "../live") == 410
