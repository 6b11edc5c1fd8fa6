"""Nothing gets through by push, or no script runs: every page does its job all the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cnet.client import AgentClient
from tests.support.agents import wait_until
from tests.support.cities import Cities
from tests.web.browser import Watched
from tests.web.pages import ASTRONAUT, SHAPES, Visit, field, fill, submit
from tests.web.test_services import FACES, gone_after, press

CITY = "nanjing"
TALKS = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done"
Look = Callable[..., Watched]


@pytest.fixture
def client(cities: Cities) -> Iterator[AgentClient]:
    """Of the city whose pages are looked at; what a test submitted is deleted after it."""
    with AgentClient(cities.urls[CITY]) as client:
        yield client
        for workload in client.list():
            client.delete(workload["id"])
        for key in client.data.access_keys():
            client.data.revoke_access_key(key["access_key_id"])


@pytest.fixture
def look(cities: Cities, visit: Visit) -> Look:
    """`look(path)`: a page to which no stream and no WebSocket gets through."""

    def look(path: str) -> Watched:
        shown = visit("about:blank")
        shown.origin = cities.urls[CITY]
        shown.expected += ["ERR_FAILED"]
        shown.page.route("**/live", lambda route: route.abort())
        shown.page.route(re.compile(r"[?&]follow=true"), lambda route: route.abort())
        shown.page.route_web_socket(re.compile(""), lambda socket: socket.close())
        shown.page.goto(cities.urls[CITY] + path)
        return shown

    return look


def process(client: AgentClient, name: str, script: str = "sleep 600", **more: Any) -> str:
    """Submit a shell script to the city itself; its id."""
    spec = {
        "name": name,
        "type": "process",
        "node": CITY,
        "requirements": {"cpu": 1, "memory": 64 * 1024**2},
        "config": {"command": "sh", "args": ["-c", script]},
    }
    return str(client.submit(spec | more)["id"])


def test_overview(client: AgentClient, look: Look) -> None:
    shown = look("/")
    made = process(client, "seen-by-asking", requirements={"cpu": 2})
    expect(shown.page.get_by_role("link", name="seen-by-asking").first).to_be_visible()
    expect(shown.page.get_by_text("2 of 8")).to_be_visible()
    client.delete(made)
    expect(shown.page.get_by_text("0 of 8")).to_be_visible()
    assert shown.page.locator("#lost").is_hidden()


def test_topology(client: AgentClient, look: Look) -> None:
    page = look("/topology").page
    expect(page.locator("#graph")).to_have_attribute("data-nodes", "4")
    graph = "document.getElementById('graph')._cyreg.cy"  # Cytoscape's
    tone = f"{graph}.getElementById('{CITY}').data('tone')"
    wait_until(lambda: page.evaluate(tone) == "low")
    process(client, "fills", requirements={"cpu": 8})
    wait_until(lambda: page.evaluate(tone) == "full")
    bar = page.locator(f"#node-{CITY}").get_by_role("img", name=re.compile("^CPU: 100 %"))
    expect(bar).to_be_visible()


def test_node(client: AgentClient, look: Look) -> None:
    page = look(f"/nodes/{CITY}").page
    page.get_by_role("link", name="Drain", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    undrain = page.get_by_role("link", name="Undrain")
    expect(undrain).to_be_visible()
    assert client.node(CITY)["status"] == "draining"
    client.undrain(CITY)  # by somebody else
    expect(undrain).to_be_hidden()
    process(client, "runs-here")
    expect(page.get_by_role("link", name="runs-here")).to_be_visible()


def test_workloads(client: AgentClient, look: Look) -> None:
    page = look("/workloads").page
    made = process(client, "first", labels={"team": "vision"})
    process(client, "second")
    row = page.locator(f"#row-{made}")
    expect(row).to_contain_text("running")
    page.get_by_label("Search").fill("team=vis")
    expect(page.get_by_role("row")).to_have_count(2)
    client.stop(made)
    expect(row).to_contain_text("stopped")
    page.get_by_role("link", name=re.compile("^running")).click()
    expect(page.get_by_text("Nothing matches these filters")).to_be_visible()
    process(client, "third", labels={"team": "vision"})
    expect(page.get_by_role("link", name="third")).to_be_visible()


def test_workload(client: AgentClient, look: Look) -> None:
    made = process(client, "talks", TALKS)
    page = look(f"/workloads/{made}").page
    expect(page.locator("[data-value=cpu]")).to_have_text(re.compile(r"^\d"))
    page.get_by_role("link", name="Log", exact=True).click()
    line = page.locator("[data-log-lines]").get_by_text(re.compile("^line 1$"))
    expect(line).to_have_count(1)
    expect(page.locator("[data-log-state]")).to_have_text("asked every few seconds")
    page.get_by_label("Search in the log").fill("line 4")
    grown = page.locator("[data-log-lines]").get_by_text("line 41", exact=True)
    expect(grown).to_be_visible()  # about 8 s after its start
    expect(line).to_have_count(1)
    page.get_by_role("link", name="Status", exact=True).click()
    client.stop(made)
    expect(page.get_by_role("listitem").filter(has_text="stopped by a user")).to_be_visible()
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.locator("[data-log-state]")).to_have_text("ended")


def test_terminal(client: AgentClient, look: Look) -> None:
    made = process(client, "looked-into")
    page = look(f"/workloads/{made}?tab=terminal").page
    page.get_by_label("Command").fill("sh -c 'echo $((6 * 7)); exit 3'")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("ended with exit code 3")).to_be_visible()
    expect(page.locator("[data-terminal-screen] pre")).to_have_text("42\n")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("process", {}),
        ("container", {}),
        ("mlmodel", {"config__model_path": str(SHAPES), "requirements__memory": "512"}),
        ("opencv", {}),
        ("data", {"config__upload_method": "file", "config__content": "a"}),
        ("datagateway", {}),
        ("reservation", {"config__seconds": "5"}),
    ],
)
def test_plan(look: Look, kind: str, fields: dict[str, str]) -> None:
    page = look(f"/submit/{kind}").page
    fill(page, **fields)
    page.get_by_role("button", name="Plan", exact=True).click()
    where = "No known node could" if kind == "container" else "Would run on"  # there is no engine
    expect(page.locator("#plan")).to_contain_text(where)


def test_submit(client: AgentClient, look: Look) -> None:
    page = look("/submit").page
    fill(page, name="by-hand", config__command="sh", config__args="-c 'sleep 1; exit 7'")
    page.get_by_role("button", name="Submit", exact=True).click()
    page.wait_for_url("**/workloads/*-*")
    expect(page.locator("main").get_by_text("exited with 7").first).to_be_visible()


def test_service_and_model(cities: Cities, client: AgentClient, look: Look) -> None:
    with gone_after(cities.urls[CITY], "faces"):
        shown = look("/services")
        page = shown.page
        client.services.create({"name": "faces", "template": FACES}, wait=False)
        page.get_by_role("link", name="faces").click()
        expect(page.get_by_text("1 of 1 ready")).to_be_visible()
        press(shown, "Scale")
        fill(page, service__replicas="0")
        page.get_by_role("dialog").get_by_role("button", name="Scale").click()
        expect(page.get_by_text("0 of 0 ready")).to_be_visible()
        client.services.scale("faces", {"replicas": 1}, wait=False)
        template = FACES | {"labels": {"version": "2"}}
        client.services.update("faces", {"template": template, "weight": 20}, wait=False)
        expect(page.locator("#version-v2")).to_contain_text("20 %")
        press(shown, "Share requests")
        page.get_by_role("dialog").get_by_label("Share of v2").fill("50")
        page.get_by_role("dialog").get_by_role("button", name="Share requests").click()
        expect(page.locator("#version-v2")).to_contain_text("50 %")
        expect(page.get_by_text("2 of 2 ready")).to_be_visible()
        page.get_by_role("link", name="Try it").click()
        page.set_input_files("#picture-file", ASTRONAUT)
        expect(page.locator("#boxes .box-frame").first).to_be_visible()


def test_models(client: AgentClient, look: Look) -> None:
    page = look("/models").page
    client.submit({"name": "later", "type": "opencv", "config": {"cascade_type": "eye"}})
    expect(page.get_by_role("link", name="Try it later")).to_be_visible()


def test_data(client: AgentClient, look: Look, tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(bytes(2_000_000))
    waiting = look("/data").page
    page = look("/data").page
    page.set_input_files("#data-files", tmp_path / "some.bin")
    field(page, "data_key").fill("some")
    page.evaluate(
        """() => new MutationObserver(([change]) => {
          sessionStorage.progress = change.target.textContent;
        }).observe(document.getElementById("upload-progress"), {childList: true, subtree: true})"""
    )
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/data/objects/some")
    assert page.evaluate("sessionStorage.progress") == "1.9 MiB / 1.9 MiB"
    expect(waiting.get_by_role("link", name="some", exact=True)).to_be_visible()
    # The answer to a form is kept up to date, too.
    waiting.get_by_role("button", name="Make a key").click()
    expect(waiting.locator("#new-key")).to_be_visible()
    client.data.delete("some")
    expect(waiting.get_by_text("Nothing is stored yet")).to_be_visible()


def test_events(client: AgentClient, look: Look) -> None:
    page = look("/events").page
    process(client, "fails-unseen", "exit 7")
    row = page.get_by_role("row").filter(has_text="fails-unseen")
    expect(row.filter(has_text="exited with 7").first).to_be_visible()


def test_language(client: AgentClient, look: Look) -> None:
    page = look("/data").page
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator("#new-key")).to_be_visible()
    page.get_by_role("button", name="中文").click()  # on the answer to a form
    expect(page.get_by_role("heading", level=1)).to_have_text("数据")


# --- without scripts -----------------------------------------------------------------------------


@pytest.fixture
def plain(cities: Cities, visit: Visit) -> Look:
    """`plain(path)`: a page on which no script runs."""
    return lambda path: visit(cities.urls[CITY] + path, java_script_enabled=False)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/", "text=0 of 8"),
        ("/topology?q=suqian", "#node-suqian"),
        ("/nodes/suqian?measure=1", "td:has-text(' ms')"),
        ("/data", "noscript code"),  # how files are sent without scripts
        ("/submit/data", "[name='config.content']"),  # no script would bring it to light
        ("/docs", "noscript .notice"),
    ],
)
def test_looking_without_scripts(plain: Look, path: str, seen: str) -> None:
    expect(plain(path).page.locator("main").locator(seen).first).to_be_visible()


def test_from_submit_to_the_last_line_without_scripts(client: AgentClient, plain: Look) -> None:
    shown = plain("/submit")
    page = shown.page
    fill(page, name="plain", config__command="sh", config__args=f"-c '{TALKS}'")
    made = submit(shown)
    client.wait_for(made, until="running")
    page.goto(f"{client.url}/workloads?status=running")
    page.get_by_role("link", name="plain", exact=True).click()
    page.get_by_role("link", name="Terminal").click()
    page.get_by_label("Command").fill("echo from the inside")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("from the inside", exact=True)).to_be_visible()
    page.get_by_role("button", name="中文").click()
    page.get_by_role("button", name="English").click()
    page.get_by_role("link", name="Stop").click()
    page.get_by_role("button", name="Stop").click()
    page.wait_for_url(f"**/workloads/{made}")  # else the reload would break this off
    client.wait_for(made, until="stopped")
    page.reload()
    expect(page.locator("main").get_by_text("stopped by a user").first).to_be_visible()
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.get_by_text("line 1", exact=True)).to_be_visible()


def test_a_log_beside_the_events_without_scripts(client: AgentClient, plain: Look) -> None:
    made = process(client, "talks", TALKS)
    page = plain("/events").page
    page.get_by_label("Log of").select_option(made)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("line 1", exact=True)).to_be_visible()
