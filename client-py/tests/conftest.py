from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from sessionwatch import settings  # noqa: E402
from session_client import SessionClient  # noqa: E402
from sessionwatch.registry import registry  # noqa: E402
from support import Monitor  # noqa: E402

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync"]


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """A monitor of this test's own."""
    server = Monitor()
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared_monitor() -> Iterator[Monitor]:
    """A monitor for the tests of one file that keep apart by their app's name."""
    server = Monitor()
    yield server
    server.close()


settings.LINGER = 0.3  # so that the threads of one test are gone in the next


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Each test starts with no tracker in this process, ."""
    yield
    for tracker in list(registry.trackers.values()):
        tracker.stop()
    registry.trackers.clear()
    registry.engines.clear()


@pytest.fixture
def app_name(request: pytest.FixtureRequest) -> str:
    """An app of this test's own."""
    return request.node.name


@pytest.fixture(scope="session")
def browser():
    """A real Chromium; each test opens pages of its own in it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


def tracker_for(monitor: Monitor, app_name: str, **settings) -> SessionClient:
    return SessionClient.get_tracker(app_name, server_url=monitor.url, **settings)
