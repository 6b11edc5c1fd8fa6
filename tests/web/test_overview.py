"""The overview, and what all pages share: languages, colours, the lost connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnet.client import AgentClient
from tests.support.agents import start_agent
from tests.support.cities import Cities
from tests.web.browser import Watched

Visit = Callable[..., Watched]


def test_overview_shows_a_change_by_itself(cities: Cities, visit: Visit) -> None:
    shown = visit(cities.urls["nanjing"])
    shown.until_live()
    shown.accessible()
    with AgentClient(cities.urls["nanjing"]) as client:
        workload = client.submit(
            {
                "name": "seen-at-once",
                "type": "process",
                "requirements": {"cpu": 2},
                "config": {"command": "sleep", "args": ["600"]},
            }
        )
        shown.page.get_by_role("link", name="seen-at-once").first.wait_for()
        shown.page.get_by_text("2 of 8").wait_for()
        client.delete(workload["id"])
        shown.page.get_by_text("0 of 8").wait_for()


def test_without_push_the_page_asks_by_itself(cities: Cities, visit: Visit) -> None:
    shown = visit("about:blank")
    shown.origin = cities.urls["nanjing"]
    shown.page.route("**/live", lambda route: route.abort())
    shown.expected.append("ERR_FAILED")
    shown.page.goto(cities.urls["nanjing"])
    with AgentClient(cities.urls["nanjing"]) as client:
        workload = client.submit(
            {
                "name": "seen-by-asking",
                "type": "process",
                "config": {"command": "true"},
            }
        )
        shown.page.get_by_role("link", name="seen-by-asking").first.wait_for()
        client.delete(workload["id"])
    assert shown.page.locator("#lost").is_hidden()


def test_without_scripts(cities: Cities, visit: Visit) -> None:
    shown = visit(cities.urls["nanjing"], java_script_enabled=False)
    assert shown.page.get_by_role("heading", level=1).inner_text() == "nanjing"
    shown.page.get_by_role("button", name="中文").click()
    shown.page.get_by_role("link", name="概览").wait_for()


def test_language_of_the_browser_and_by_choice(cities: Cities, visit: Visit) -> None:
    chinese = visit(cities.urls["suqian"], locale="zh-CN")
    assert chinese.page.locator("html").get_attribute("lang") == "zh-Hans"
    chinese.page.get_by_role("button", name="English").click()
    chinese.page.get_by_role("link", name="Overview").wait_for()
    chinese.page.reload()
    assert chinese.page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(cities: Cities, visit: Visit, scheme: str) -> None:
    shown = visit(cities.urls["jiangsu"], color_scheme=scheme)
    shown.until_live()
    shown.accessible()
    other = "dark" if scheme == "light" else "light"
    shown.page.get_by_role("button", name=f"{other.capitalize()} colours").click()
    shown.page.wait_for_selector(f"html[data-theme={other}]")
    shown.accessible()


def test_on_a_phone(cities: Cities, visit: Visit) -> None:
    shown = visit(cities.urls["jiangsu"], viewport={"width": 360, "height": 740})
    shown.until_live()
    menu = shown.page.get_by_role("button", name="Menu")
    link = shown.page.get_by_role("link", name="API")
    assert not link.is_visible()
    menu.click()
    link.wait_for()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    shown.accessible()


def test_a_lost_connection_is_told_and_heals(tmp_path: Path, visit: Visit) -> None:
    agent = start_agent(tmp_path, agent={"node_id": "flickering"})
    try:
        shown = visit(agent.url)
        shown.expected += ["ERR_", "htmx:"]
        shown.until_live()
        port = int(agent.url.rpartition(":")[2])
        agent.kill()
        notice = shown.page.get_by_role("alert").filter(has_text="flickering lost")
        notice.wait_for()
        agent.config.setdefault("agent", {})["port"] = port
        agent.restart()
        notice.wait_for(state="hidden")
        shown.until_live()
    finally:
        agent.stop()


def test_the_api_is_described_without_help_from_elsewhere(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['suqian']}/docs")
    shown.page.get_by_text("CNET agent").wait_for()
    shown.page.get_by_role("link", name="workloads").first.wait_for()


def test_a_page_that_is_not_there(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['suqian']}/docs/nowhere")
    shown.expected.append("404")
    assert shown.page.get_by_role("heading", name="Not found").is_visible()
