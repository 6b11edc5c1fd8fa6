"""The graph and table of nodes, and the page of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from cnet.client import AgentClient
from tests.support.agents import wait_until
from tests.support.cities import NAMES, Cities
from tests.web.browser import Watched

Visit = Callable[..., Watched]


@pytest.fixture
def client(cities: Cities) -> Iterator[AgentClient]:
    with AgentClient(cities.urls["jiangsu"]) as client:
        yield client


def test_all_nodes_as_graph_and_table(cities: Cities, visit: Visit) -> None:
    watched = visit(f"{cities.urls['jiangsu']}/topology")
    shown = watched.page
    expect(shown.locator("#graph")).to_have_attribute("data-nodes", "4")
    for name in NAMES:
        expect(shown.get_by_role("row").filter(has_text=name).first).to_be_visible()
    watched.accessible()
    shown.get_by_label("Search nodes").fill("region=jiangsu")
    shown.get_by_role("button", name="Find").click()
    expect(shown.get_by_role("row")).to_have_count(5)
    shown.get_by_label("Search nodes").fill("nanj")
    shown.get_by_role("button", name="Find").click()
    expect(shown.get_by_role("row")).to_have_count(2)
    shown.get_by_role("link", name="nanjing", exact=True).click()
    expect(shown.get_by_role("heading", level=1)).to_have_text("nanjing")


def test_a_node_in_the_graph_leads_to_its_page(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['nanjing']}/topology").page
    expect(shown.locator("#graph")).to_have_attribute("data-nodes", "4")
    box = shown.locator("#graph").bounding_box()
    assert box is not None
    # The own node is found where its label can be clicked: look over the canvas for it.
    for x in range(40, int(box["width"]), 60):
        shown.mouse.click(box["x"] + x, box["y"] + box["height"] / 2)
        if "/nodes/" in shown.url:
            break
        for part in (0.35, 0.65):
            shown.mouse.click(box["x"] + x, box["y"] + box["height"] * part)
        if "/nodes/" in shown.url:
            break
    shown.wait_for_url("**/nodes/*")


def test_a_far_node_is_drained_and_undrained(
    cities: Cities, client: AgentClient, visit: Visit
) -> None:
    watched = visit(f"{cities.urls['jiangsu']}/nodes/suqian")
    shown = watched.page
    expect(shown.get_by_role("cell", name=" ms").first).to_be_visible()
    watched.accessible()
    shown.get_by_role("link", name="Drain").click()
    shown.get_by_role("button", name="Drain").click()
    expect(shown.get_by_text("draining").first).to_be_visible()
    wait_until(lambda: client.node("suqian")["status"] == "draining")
    shown.get_by_role("link", name="Undrain").click()
    shown.get_by_role("button", name="Undrain").click()
    expect(shown.get_by_text("active").first).to_be_visible()
    wait_until(lambda: client.node("suqian")["status"] == "active")


def test_labels_are_set_and_removed(cities: Cities, client: AgentClient, visit: Visit) -> None:
    shown = visit(f"{cities.urls['jiangsu']}/nodes/changzhou")
    shown.expected.append("422")
    shown.page.get_by_label("New label").fill("no equals sign")
    shown.page.get_by_role("button", name="Add").click()
    expect(shown.page.get_by_role("alert").filter(has_text="key=value")).to_be_visible()
    shown.page.get_by_label("New label").fill("disk=nvme 2")
    shown.page.get_by_role("button", name="Add").click()
    expect(shown.page.get_by_text("disk=nvme 2")).to_be_visible()
    wait_until(lambda: client.node("changzhou")["labels"].get("disk") == "nvme 2")
    shown.page.get_by_role("button", name="Remove the label disk").click()
    expect(shown.page.get_by_text("disk=nvme 2")).to_be_hidden()
    wait_until(lambda: "disk" not in client.node("changzhou")["labels"])


def test_what_runs_on_a_node_comes_and_goes(
    cities: Cities, client: AgentClient, visit: Visit
) -> None:
    watched = visit(f"{cities.urls['jiangsu']}/nodes/nanjing", color_scheme="dark")
    watched.until_live()
    workload = client.submit(
        {
            "name": "comes-and-goes",
            "type": "process",
            "requirements": {"cpu": 6},
            "config": {"command": "sleep", "args": ["600"]},
        }
    )
    row = watched.page.get_by_role("link", name="comes-and-goes")
    expect(row).to_be_visible()
    watched.accessible()
    client.delete(workload["id"])
    expect(row).to_be_hidden()


def test_a_node_nobody_knows(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['jiangsu']}/nodes/atlantis")
    shown.expected.append("404")
    assert shown.page.get_by_text("no node atlantis is known to jiangsu").is_visible()
