"""A terminal in a container or beside a process, over the WebSocket of exec."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.containers.working import agent_with, sleeper
from tests.support.agents import AgentProcess
from tests.support.cities import Cities
from tests.support.engine import Engine, missing
from tests.web.browser import Watched
from tests.web.pages import removed_after

Visit = Callable[..., Watched]


@pytest.fixture
def engine_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    if (why_not := missing()) is not None:
        pytest.skip(why_not)
    engine = Engine()
    try:
        engine.start()
        engine.import_busybox()
        with agent_with(tmp_path_factory.mktemp("engine-agent"), engine) as agent:
            yield agent
    finally:
        engine.discard()


def test_a_shell_in_a_container(engine_agent: AgentProcess, visit: Visit) -> None:
    made = engine_agent.client.submit(sleeper())
    watched = visit(f"{engine_agent.url}/workloads/{made['id']}")
    shown = watched.page
    shown.get_by_role("link", name="Terminal").click()
    watched.accessible()
    shown.get_by_role("button", name="Open").click()
    expect(shown.get_by_role("status").filter(has_text="connected")).to_be_visible()
    shown.keyboard.type("echo $((6 * 7)) in here\n")
    expect(shown.locator(".xterm-rows")).to_contain_text("42 in here")
    shown.keyboard.type("exit 3\n")
    expect(shown.get_by_text("ended with exit code 3")).to_be_visible()
    watched.close()
    engine_agent.client.delete(made["id"])


@pytest.mark.parametrize("city", ["nanjing", "jiangsu"])  # where it runs, and from elsewhere
def test_a_shell_beside_a_process(cities: Cities, visit: Visit, city: str) -> None:
    url = cities.urls[city]
    with removed_after(url, "looked-into") as client:
        config = {"command": "sleep", "args": ["600"], "env": {"MARK": "of the workload"}}
        made = client.submit(
            {"name": "looked-into", "type": "process", "config": config, "node": "nanjing"}
        )
        client.wait_for(made["id"], until="running")
        watched = visit(f"{url}/workloads/{made['id']}?tab=terminal")
        shown = watched.page
        shown.get_by_role("button", name="Open").click()
        expect(shown.get_by_role("status").filter(has_text="connected")).to_be_visible()
        shown.keyboard.type("echo $((6 * 7)) $MARK\n")
        expect(shown.locator(".xterm-rows")).to_contain_text("42 of the workload")
        shown.keyboard.type("exit 3\n")
        expect(shown.get_by_text("ended with exit code 3")).to_be_visible()
