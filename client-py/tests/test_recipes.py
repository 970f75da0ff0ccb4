"""The programs in docs/recipes.md, run as they stand there: once to their end, once into a kill."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys

import pytest

from support import ROOT, Monitor, Process, eventually, free_port

RECIPES = (ROOT / "docs/recipes.md").read_text()


def recipe(language: str) -> str:
    """The first block of a language."""
    return re.search(rf"^```{language}\n(.*?)^```", RECIPES, re.M | re.S)[1]


def brisk(program: str, seconds: str) -> str:
    """With a beat each second instead of every 30, and work of `seconds` instead of 10 minutes."""
    program = re.sub(r"600_000", seconds + "000", program)
    program = re.sub(r"\b6000\b", seconds + "0", program)
    program = re.sub(r"\b600\b", seconds, program)
    return re.sub(r"\b30\b", "1", program)


def command(language: str, program: str, folder) -> list[str]:
    """How to run a recipe; the test is skipped where its runtime is not installed."""
    name, needs = {"bash": ("job.sh", "bash"), "python": ("job.py", sys.executable), "r": ("job.R", "Rscript"), "julia": ("job.jl", "julia"),
                   "go": ("main.go", "go"), "java": ("Heartbeat.java", "java"), "csharp": ("Heartbeat.cs", "mcs"),
                   "powershell": ("job.ps1", "pwsh")}[language]
    if shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed")
    file = folder / name
    file.write_text(program)
    if language == "go":
        subprocess.run(["go", "build", "-o", folder / "job", file], check=True)
        return [str(folder / "job")]
    if language == "csharp":
        subprocess.run(["mcs", "-r:System.Net.Http", file], check=True)
        return ["mono", str(file.with_suffix(".exe"))]
    return [needs, str(file)]


LANGUAGES = ["bash", "python", "r", "julia", "go", "java", "csharp", "powershell"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_recipe_to_its_end(shared_monitor: Monitor, language, tmp_path):
    arguments = command(language, brisk(recipe(language), "4"), tmp_path)
    with Process(arguments, {"SESSIONWATCH_URL": shared_monitor.url}) as job:
        row = shared_monitor.only(f"recipe-{language}", timeout=20, status="running", current_task="nightly")
        eventually(lambda: shared_monitor.session(row["session_id"])["last_heartbeat"] > row["last_heartbeat"], what="a beat")
        assert job.process.wait(20) == 0, job.output()
    shared_monitor.gone(row["session_id"])
    assert shared_monitor.events(row["session_id"])[-1]["cause"] == "done"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_recipe_into_a_kill(shared_monitor: Monitor, language, tmp_path):
    arguments = command(language, brisk(recipe(language), "60"), tmp_path)
    with Process(arguments, {"SESSIONWATCH_URL": shared_monitor.url}) as job:
        row = shared_monitor.only(f"recipe-{language}", timeout=20)
        shared_monitor.kill(row["session_id"])
        assert job.process.wait(20) != 0, job.output()
    shared_monitor.gone(row["session_id"])
    assert shared_monitor.events(row["session_id"])[-1]["cause"] == "killed"


def test_the_whole_session_with_curl(shared_monitor: Monitor):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    program = re.findall(r"^```bash\n(.*?)^```", RECIPES, re.M | re.S)[1].replace(
        'curl -fsS -X POST "$monitor/sessions/$id/end"', 'echo "$id"; read -r; curl -fsS -X POST "$monitor/sessions/$id/end"')
    job = subprocess.Popen(["bash", "-ec", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env={"SESSIONWATCH_URL": shared_monitor.url, "PATH": "/usr/bin:/bin"})
    row = shared_monitor.only("recipe-curl", current_task="export")
    assert (row["user_id"], row["meta"]) == ("ada", {"host": "db-1"})
    output, _ = job.communicate("\n", timeout=20)
    assert job.returncode == 0 and '{"kill_requested":false}' in output
    shared_monitor.gone(row["session_id"])
    assert shared_monitor.events(row["session_id"])[-1]["cause"] == "ended"


def run_page(browser, monitor: Monitor, app: str, port: int, arguments: list[str], env: dict[str, str]) -> None:
    """Open a page that has the browser client in it; a kill has to reach it."""
    with Process([sys.executable, *arguments], env) as server:
        page = browser.new_page()
        eventually(lambda: server.process.poll() is not None or answers(port), 60, "the app's server")
        page.goto(f"http://127.0.0.1:{port}/")
        row = monitor.only(app, timeout=30, connected=True)
        monitor.kill(row["session_id"])
        page.get_by_text("Session terminated by administrator").wait_for()
        monitor.gone(row["session_id"])
        page.close()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.browser
def test_dash(shared_monitor: Monitor, browser, tmp_path):
    pytest.importorskip("dash")
    (tmp_path / "assets").mkdir()
    script = recipe("js").replace("http://localhost:8000", shared_monitor.url)
    (tmp_path / "assets/sessionwatch.js").write_text(script)
    app = tmp_path / "app.py"
    app.write_text('import os\nfrom dash import Dash, html\napp = Dash(__name__)\napp.layout = html.Div("ready")\n'
                   'app.run(port=int(os.environ["PORT"]))\n')
    port = free_port()
    run_page(browser, shared_monitor, "my_dash_app", port, [str(app)], {"PORT": str(port)})


@pytest.mark.browser
def test_gradio(shared_monitor: Monitor, browser, tmp_path):
    pytest.importorskip("gradio")
    program = re.search(r"^```python\n(import gradio.*?)^```", RECIPES, re.M | re.S)[1]
    app = tmp_path / "app.py"
    app.write_text(program.replace("http://localhost:8000", shared_monitor.url))
    port = free_port()
    run_page(browser, shared_monitor, "my_gradio_app", port, [str(app)],
             {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"})
