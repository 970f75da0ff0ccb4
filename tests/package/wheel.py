"""Tries the wheel as a new user does: a bare virtual environment, a clean folder, no cargo on the PATH.

    python tests/package/wheel.py target/package/sessionwatch-*.whl

Installs it, starts the monitor and opens its page in Chromium; runs the Panel example, ends its session on the page, and sees
it end; looks at the command, the names that can be imported and their types. Prints the time from `pip install` to the page.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
REASON = "trying the package"
LONGEST_WAIT = 60.0

USER = """
from sessionwatch import Kill, SessionClient
import session_client

tracker: SessionClient = SessionClient.get_tracker("app", meta={"seats": 3})
assert session_client.SessionClient is SessionClient


@tracker.on_kill
def ended(kill: Kill) -> None:
    print(kill.reason)
"""


class Bare:
    """A clean folder with a virtual environment, as the only thing on the PATH besides the system's own programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv/bin"
        self.env = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}
        # What pip needs to reach its index belongs to the machine.
        self.env.update({name: value for name, value in os.environ.items()
                         if name.startswith("PIP_") or name.lower() in ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file")})
        (folder / "home").mkdir()
        if (config := Path.home() / ".config/pip/pip.conf").exists() or (config := Path.home() / ".pip/pip.conf").exists():
            self.env["PIP_CONFIG_FILE"] = str(config)
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(folder / "venv")], check=True, env=self.env)
        assert shutil.which("cargo", path=self.env["PATH"]) is None, "cargo is on the PATH"

    def run(self, *command: object, **env: str) -> str:
        done = subprocess.run([str(word) for word in command], cwd=self.folder, env={**self.env, **env},
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def start(self, *command: object, **env: str) -> Iterator[subprocess.Popen[str]]:
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen([str(word) for word in command], cwd=self.folder, env={**self.env, **env},
                                       stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


def address(process: subprocess.Popen[str]) -> str:
    """Where a monitor listens, out of its first line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "is listening on" in line, line
    return line.split("is listening on ", 1)[1].split()[0].rstrip("/")


def install(bare: Bare, browser: Browser, wheel: Path) -> float:
    """The seconds from `pip install` to the living page."""
    page = browser.new_page()
    began = time.monotonic()
    bare.run("pip", "install", "--disable-pip-version-check", wheel)
    with bare.start("sessionwatch", "--listen", "127.0.0.1:0", "--db", "first.db") as monitor:
        page.goto(address(monitor))
        page.locator(".badge.is-live").wait_for()
        taken = time.monotonic() - began
    page.close()
    return taken


def types(bare: Bare) -> None:
    bare.run("pip", "install", "--quiet", "--disable-pip-version-check", "mypy")
    (bare.folder / "user.py").write_text(USER)
    bare.run("python", "user.py", SESSIONWATCH_URL="http://127.0.0.1:9")
    bare.run("mypy", "--strict", "user.py")


def demo(bare: Bare, browser: Browser) -> None:
    page = browser.new_page()
    with bare.start("sessionwatch", "demo", "--sessions", "20", "--listen", "127.0.0.1:0") as monitor:
        page.goto(address(monitor))
        page.locator("tbody tr.row:not([hidden])").nth(9).wait_for()
    page.close()


def kill(bare: Bare, browser: Browser) -> None:
    """Ends the page of the Panel example on the dashboard."""
    bare.run("pip", "install", "--quiet", "--disable-pip-version-check", "panel")
    shutil.copy(ROOT / "examples/panel/task_runner.py", bare.folder)
    port = free_port()
    dashboard, app = browser.new_page(), browser.new_page()
    with bare.start("sessionwatch", "--listen", "127.0.0.1:0", "--db", "second.db") as monitor:
        url = address(monitor)
        dashboard.goto(url)
        with bare.start("panel", "serve", "task_runner.py", "--port", port, SESSIONWATCH_URL=url) as panel:
            wait_for(port, panel)
            app.goto(f"http://localhost:{port}/task_runner")
            app.get_by_role("button", name="Run", exact=True).click()
            dashboard.get_by_text("Generating Report").first.wait_for()
            dashboard.keyboard.press("j")
            dashboard.keyboard.press("K")
            dashboard.keyboard.type(REASON)
            dashboard.keyboard.press("Enter")
            app.get_by_text("This session was ended.").wait_for()
            dashboard.get_by_role("region", name="Kills").get_by_text("1 of 1 kill done").wait_for()
        with urllib.request.urlopen(f"{url}/events?kind=removed", timeout=10) as answer:
            ended = json.load(answer)["events"][0]
        assert (ended["app_name"], ended["cause"], ended["reason"]) == ("task_runner", "killed", REASON), ended


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < end, "panel serve does not answer"
            time.sleep(0.1)


def main(wheel: Path) -> None:
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory(prefix="sessionwatch-package-") as folder, sync_playwright() as playwright:
        bare = Bare(Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        print(f"from `pip install` to the living dashboard: {install(bare, browser, wheel):.1f} s")
        print(bare.run("sessionwatch", "--version").strip())
        demo(bare, browser)
        print("the demo shows its sessions")
        types(bare)
        print("both names can be imported, and mypy --strict finds nothing")
        kill(bare, browser)
        print("the Panel example was ended on the dashboard")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
