"""What the tests share: a real monitor, real app servers, and waiting without guessing how long."""

from __future__ import annotations

import asyncio
import contextlib
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
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client-py" / "src"
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


@contextlib.contextmanager
def out_of_reach(how: str) -> Iterator[str]:
    """The URL of a monitor that `refuses`, `is silent` once connected, `swallows packets`, or `has no name`."""
    with contextlib.ExitStack() as held, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        if how == "swallows packets":  # a full backlog leaves further connections unanswered
            for _ in range(4):
                waiting = held.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(address)
        yield {
            "refuses": "http://127.0.0.1:9",
            "is silent": f"http://127.0.0.1:{address[1]}",
            "swallows packets": f"http://127.0.0.1:{address[1]}",
            "has no name": "http://monitor.invalid:8000",
        }[how]


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


def run_async(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in a thread without the event loop that Playwright keeps in this one."""
    with ThreadPoolExecutor(1) as beside_playwright:
        return beside_playwright.submit(asyncio.run, coroutine).result()


class Process:
    """A program in a process group of its own, whose output is kept and can be waited for."""

    def __init__(self, arguments: list[str], env: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._grown = threading.Condition()
        environment = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONUNBUFFERED": "1", **(env or {})}
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
            start_new_session=True,
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

    def say(self, line: str) -> None:
        """Give it a line to read."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

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

    def __init__(self, *options: str, port: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sessionwatch-test-")
        self._options = options
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self._process = Process([str(binary()), "--listen", f"127.0.0.1:{self.port}",
                                 "--db", f"{self._folder.name}/monitor.db", *self._options])
        self._process.wait_for_line("is listening on", 20)

    def signal(self, number: int) -> None:
        os.killpg(self._process.process.pid, number)

    def kill9(self) -> None:
        self._process.kill(signal.SIGKILL)

    def close(self) -> None:
        self._process.kill(signal.SIGKILL)
        self._folder.cleanup()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def token(self, role: str) -> str:
        """The token of a role, from the file that the server made."""
        file = json.loads(Path(f"{self._folder.name}/monitor.db.tokens").read_text())
        return next(token["token"] for token in file["tokens"] if token["role"] == role)

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

    def only_of(self, session_id: str, timeout: float = 10.0, **wanted: Any) -> dict:
        """One session, once it has the `wanted` fields."""
        def there() -> dict | None:
            row = self.session(session_id)
            return row if row and all(row[name] == value for name, value in wanted.items()) else None

        return eventually(there, timeout, f"{session_id} with {wanted}")

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


class AppServer(Process):
    """An app under its framework's own server, on the machine's Python."""

    def __init__(self, monitor: Monitor, app_name: str, port: int, *command: str) -> None:
        self.port = port
        super().__init__([sys.executable, *command], {"MONITOR_URL": monitor.url, "SESSIONWATCH_URL": monitor.url,
                                                      "APP_NAME": app_name, "PYTHONPATH": f"{CLIENT}:{APPS}"})
        eventually(self._listens, 40, "the app's server")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.output()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Gate:
    """A proxy before the monitor, which counts connections, can refuse WebSockets, and can hold back what flows."""

    def __init__(self, monitor: Monitor, websocket: bool = True) -> None:
        self._monitor, self._websocket = monitor, websocket
        self._open = threading.Event()
        self._open.set()
        self._pumps: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.accepted = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def hold(self) -> None:
        """Let nothing through, in either direction, until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def threads(self) -> set[threading.Thread]:
        """The gate's own threads."""
        return {self._acceptor, *self._pumps}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            pump = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._pumps.append(pump)
            pump.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            first = self._addressed(client.recv(65536))
            if not self._websocket and b"upgrade: websocket" in first.lower():
                client.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._monitor.port))
            except OSError:
                return
            with server:
                server.sendall(first)
                back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                self._pumps.append(back)
                back.start()
                self._pump(client, server)

    def _addressed(self, data: bytes) -> bytes:
        """With the monitor's own address as the host, as it insists on."""
        port = self.url.rsplit(":", 1)[1]
        for name in ("127.0.0.1", "localhost"):
            data = data.replace(f"{name}:{port}".encode(), f"127.0.0.1:{self._monitor.port}".encode())
        return data

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(self._addressed(data))
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._listener.close()
