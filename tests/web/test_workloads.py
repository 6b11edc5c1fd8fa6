"""The list of workloads and the page of one."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cnet.client import AgentClient
from tests.support.agents import start_agent
from tests.support.cities import Cities
from tests.web.browser import Watched

Visit = Callable[..., Watched]


@pytest.fixture
def client(cities: Cities) -> Iterator[AgentClient]:
    """Of jiangsu; what a test submitted is deleted after it."""
    with AgentClient(cities.urls["jiangsu"]) as client:
        yield client
        for workload in client.list():
            client.delete(workload["id"])


def submit(client: AgentClient, name: str, script: str, **more: Any) -> dict[str, Any]:
    spec = {
        "name": name,
        "type": "process",
        "requirements": {"cpu": 1, "memory": 64 * 1024**2},
        "config": {"command": "sh", "args": ["-c", script]},
    }
    return client.submit(spec | more)


def test_the_list_is_filtered_and_live(cities: Cities, client: AgentClient, visit: Visit) -> None:
    submit(client, "first", "sleep 600", labels={"team": "vision"})
    submit(client, "second", "exit 3")
    shown = visit(f"{cities.urls['jiangsu']}/workloads").page
    expect(shown.get_by_role("row")).to_have_count(3)
    shown.get_by_label("Search").fill("team=vis")
    expect(shown.get_by_role("row")).to_have_count(2)
    expect(shown).to_have_url(re.compile(r"/workloads\?q=team%3Dvis$"))
    submit(client, "third", "sleep 600", labels={"team": "vision"})
    expect(shown.get_by_role("link", name="third")).to_be_visible()
    shown.get_by_label("Search").fill("")
    expect(shown.get_by_role("row")).to_have_count(4)
    shown.get_by_role("link", name=re.compile("^failed")).click()
    expect(shown.get_by_role("row")).to_have_count(2)
    expect(shown.get_by_role("link", name="second")).to_be_visible()


def test_the_list_can_be_used_by_all(cities: Cities, client: AgentClient, visit: Visit) -> None:
    submit(client, "one", "sleep 600")
    submit(client, "waits", "true", requirements={"cpu": 8})
    for options in ({}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}):
        shown = visit(f"{cities.urls['jiangsu']}/workloads", **options)
        shown.until_live()
        shown.accessible()


def test_pages_of_many(cities: Cities, client: AgentClient, visit: Visit) -> None:
    for number in range(51):
        client.submit(
            {
                "name": f"waits-{number:02}",
                "type": "process",
                "requirements": {"cpu": 8},
                "config": {"command": "sleep", "args": ["600"]},
            },
            wait=False,
        )
    shown = visit(f"{cities.urls['jiangsu']}/workloads").page
    expect(shown.get_by_text("Page 1 of 2, 51 in all")).to_be_visible()
    shown.get_by_role("link", name="Older").click()
    expect(shown.get_by_role("row")).to_have_count(2)
    assert shown.get_by_role("link", name="waits-00").is_visible()


def test_one_is_looked_at_stopped_restarted_and_deleted(
    cities: Cities, client: AgentClient, visit: Visit
) -> None:
    workload = submit(client, "far", "while :; do echo tick; sleep 0.1; done", node="nanjing")
    workload = client.wait_for(workload["id"], until="running")  # what was there before goes first
    assert workload["node_id"] == "nanjing"
    watched = visit(f"{cities.urls['jiangsu']}/workloads/{workload['id']}")
    shown = watched.page
    expect(shown.locator("[data-value=memory]")).to_have_text(re.compile("MiB|KiB"))
    watched.accessible()
    shown.get_by_role("link", name="Stop").click()
    dialog = shown.get_by_role("dialog")
    expect(dialog).to_contain_text("Stop far?")
    watched.accessible()
    dialog.get_by_role("link", name="Cancel").click()
    expect(dialog).to_be_hidden()
    shown.get_by_role("link", name="Stop").click()
    dialog.get_by_role("button", name="Stop").click()
    expect(shown.locator("main").get_by_text("stopped by a user").first).to_be_visible()
    shown.get_by_role("link", name="Restart").click()
    shown.get_by_role("button", name="Restart").click()
    expect(shown.get_by_text("0 restarts, run 2")).to_be_visible()
    expect(shown.get_by_role("link", name="Stop")).to_be_visible()
    shown.get_by_role("link", name="Delete").click()
    shown.get_by_role("button", name="Delete").click()
    shown.wait_for_url("**/workloads")
    expect(shown.get_by_role("link", name="far", exact=True)).to_be_hidden()


def test_without_scripts_a_page_asks(cities: Cities, client: AgentClient, visit: Visit) -> None:
    workload = submit(client, "plain", "sleep 600")
    shown = visit(
        f"{cities.urls['jiangsu']}/workloads/{workload['id']}", java_script_enabled=False
    ).page
    shown.get_by_role("link", name="Delete").click()
    shown.get_by_role("button", name="Delete").click()
    shown.wait_for_url("**/workloads")


def test_a_log_is_followed_searched_and_downloaded(
    cities: Cities, client: AgentClient, visit: Visit
) -> None:
    script = "i=0; while :; do i=$((i+1)); printf 'line \\033[31m%d\\033[0m\\n' $i; sleep 0.1; done"
    workload = submit(client, "talks", script)
    watched = visit(f"{cities.urls['jiangsu']}/workloads/{workload['id']}?tab=log")
    shown = watched.page
    expect(shown.get_by_text("line 12", exact=True)).to_be_visible()
    watched.accessible()
    shown.get_by_label("Search in the log").fill("NE 7")
    expect(shown.get_by_text("line 7", exact=True)).to_be_visible()
    expect(shown.get_by_text("line 12", exact=True)).to_be_hidden()
    with shown.expect_download() as download:
        shown.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "talks.log"
    assert download.value.path().read_bytes().startswith(b"line \x1b[31m1")
    client.stop(workload["id"])
    expect(shown.locator("[data-log-state]")).to_have_text("ended")


def test_a_log_goes_on_with_the_next_agent(tmp_path: Path, visit: Visit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    agent = start_agent(tmp_path, agent={"port": port})
    try:
        script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done"
        workload = submit(agent.client, "talks", script)
        watched = visit(f"{agent.url}/workloads/{workload['id']}?tab=log")
        watched.expected.append("ERR_")
        expect(watched.page.get_by_text("line 1", exact=True)).to_be_visible()
        agent.restart()  # it ends streams in good order when it goes
        last = len(agent.client.logs(workload["id"], lines=0)["logs"]) + 5
        expect(watched.page.get_by_text(f"line {last}", exact=True)).to_be_visible()
        watched.page.goto("about:blank")
    finally:
        agent.stop()


def test_why_it_waits_and_what_was_asked(cities: Cities, client: AgentClient, visit: Visit) -> None:
    submit(client, "holds", "sleep 600", node="suqian")
    workload = client.submit(
        {
            "name": "waits",
            "type": "process",
            "requirements": {"cpu": 4},
            "node": "suqian",
            "config": {"command": "env", "secret_env": {"KEY": "hidden-from-everybody"}},
        },
        wait=False,
    )
    watched = visit(f"{cities.urls['jiangsu']}/workloads/{workload['id']}?tab=placement")
    row = watched.page.get_by_role("row").filter(
        has=watched.page.get_by_role("link", name="suqian")
    )
    expect(row).to_contain_text("cpu 1 cores short")
    watched.accessible()
    watched.page.get_by_role("link", name="Spec").click()
    expect(watched.page.get_by_text("'***'").first).to_be_visible()
    assert "hidden-from-everybody" not in watched.page.content()
    watched.accessible()


def test_one_that_is_not_there(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['jiangsu']}/workloads/nothing")
    shown.expected.append("404")
    assert shown.page.get_by_role("heading", name="Not found").is_visible()


def test_a_page_whose_workload_goes_says_so(
    cities: Cities, client: AgentClient, visit: Visit
) -> None:
    workload = submit(client, "goes", "sleep 600")
    shown = visit(f"{cities.urls['jiangsu']}/workloads/{workload['id']}")
    shown.expected.append("404")
    shown.until_live()
    client.delete(workload["id"])
    expect(shown.page.get_by_role("heading", name="Not found")).to_be_visible()
