"""What the tests share: a real monitor, real app servers, and waiting without guessing how long."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client-py"
APPS = Path(__file__).resolve().parent / "apps"


def binary() -> Path:
    """The server under test: `SESSIONWATCH_BIN`, else what cargo has built."""
    named = os.environ.get("SESSIONWATCH_BIN")
    candidates = [Path(named)] if named else [ROOT / "target/release/sessionwatch", ROOT / "target/debug/sessionwatch"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no server to test against: {', '.join(map(str, candidates))}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
    """Ask until `condition` gives something true, and return it; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}; last was {result!r}")
        time.sleep(0.01)


class Process:
    """A program in a process group of its own, whose output is kept and can be waited for."""

    def __init__(self, arguments: list[str], env: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._grown = threading.Condition()
        environment = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONUNBUFFERED": "1", **(env or {})}
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(line.rstrip("\n"))
                self._grown.notify_all()

    def wait_for_line(self, text: str, timeout: float = 30.0, count: int = 1) -> str:
        """The `count`-th line that contains `text`, once it has been printed."""
        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with self._grown:
            if not self._grown.wait_for(lambda: len(found()) >= count, timeout):
                raise AssertionError(f"no {text!r} in the output of {self.process.args}:\n" + "\n".join(self.lines))
            return found()[count - 1]

    def output(self) -> str:
        return "\n".join(self.lines)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        self.process.wait(10)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(signal.SIGTERM if os.environ.get("COVERAGE_PROCESS_START") else signal.SIGKILL)


class Monitor:
    """The real server, on a port that stays the same across `kill9` and `start`."""

    def __init__(self, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sessionwatch-test-")
        self._options = options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self._process = Process([str(binary()), "--listen", f"127.0.0.1:{self.port}",
                                 "--db", f"{self._folder.name}/monitor.db", *self._options])
        self._process.wait_for_line("is listening on", 20)

    def kill9(self) -> None:
        self._process.kill(signal.SIGKILL)

    def close(self) -> None:
        self._process.kill(signal.SIGKILL)
        self._folder.cleanup()

    def output(self) -> str:
        return self._process.output()

    def ask(self, method: str, path: str, body: dict | None = None, token: str | None = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body or {}).encode() if method != "GET" else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def sessions(self, app_name: str | None = None) -> list[dict]:
        status, answer = self.ask("GET", "/sessions" + (f"?app_name={app_name}" if app_name else ""))
        assert status == 200, answer
        return answer["sessions"]

    def session(self, session_id: str) -> dict | None:
        status, answer = self.ask("GET", f"/sessions/{session_id}")
        return answer if status == 200 else None

    def only(self, app_name: str, timeout: float = 10.0, **wanted: Any) -> dict:
        """The one session of an app, once it is there with the `wanted` fields."""
        def there() -> dict | None:
            rows = self.sessions(app_name)
            assert len(rows) <= 1, rows
            return rows[0] if rows and all(rows[0][name] == value for name, value in wanted.items()) else None

        return eventually(there, timeout, f"one session of {app_name} with {wanted}")

    def gone(self, session_id: str, timeout: float = 10.0) -> None:
        eventually(lambda: self.session(session_id) is None, timeout, f"the end of {session_id}")

    def kill(self, session_id: str, reason: str = "test") -> str:
        status, answer = self.ask("POST", f"/sessions/{session_id}/kill", {"reason": reason, "by": "pytest"})
        assert status == 200, answer
        return answer["kill_id"]

    def events(self, session_id: str) -> list[dict]:
        status, answer = self.ask("GET", f"/sessions/{session_id}/timeline")
        assert status == 200, answer
        return answer["events"]

    def event(self, session_id: str, kind: str, timeout: float = 10.0) -> dict:
        return eventually(lambda: next((e for e in self.events(session_id) if e["kind"] == kind), None),
                          timeout, f"{kind} of {session_id}")


def python(script: str, env: dict[str, str] | None = None) -> Process:
    """Run a Python program given as text."""
    return Process([sys.executable, "-c", script], env)
