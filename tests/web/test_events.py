"""Events of all workloads, and a log beside them."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from cnet.client import AgentClient
from tests.support.cities import Cities
from tests.web.browser import Watched

Visit = Callable[..., Watched]


def test_events_appear_and_are_found(cities: Cities, visit: Visit) -> None:
    watched = visit(f"{cities.urls['suqian']}/events")
    shown = watched.page
    watched.until_live()
    script = "while :; do echo tick; sleep 0.1; done"
    with AgentClient(cities.urls["suqian"]) as client:
        client.submit(
            {
                "name": "fails",
                "type": "process",
                "config": {"command": "sh", "args": ["-c", "exit 7"]},
            }
        )
        runs = client.submit(
            {
                "name": "talks",
                "type": "process",
                "config": {"command": "sh", "args": ["-c", script]},
            }
        )
        expect(shown.get_by_text("exited with 7")).to_be_visible()
        watched.accessible()
        shown.get_by_label("Status").select_option("failed")
        shown.get_by_label("Name or detail").fill("with 7")
        shown.get_by_role("button", name="Show").click()
        expect(shown.get_by_role("row")).to_have_count(2)
        shown.get_by_label("Log of").select_option(runs["id"])
        shown.get_by_role("button", name="Show").click()
        expect(shown.get_by_text("tick").first).to_be_visible()
        watched.accessible()
        for workload in client.list():
            client.delete(workload["id"])
