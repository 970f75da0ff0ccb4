"""Every frame that a real server sends, on both sockets, has the shape that docs/asyncapi.yaml says, and so has
every frame that is sent to it here."""

import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import jsonschema
import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())


def binary() -> str:
    candidates = [os.environ.get("SESSIONWATCH_BIN"), ROOT / "target/release/sessionwatch", ROOT / "target/debug/sessionwatch"]
    return str(next(path for path in candidates if path and Path(path).exists()))


def check(frame: dict) -> dict:
    """Holds a frame to the schema of its type."""
    schema = {"$ref": f"#/components/schemas/{frame['type']}", "components": DOCUMENT["components"]}
    jsonschema.validate(frame, schema, cls=jsonschema.Draft202012Validator)
    return frame


@pytest.fixture
def port(tmp_path):
    command = [binary(), "--listen", "127.0.0.1:0", "--db", tmp_path / "a.db"]
    short = ["--heartbeat-interval", "500ms", "--stale-after", "2s", "--expire-after", "60s"]
    with subprocess.Popen([*command, *short], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
        server.terminate()


def post(port: int, path: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_every_frame_has_its_documented_shape(port):
    seen = set()

    def take(socket, *until):
        while True:
            frame = check(json.loads(socket.recv(timeout=10)))
            seen.add(frame["type"])
            if frame["type"] in until:
                return frame

    def send(socket, **frame):
        socket.send(json.dumps(check(frame)))
        seen.add(frame["type"])

    base = f"ws://127.0.0.1:{port}"
    with connect(f"{base}/ws") as dashboard, connect(f"{base}/ws/client") as client:
        take(dashboard, "snapshot")
        send(client, type="register", app_name="shop", client="js/0.1.0", meta={"env": "prod"})
        session = take(client, "registered")["session_id"]
        send(client, type="status", status="running", current_task="Q4")
        send(client, type="visibility", visibility="hidden")
        send(client, type="heartbeat")
        client.send('{"type":"dance"}')
        take(client, "error")
        post(port, f"/sessions/{session}/message", {"text": "soon", "level": "warning"})
        note = take(client, "message")
        send(client, type="message_ack", message_id=note["message_id"])
        send(client, type="stay")
        take(client, "tick")
        take(dashboard, "beats")
        post(port, f"/sessions/{session}/kill", {"reason": "enough"})
        kill = take(client, "kill")
        send(client, type="kill_ack", kill_id=kill["kill_id"])
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "Session terminated by administrator")
        while not (frame := take(dashboard, "changes"))["removed"]:
            pass
        assert frame["removed"][0]["kill"]["acknowledged_at"]
    with connect(f"{base}/ws/client") as client:
        send(client, type="register", app_name="shop", shared=True)
        session = take(client, "registered")["session_id"]
        send(client, type="bye", session_id=session, persisted=False)
    with connect(f"{base}/ws") as dashboard:
        take(dashboard, "snapshot")
        post(port, "/locks", {"app_name": "shop", "reason": "audit"})
        assert take(dashboard, "hint")["about"] == "locks"
    assert seen == set(DOCUMENT["components"]["messages"]), "every documented frame was seen"
