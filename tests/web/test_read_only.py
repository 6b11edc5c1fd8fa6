"""Who may only look is shown all of it, and nothing that would change something."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import expect

from cnet.web.pages import ROUTERS
from cnet.web.state import RequireWrite
from tests.support.agents import AgentProcess, start_agent
from tests.web.pages import ROOT, Visit
from tests.web.test_services import FACES
from tests.web.viewers import HEADER

VIEWER = {HEADER: "yes"}
REFUSED = {"en": "You may look here, but not change anything.", "zh": "您只能查看，不能更改。"}
CONTROLS = """() => [...document.querySelectorAll(`
  form[method=post]:not([action="/preferences"]), [hx-post], [data-dialog], [data-terminal],
  [data-drop]:not([data-drop=picture]), [href*="/submit"], [href$="/update"]
`)].map((element) => element.outerHTML.slice(0, 200))"""
LINKS = "() => [...document.querySelectorAll('a[href]')].map((link) => link.href)"
LISTS = ("/workloads", "/services", "/models", "/data")


@dataclass(frozen=True)
class Viewed:
    agent: AgentProcess
    workload_id: str
    key_id: str
    lists: dict[str, str]
    """what a viewer sees where there is nothing yet"""

    def paths(self) -> list[str]:
        """Every page, with something on it."""
        one = f"/workloads/{self.workload_id}"
        tabs = [f"{one}?tab={tab}" for tab in ("log", "placement", "spec")]
        there = ["/service/faces", "/models/eyes", "/data/objects/notes", "/nodes/viewed"]
        return ["/", "/topology", *LISTS, "/events", "/docs", one, *tabs, *there]


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    agent = start_agent(
        tmp_path_factory.mktemp("viewed"),
        module="tests.web.viewers",
        environ={"PYTHONPATH": path},
        agent={"node_id": "viewed", "labels": {"made": "for-looking"}},
        resources={"cpu": 4},
    )
    try:
        lists = {path: httpx.get(agent.url + path, headers=VIEWER).text for path in LISTS}
        config = {"command": "sleep", "args": ["600"]}
        made = agent.client.submit({"name": "looked-at", "type": "process", "config": config})
        agent.client.submit({"type": "opencv", "name": "eyes", "config": {"cascade_type": "eye"}})
        form = {"name": "notes", "config": '{"data_key": "notes"}'}
        stored = httpx.post(
            f"{agent.url}/api/workloads", data=form, files={"file": ("notes.txt", b"text")}
        )
        assert stored.status_code == 201, stored.text
        key = agent.client.data.create_access_key(buckets=None, read_only=True)
        services = agent.client.services
        services.create({"name": "faces", "template": FACES, "replicas": 0})
        services.update("faces", {"template": FACES | {"labels": {"version": "2"}}})
        yield Viewed(agent, made["id"], key["access_key_id"], lists)
    finally:
        agent.stop()


def test_no_control_is_shown(viewed: Viewed, visit: Visit) -> None:
    url = viewed.agent.url
    pages = {
        "viewer": visit("about:blank", extra_http_headers=VIEWER),
        "writer": visit("about:blank", java_script_enabled=False),  # only to know what is left out
    }
    links: dict[str, set[str]] = {}
    without: set[str] = set()
    for who, shown in pages.items():
        shown.origin = url
        found = links.setdefault(who, set())
        for path in viewed.paths():
            shown.page.goto(url + path)
            found |= {link.partition("#")[0] for link in shown.page.evaluate(LINKS)}
            controls = shown.page.evaluate(CONTROLS)
            if who == "viewer":
                assert controls == [], path
            elif not [each for each in controls if "nav-link" not in each]:
                without.add(path)
    assert without == {"/topology", "/events", "/docs", "/models/eyes"}

    def forbidden(who: str) -> set[str]:
        return {
            link.removeprefix(url)
            for link in links[who]
            if link.startswith(url) and httpx.get(link, headers=VIEWER).status_code == 403
        }

    assert forbidden("viewer") == set()
    one = f"/workloads/{viewed.workload_id}"
    assert forbidden("writer") >= {
        "/submit",
        f"{one}/stop",
        f"{one}?tab=terminal",
        "/nodes/viewed/drain",
        "/service/faces/scale",
        "/service/faces/update",
        "/data/objects/notes/delete",
        f"/data/keys/{viewed.key_id}/delete",
    }
    for path, text in viewed.lists.items():
        assert "<main" in text
        assert "/submit" not in text, path


def test_the_api_is_described_for_reading(viewed: Viewed, visit: Visit) -> None:
    shown = visit(f"{viewed.agent.url}/docs", extra_http_headers=VIEWER)
    shown.page.locator("#operations-tag-workloads").click()
    tried = shown.page.get_by_role("button", name="Try it out")
    for method in ("get", "post"):
        operation = shown.page.locator(f".opblock-{method}").first
        operation.locator(".opblock-summary-control").click()
        expect(operation.locator(".opblock-body")).to_be_visible()
        expect(tried).to_have_count(1)  # that of GET


def changing_routes() -> Iterator[tuple[str, str]]:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            if RequireWrite.dependency in [each.dependency for each in route.dependencies]:
                for method in route.methods or ():
                    yield method, route.path


def test_every_changing_route_refuses(viewed: Viewed) -> None:
    values = {
        "workload_id": viewed.workload_id,
        "node_id": "viewed",
        "key_id": viewed.key_id,
        "key": "notes",
        "kind": "process",
    }
    asked = 0
    with httpx.Client(base_url=viewed.agent.url) as http:
        for method, path in changing_routes():
            action = {"action": "drain" if path.startswith("/nodes") else "delete"}
            name = {"name": "faces"}
            address = path.format(**values, **action, **name)
            for language, sentence in REFUSED.items():
                headers = VIEWER | {"accept-language": language}
                answer = http.request(method, address, headers=headers)
                assert answer.status_code == 403, (method, address)
                assert sentence in html.unescape(answer.text), (method, address)
            if method == "GET":  # it is the header that makes the difference
                assert http.get(address).status_code == 200, address
            asked += 1
    assert asked > 20
    client = viewed.agent.client
    assert client.get(viewed.workload_id)["status"] == "running"
    assert client.node("viewed")["status"] == "active"
    assert client.data.get("notes")["file_count"] == 1
    assert [each["access_key_id"] for each in client.data.access_keys()] == [viewed.key_id]
    assert client.services.get("faces")["replicas"] == 0


def test_who_may_no_longer_is_told(viewed: Viewed, visit: Visit) -> None:
    """A page that was opened while its reader still might."""
    shown = visit(f"{viewed.agent.url}/submit")
    shown.expected.append("403")
    shown.context.set_extra_http_headers(VIEWER)
    shown.page.get_by_role("button", name="Submit", exact=True).click()
    expect(shown.page.locator("#toasts")).to_contain_text(REFUSED["en"])
    shown.page.goto(f"{viewed.agent.url}/workloads/{viewed.workload_id}/stop")
    expect(shown.page.get_by_role("heading", name="Not allowed")).to_be_visible()
    shown.accessible()
