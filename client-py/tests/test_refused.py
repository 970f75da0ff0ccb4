"""A monitor that says no: for now, until a time, or through a proxy. Over real sockets."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from websockets.sync.server import ServerConnection, serve

from conftest import tracker_for
from session_client import SessionClient
from support import Gate, Monitor, eventually, python


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_flush_works_once_the_monitor_takes_what_it_refused(websocket, app_name, caplog):
    strict = Monitor("--strict")
    with contextlib.ExitStack() as stack:
        stack.callback(strict.close)
        gate = stack.enter_context(Gate(strict, websocket=websocket))
        tracker = SessionClient.get_tracker(app_name, server_url=gate.url, token="wrong", heartbeat_interval=1)
        assert tracker.flush(1) is False
        assert tracker.flush(1) is False
        eventually(lambda: "refuses this client" in caplog.text)
        assert caplog.text.count("refuses this client") == 1, "said once"
        strict.close()
        open_to_all = Monitor(port=strict.port)
        stack.callback(open_to_all.close)
        assert tracker.flush(10) is True
        assert open_to_all.only(app_name)["session_id"] == tracker.session_id


def in_a_second() -> str:
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)).isoformat().replace("+00:00", "Z")


@contextlib.contextmanager
def scripted(close: bool, until: str | None) -> Iterator[tuple[str, list[dict]]]:
    """A monitor that locks out the first register, and takes the second."""
    registers: list[dict] = []

    def talk(socket: ServerConnection) -> None:
        for text in socket:
            frame = json.loads(text)
            if frame["type"] != "register":
                continue
            registers.append(frame)
            if len(registers) > 1:
                socket.send(json.dumps({"type": "registered", "session_id": frame["session_id"], "session_token": "t"}))
                continue
            socket.send(json.dumps({"type": "error", "session_id": frame["session_id"], "status": 423,
                                    "detail": "locked", "reason": "maintenance", "until": until}))
            if close:
                socket.close(4423, "locked out for a while")
                return

    with serve(talk, "127.0.0.1", 0, subprotocols=["sessionwatch.v1"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", registers
        server.shutdown()


@pytest.mark.parametrize("close", [False, True], ids=["the socket stays", "close 4423"])
def test_who_is_locked_out_comes_back_after_that_time(close, app_name, caplog):
    with scripted(close, in_a_second()) as (url, registers):
        tracker = SessionClient.get_tracker(app_name, server_url=url)
        eventually(lambda: registers)
        with tracker.task("while it is locked out"):
            eventually(lambda: tracker.connected, 10)
        assert [frame["session_id"] for frame in registers[:2]] == [tracker.session_id] * 2, "the session is never dropped"
        assert registers[1]["current_task"] == "while it is locked out"
        assert "is locked out: maintenance" in caplog.text


def test_who_is_locked_out_over_http_comes_back_after_that_time(app_name):
    asked: list[str] = []
    until = in_a_second()

    class Locks(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.command} {self.path}")
            status, body = 201, {"session_token": "t"}
            if self.command == "GET":
                status, body = 426, {}
            elif len([line for line in asked if line.startswith("PUT")]) == 1:
                status, body = 423, {"title": "locked", "status": 423, "detail": "locked", "reason": "audit", "until": until}
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locks) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tracker = SessionClient.get_tracker(app_name, server_url=f"http://127.0.0.1:{server.server_port}")
        eventually(lambda: tracker.connected, 10)
        assert asked.count(f"PUT /sessions/{tracker.session_id}") == 2
        tracker.stop()
        server.shutdown()


class Proxy:
    """An HTTP proxy: CONNECT, and absolute addresses where `tunnels` is off. Whatever the host is called, it is `monitor`."""

    def __init__(self, monitor: Monitor, tunnels: bool) -> None:
        self._monitor, self._tunnels = monitor, tunnels
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = client.recv(65536)
            self.asked.append(head.split(b"\r\n")[0].decode())
            if head.startswith(b"CONNECT") and not self._tunnels:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self._monitor.port)) as server:
                if head.startswith(b"CONNECT"):
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    server.sendall(self._relative(head))
                threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()
                self._pump(client, server, not head.startswith(b"CONNECT"))

    @staticmethod
    def _relative(data: bytes) -> bytes:
        return data.replace(b" http://monitor.test:8000/", b" /")

    def _pump(self, source: socket.socket, sink: socket.socket, requests: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(self._relative(data) if requests else data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("tunnels", [True, False], ids=["websocket in a tunnel", "http"])
def test_the_environments_proxy_is_used(tunnels):
    monitor = Monitor("--allow-host", "monitor.test")
    proxy = Proxy(monitor, tunnels)
    try:
        program = """
from session_client import SessionClient
tracker = SessionClient.get_tracker("app")
print("seen", tracker.flush(10), flush=True)
"""
        with python(program, {"http_proxy": proxy.url, "no_proxy": "", "SESSIONWATCH_URL": "http://monitor.test:8000"}) as process:
            process.wait_for_line("seen True")
        assert ("CONNECT monitor.test:8000" in " ".join(proxy.asked)) and any("PUT http://" in line for line in proxy.asked) != tunnels
    finally:
        proxy.close()
        monitor.close()


def test_no_proxy_stands_before_a_monitor_on_this_machine(monitor: Monitor):
    program = f"""
from session_client import SessionClient
print("seen", SessionClient.get_tracker("app", server_url={monitor.url!r}).flush(10), flush=True)
"""
    with python(program, {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}) as process:
        process.wait_for_line("seen True")


def test_a_session_that_is_somebody_elses_takes_another_id(shared_monitor: Monitor, app_name, monkeypatch):
    monkeypatch.setattr("sessionwatch.hosts.base.Host.session_id", lambda host, app, attempt: f"{app_name}.{attempt}")
    status, _ = shared_monitor.ask("PUT", f"/sessions/{app_name}.0", {"app_name": "somebody"})
    assert status == 201
    tracker = tracker_for(shared_monitor, app_name)
    assert tracker.flush(10) and tracker.session_id == f"{app_name}.1"
    assert shared_monitor.session(f"{app_name}.0")["app_name"] == "somebody"
