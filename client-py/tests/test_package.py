"""The package as its users install it: its types, its oldest Python, and the names of Bokeh that it leans on."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import bokeh
import pytest

from sessionwatch.hosts import bokeh_private
from support import CLIENT, ROOT

HERE = Path(__file__).resolve().parent
CONFIG = ROOT / "client-py/pyproject.toml"


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd,
                          env={"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel in an environment of its own, away from the sources; its site-packages."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    folder = next(environment.glob("lib/python*/site-packages"))
    source = tmp_path_factory.mktemp("source") / "client-py"
    shutil.copytree(ROOT / "client-py", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "tests"))
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target", folder, source)
    return folder


def test_the_wheel_holds_the_package_its_former_names_and_their_types(installed):
    for name in ("sessionwatch", "session_client", "session_adapters"):
        assert (installed / name / "py.typed").exists()
        loaded = run(sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); import {name}; print({name}.__file__)")
        assert str(installed) in loaded


def test_importing_it_imports_no_framework(installed):
    program = (f"import sys; sys.path.insert(0, {str(installed)!r}); import sessionwatch; "
               "print([name for name in ('bokeh', 'panel', 'shiny', 'streamlit', 'starlette', 'websockets') if name in sys.modules])")
    assert run(sys.executable, "-I", "-c", program).strip() == "[]"


@pytest.mark.parametrize("version", ["3.10"])
def test_mypy_finds_nothing_in_the_package(version):
    pytest.importorskip("mypy")
    run(sys.executable, "-m", "mypy", "--config-file", CONFIG, "--python-version", version, "--cache-dir", "/dev/null", CLIENT)


def test_mypy_finds_nothing_in_a_users_program(installed):
    pytest.importorskip("mypy")
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "--python-executable", python_of(installed), HERE / "typed/user.py")


def test_mypy_sees_the_types_and_not_any(installed, tmp_path):
    pytest.importorskip("mypy")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from session_client import SessionClient\nseen: str = SessionClient.get_tracker('a').flush()\n")
    with pytest.raises(AssertionError, match="Incompatible types in assignment"):
        run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "--python-executable", python_of(installed), wrong)


def python_of(site_packages: Path) -> Path:
    return site_packages.parents[2] / "bin/python"


def pyright(python: Path) -> list[str]:
    command = HERE / "typed/node_modules/.bin/pyright"
    if not command.exists():
        pytest.skip("pyright is not installed; script/test installs it")
    return [str(command), "--pythonpath", str(python)]


def test_pyright_finds_nothing_in_the_package():
    run(*pyright(Path(sys.executable)), "--project", CONFIG)


def test_pyright_finds_nothing_in_a_users_program(installed, tmp_path):
    shutil.copy(HERE / "typed/user.py", tmp_path)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    run(*pyright(python_of(installed)), "--project", tmp_path)


def test_it_needs_no_newer_python_than_it_says():
    pytest.importorskip("vermin")
    run(Path(sys.executable).parent / "vermin", "--quiet", "--no-tips", "--target=3.9-", "--violations",
        "--no-eval-annotations", CLIENT)


def test_both_ways_to_install_give_the_same_package():
    """The wheel, with the command, is made by the pyproject.toml at the root; a checkout's client by the one beside it."""
    wheel, checkout = ((ROOT / name).read_text() for name in ("pyproject.toml", "client-py/pyproject.toml"))
    for line in ('name = "sessionwatch"', 'requires-python = ">=3.9"', 'dependencies = ["websockets>=15"]', 'dynamic = ["version"]'):
        assert line in wheel.splitlines() and line in checkout.splitlines()
    assert "Private :: Do Not Upload" in checkout, "there is one published name"


def test_one_version_everywhere():
    run("script/versions")


def test_the_modules_are_small():
    long = {file.name: lines for file in CLIENT.rglob("*.py") if (lines := len(file.read_text().splitlines())) > 330}
    assert long == {}


# Bokeh and Panel


def test_the_installed_bokeh_is_one_that_the_client_knows():
    version = tuple(int(number) for number in re.findall(r"\d+", bokeh.__version__)[:2])
    assert bokeh_private.TESTED[0] <= version <= bokeh_private.TESTED[1], "run the tests, then widen TESTED"


@pytest.mark.parametrize(("module", "owner", "names"), bokeh_private.NAMES, ids=lambda value: str(value))
def test_the_names_of_bokeh_are_there(module, owner, names):
    found = importlib.import_module(module)
    if owner is not None:
        found = getattr(found, owner)
    assert [name for name in names if not hasattr(found, name)] == []


@pytest.mark.parametrize(("module", "texts"), bokeh_private.ATTRIBUTES + bokeh_private.PANEL_ATTRIBUTES, ids=lambda value: str(value))
def test_the_attributes_of_bokeh_and_panel_are_there(module, texts):
    source = inspect.getsource(importlib.import_module(module))
    assert [text for text in texts if text not in source] == []


def test_bokeh_calls_what_the_client_wraps_as_the_client_expects():
    from bokeh.document import callbacks
    from bokeh.server.session import ServerSession
    from bokeh.server.views.ws import WSHandler

    assert "patch_curdoc(" in inspect.getsource(callbacks.invoke_with_curdoc)
    assert list(inspect.signature(ServerSession.subscribe).parameters) == ["self", "connection"]
    assert list(inspect.signature(ServerSession.unsubscribe).parameters) == ["self", "connection"]
    assert list(inspect.signature(WSHandler._async_open).parameters) == ["self", "token"]
    assert inspect.iscoroutinefunction(WSHandler._async_open)


def test_an_unknown_bokeh_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(bokeh, "__version__", "99.1.0")
    monkeypatch.setattr(bokeh_private, "_installed", False)
    doc = importlib.import_module("bokeh.io.doc")
    monkeypatch.setattr(doc, "patch_curdoc", doc.patch_curdoc)
    for _ in range(2):
        bokeh_private.install(lambda document: None)
    assert caplog.text.count("Bokeh 99.1.0 is not among the releases") == 1
