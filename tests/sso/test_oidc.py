"""Somebody logs in by OpenID Connect, through a real Apache with the text of docs/deploy.md, at a real provider, and the
log of the server names them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
MODULES = Path("/usr/lib/apache2/modules")
LOADED = "mpm_event authn_core authz_core authz_user auth_openidc headers proxy proxy_http".split()
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}


def binary() -> str:
    candidates = [os.environ.get("SESSIONWATCH_BIN"), ROOT / "target/release/sessionwatch", ROOT / "target/debug/sessionwatch"]
    return str(next(path for path in candidates if path and Path(path).exists()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, "it has ended instead of listening"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("it does not listen")


@pytest.fixture
def running():
    """Starts programs, and ends them again."""
    started = []

    def start(command, **how):
        started.append(subprocess.Popen([str(part) for part in command], **how))
        return started[-1]

    yield start
    for process in reversed(started):
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def provider(running) -> str:
    port = free_port()
    users = [option for name in ("ana", "bob") for option in
             ("--user-claims", f'{{"sub": "{name}", "email": "{name}@example.com", "email_verified": true}}')]
    listens(port, running([Path(sys.executable).with_name("oidc-provider-mock"), "--port", port, *users],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def server(running, tmp_path) -> tuple[str, dict[str, str]]:
    database = tmp_path / "sso.db"
    command = [binary(), "--listen", "127.0.0.1:0", "--db", database, "--trust-proxy", "127.0.0.1", "--allow-host",
               "127.0.0.1", "--auth-header", "X-Forwarded-User", "--admins", "ana@example.com", "--viewers", "*@example.com"]
    process = running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())[0]
    listed = subprocess.run([binary(), "token", "list", "--db", database], capture_output=True, text=True, check=True).stdout
    tokens = {line.split()[0]: line.split()[-1] for line in listed.splitlines() if line.strip()}
    return address, tokens


@pytest.fixture
def apache(running, provider, server, tmp_path) -> str:
    program = shutil.which("apache2") or "/usr/sbin/apache2"
    port = free_port()
    page = (ROOT / "docs/deploy.md").read_text()
    text = page.split("```apache\n")[1].split("```")[0]
    text = text.replace("https://login.example.com", provider).replace("https://monitor.example.com", f"http://127.0.0.1:{port}")
    text = text.replace("127.0.0.1:8000", server[0])
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in LOADED)
    config = tmp_path / "apache.conf"
    config.write_text(f"ServerRoot {tmp_path}\nPidFile {tmp_path}/pid\nErrorLog {tmp_path}/apache.log\n"
                      f"DefaultRuntimeDir {tmp_path}\nServerName localhost\nListen 127.0.0.1:{port}\n{modules}\n"
                      f"User {'www-data' if os.getuid() == 0 else f'#{os.getuid()}'}\n"
                      f"<VirtualHost 127.0.0.1:{port}>\n{text}</VirtualHost>\n")
    listens(port, running([program, "-DFOREGROUND", "-f", config]))
    return f"http://127.0.0.1:{port}"


def log_in(apache: str, name: str) -> requests.Session:
    """As a browser does it: from the page to the provider, through its form, and back to the page."""
    browser = requests.Session()
    form = browser.get(f"{apache}/", headers={**NAVIGATION, "Sec-Fetch-Site": "none", "Accept": "text/html"}, timeout=20)
    assert "authorize" in form.url, form.url
    page = browser.post(form.url, data={"sub": name}, headers={**NAVIGATION, "Accept": "text/html"}, timeout=20)
    assert page.status_code == 200 and page.url.startswith(apache), (page.status_code, page.url, page.text[:300])
    assert "sessionwatch" in page.text
    browser.headers.update({"Origin": apache, "Sec-Fetch-Site": "same-origin", "X-Sessionwatch": "1"})
    return browser


def test_a_login_by_openid_connect_is_named_in_the_log(apache, server):
    address, tokens = server
    made = requests.post(f"http://{address}/sessions", json={"app_name": "shop", "session_id": "victim"}, timeout=20,
                         headers={"Authorization": f"Bearer {tokens['ingest']}"})
    assert made.status_code == 201, made.text

    stranger = requests.get(f"{apache}/sessions", headers={"X-Forwarded-User": "ana@example.com"}, timeout=20,
                            allow_redirects=False)
    assert stranger.status_code in (302, 401), stranger.status_code

    bob = log_in(apache, "bob")
    assert bob.get(f"{apache}/sessions", timeout=20).json()["total"] == 1
    # What he says of himself is replaced by what the provider said.
    forged = bob.post(f"{apache}/sessions/victim/kill", headers={"X-Forwarded-User": "ana@example.com"}, timeout=20)
    assert forged.status_code == 403, forged.text

    ana = log_in(apache, "ana")
    assert ana.post(f"{apache}/sessions/victim/kill", json={"reason": "stuck"}, timeout=20).status_code == 200
    events = bob.get(f"{apache}/events?kind=kill_requested", timeout=20).json()["events"]
    assert [event["by"] for event in events] == ["ana@example.com"]

    # Apps are let through to show their tokens.
    assert requests.post(f"{apache}/sessions/victim/heartbeat", timeout=20).status_code == 401
    ping = requests.get(f"{apache}/ping/jobs/j1", headers={"Authorization": f"Bearer {tokens['ingest']}"}, timeout=20)
    assert ping.text == "OK"
