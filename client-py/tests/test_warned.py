"""Rules in a real Panel page, in a real Chromium: a warning and its answer, and what counts as idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pages import CLOSE_REASON, Page, PanelServer
from support import APPS, AppServer, Monitor, eventually, free_port

pytestmark = pytest.mark.browser

RULES = """
[[rule]]
name   = "warned"
when   = "app:warned status:waiting"
warn   = "Out in a <b>moment</b>"
grace  = "5s"
then   = "kill"
reason = "nobody answered"

[[rule]]
name   = "warned at once"
when   = "app:asked*"
warn   = "Out in a minute"
grace  = "1m"
then   = "kill"

[[rule]]
name   = "idle"
when   = "app:idle idle:>4s"
then   = "kill"
reason = "idle for 4 s"
"""

NOTICE = ".sessionwatch-notice"


@pytest.fixture(scope="module")
def ruled(tmp_path_factory) -> Iterator[Monitor]:
    file = tmp_path_factory.mktemp("rules") / "rules.toml"
    file.write_text(RULES)
    file.chmod(0o600)
    with Monitor("--rules", str(file)) as monitor:
        yield monitor


def kinds(monitor: Monitor, session_id: str) -> list[str]:
    return [event["kind"] for event in monitor.events(session_id)]


def test_who_answers_a_warning_stays_and_who_does_not_is_ended(ruled, browser):
    with PanelServer(ruled, "warned") as server, Page(browser, server.url) as stays, Page(browser, server.url) as leaves:
        rows = eventually(lambda: len(found := ruled.sessions("warned")) == 2 and found)
        for page in (stays, leaves):
            page.click("Wait")
            page.page.locator(NOTICE).wait_for()
            assert "Out in a <b>moment</b>" in page.page.locator(NOTICE).inner_text(), "a text and no HTML"
        stays.click("Stay")
        stays.page.locator(NOTICE).wait_for(state="detached")
        stayed = eventually(lambda: next((r for r in rows if "stayed" in kinds(ruled, r["session_id"])), None))
        ended = next(row for row in rows if row is not stayed)

        closed = leaves.wait_closed()
        assert (closed["code"], closed["reason"]) == (1001, CLOSE_REASON)
        ruled.gone(ended["session_id"])
        last = ruled.events(ended["session_id"])[-1]
        assert (last["cause"], last["reason"]) == ("killed", "nobody answered")
        assert stays.closes() == [] and ruled.session(stayed["session_id"])["due"] == []
        for row in rows:
            assert "message_delivered" in kinds(ruled, row["session_id"]), "seen by its user"


def test_typing_keeps_a_page_from_being_idle(ruled, browser):
    with PanelServer(ruled, "idle", PAGE_IDLE="1") as server, Page(browser, server.url) as page, Page(browser, server.url) as quiet:
        eventually(lambda: len(ruled.sessions("idle")) == 2)
        box = page.page.get_by_placeholder("type here")
        for _ in range(12):
            box.press_sequentially("a")
            page.page.wait_for_timeout(500)
        row = ruled.only("idle")
        assert row["idle_since"] is None and page.closes() == []
        assert quiet.wait_closed()["code"] == 1001, "nobody did anything there"
        eventually(lambda: ruled.only("idle")["idle_since"], what="idle after a second without input")
        assert page.wait_closed()["code"] == 1001
        ruled.gone(row["session_id"])
        assert ruled.events(row["session_id"])[-1]["reason"] == "idle for 4 s"


def test_a_page_that_is_not_to_tell_of_input_is_idle_since_its_last_task(ruled, browser):
    with PanelServer(ruled, "quiet", PAGE_IDLE="1", TELLS_IDLE="no") as server, Page(browser, server.url) as page:
        row = ruled.only("quiet", connected=True)
        page.page.get_by_placeholder("type here").press_sequentially("abc")
        page.page.wait_for_timeout(500)
        assert ruled.only("quiet")["idle_since"] == row["idle_since"] is not None


def test_a_page_of_bokeh_alone_asks_too_also_before_it_is_rendered(ruled, browser):
    port = free_port()
    command = ["-m", "bokeh", "serve", str(APPS / "bokeh_page.py"), "--port", str(port)]
    with AppServer(ruled, "asked_bokeh", port, *command), Page(browser, f"http://localhost:{port}/bokeh_page") as page:
        row = ruled.only("asked_bokeh", connected=True)
        page.click("Stay")
        eventually(lambda: "stayed" in kinds(ruled, row["session_id"]))
        assert ruled.session(row["session_id"])["idle_since"] is None, "a click is input"


def test_a_shiny_page_asks_too(ruled, browser):
    port = free_port()
    with AppServer(ruled, "asked_shiny", port, "-m", "shiny", "run", "--port", str(port), str(APPS / "shiny_app.py")):
        page = browser.new_context().new_page()
        page.goto(f"http://localhost:{port}/")
        row = ruled.only("asked_shiny", connected=True)
        page.get_by_role("button", name="Stay").click()
        eventually(lambda: "stayed" in kinds(ruled, row["session_id"]))
        page.get_by_text("Out in a minute").wait_for(state="detached")
        page.context.close()
        ruled.gone(row["session_id"])
