"""Every shell and Python block of README.md and docs/recipes.md is run, or stands here with the reason why not.

A command that is in neither list fails the test, and so does an entry here that no document has any more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import CLIENT, ROOT, Monitor, Process, binary, eventually

#: Commands that cannot run here.
NOT_RUN = {
    "pip install sessionwatch": "from the network; script/package installs the wheel that it builds",
    "cargo run --release": "builds for minutes; its result is the server of these tests",
    "script/test": "runs this test",
}

#: Programs that another test runs as they stand in the document, by their first line.
RUN_ELSEWHERE = {
    "#!/usr/bin/env bash": "test_recipes.py, to its end and into a kill",
    "import os": "test_recipes.py, to its end and into a kill",
    "import gradio as gr": "test_recipes.py, where Gradio is installed",
    "monitor=${SESSIONWATCH_URL:-http://localhost:8000}": "test_recipes.py",
}


def blocks(*languages: str) -> list[str]:
    """The blocks of these languages, of both documents."""
    text = "".join((ROOT / name).read_text() for name in ("README.md", "docs/recipes.md"))
    return [block for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if language in languages]


def commands() -> list[str]:
    """The lines of the shell blocks, without their comments; each once."""
    lines = [re.sub(r"\s+# .*|^# .*", "", line).strip() for block in blocks("sh", "crontab") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def programs() -> list[str]:
    return blocks("bash", "python")


class Shell:
    """A user's shell in an empty home: the command on the PATH, the monitor where the documents say that it is."""

    def __init__(self, monitor: Monitor, folder: Path) -> None:
        self.monitor, self.folder = monitor, folder
        (folder / "bin").mkdir()
        (folder / "bin/sessionwatch").symlink_to(binary())
        (folder / "backup.sh").write_text("#!/bin/sh\necho saved\n")
        (folder / "backup.sh").chmod(0o755)
        self.env = {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(CLIENT), "LANG": "C.UTF-8",
                    "SESSIONWATCH_URL": monitor.url, "SESSIONWATCH_LISTEN": "127.0.0.1:0"}

    def here(self, command: str) -> str:
        return command.replace("http://localhost:8000", self.monitor.url)

    def run(self, command: str, shell: str = "sh", **env: str) -> str:
        done = subprocess.run([shell, "-c", self.here(command)], cwd=self.folder, env={**self.env, **env},
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{shell}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def last(self, app_name: str) -> dict:
        """The newest entry of the log about an app."""
        status, answer = self.monitor.ask("GET", f"/events?app_name={app_name}&limit=1")
        assert status == 200, answer
        return answer["events"][0]


@pytest.fixture
def shell(shared_monitor: Monitor, tmp_path: Path) -> Shell:
    return Shell(shared_monitor, tmp_path)


def serve(shell: Shell, command: str) -> None:
    with Process(["env", "-C", str(shell.folder), "sh", "-c", f"exec {command}"], shell.env) as server:
        server.wait_for_line("is listening on")


def ping(shell: Shell, command: str) -> None:
    for name in ("sh", "bash", "zsh", "fish"):
        if shutil.which(name):
            assert shell.run(command, name).strip() == "OK"
    row = shell.monitor.only("backup", current_task="nightly")
    shell.monitor.ask("DELETE", f"/sessions/{row['session_id']}")


def wrap(shell: Shell, command: str) -> None:
    assert "saved" in shell.run(command)
    assert (shell.last("backup")["kind"], shell.last("backup")["cause"]) == ("removed", "done")


def register(shell: Shell) -> dict:
    status, made = shell.monitor.ask("POST", "/sessions", {"app_name": "documents"})
    assert status == 201, made
    return made


def kill(shell: Shell, command: str) -> None:
    session_id = register(shell)["session_id"]
    assert "kill_requested" in shell.run(command.replace("/ID/", f"/{session_id}/"))
    assert shell.monitor.session(session_id)["kill"]["reason"] == "maintenance"


def listen(shell: Shell, command: str) -> None:
    made = register(shell)
    names = {"token": made["session_token"], "id": made["session_id"], "monitor": shell.monitor.url}
    with Process(["sh", "-c", f"exec {command}"], {**shell.env, **names}) as stream:
        eventually(lambda: shell.monitor.session(made["session_id"])["connected"] or True)
        shell.monitor.kill(made["session_id"], reason="for the test")
        stream.wait_for_line("for the test")


def nightly(shell: Shell, command: str) -> None:
    """As cron runs it: after the five fields, with `%` for `\\%`."""
    shell.run(command.split(None, 5)[5].replace("\\%", "%"))
    assert (shell.last("nightly")["kind"], shell.last("nightly")["cause"]) == ("removed", "done")


#: How the other commands are run, by their beginning.
RUN: dict[str, Callable[[Shell, str], None]] = {
    "sessionwatch run": wrap,
    "sessionwatch": serve,
    "curl -fsS \"http://localhost:8000/ping/": ping,
    "curl -X POST http://localhost:8000/sessions/ID/kill": kill,
    "curl -N ": listen,
    "0 3 * * *": nightly,
}


def how(command: str) -> Callable[[Shell, str], None] | None:
    return next((run for start, run in RUN.items() if command.startswith(start)), None)


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documents(shell: Shell, command):
    if command in NOT_RUN:
        pytest.skip(NOT_RUN[command])
    run = how(command)
    assert run is not None, f"a document has a command that no test runs; run it, or say why not: {command}"
    run(shell, command)


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.splitlines()[0])
def test_a_program_of_the_documents(shell: Shell, program):
    if (first := program.splitlines()[0]) in RUN_ELSEWHERE:
        pytest.skip(RUN_ELSEWHERE[first])
    assert first == "from session_client import SessionClient", f"a document has a program that no test runs: {program}"
    program = program.replace("    ...", "    tracker.flush()")  # work that lasts long enough to be seen
    subprocess.run([sys.executable, "-c", program], cwd=shell.folder, env={**os.environ, **shell.env}, check=True, timeout=30)
    status, answer = shell.monitor.ask("GET", "/events?app_name=reports&limit=10")
    assert status == 200
    assert [event["cause"] for event in answer["events"] if event["kind"] == "removed"] == ["ended"]
    assert "Q4 report" in [event.get("current_task") for event in answer["events"]]


def test_nothing_stands_here_that_no_document_has():
    assert [command for command in NOT_RUN if command not in commands()] == []
    firsts = [program.splitlines()[0] for program in programs()]
    assert [first for first in RUN_ELSEWHERE if first not in firsts] == []
    assert [start for start in RUN if not any(command.startswith(start) for command in commands())] == []
