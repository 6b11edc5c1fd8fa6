"""Every kind of workload is submitted from its form; what is wrong is said at its field."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from cnet.client import AgentClient
from tests.support.agents import start_agent
from tests.support.cities import Cities
from tests.support.engine import IMAGE, Engine, missing
from tests.web.pages import SHAPES, Visit, field, fill, removed_after, submit


def test_a_process_with_all_that_a_form_can_say(cities: Cities, visit: Visit) -> None:
    url = cities.urls["jiangsu"]
    with removed_after(url, "by hand") as client:
        shown = visit(f"{url}/submit")
        shown.accessible()
        fill(
            shown.page,
            name="by hand",
            config__command="sh",
            config__args="-c 'echo \"$GREETING\"'",
            config__env="GREETING=hello from a form",
            requirements__cpu="2",
            requirements__memory="64",
            labels="made=by-hand",
            affinity="gpu=yes",
        )
        found = client.wait_for(submit(shown), until="completed")
        assert found["node_id"] == "nanjing"
        assert found["requirements"]["memory"] == 64 * 1024**2
        assert found["labels"] == {"made": "by-hand"}
        assert client.logs(found["id"])["logs"] == ["hello from a form"]


def test_a_detector_of_faces_with_the_seeds_defaults(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    with removed_after(url, "faces-by-hand") as client:
        shown = visit(f"{url}/submit/opencv")
        expect(field(shown.page, "config.service_port")).to_have_value("9000")
        fill(shown.page, name="faces-by-hand", config__service_port="", requirements__cpu="0.1")
        found = client.wait_for(submit(shown), until="running")
        assert (found["type"], found["cascade_type"]) == ("opencv", "face")


def test_a_model_goes_to_another_node(cities: Cities, visit: Visit) -> None:
    url = cities.urls["jiangsu"]
    with removed_after(url, "shapes-by-hand") as client:
        shown = visit(f"{url}/submit/mlmodel")
        expect(field(shown.page, "requirements.memory")).to_have_value("2048")
        shown.page.locator("#group-options summary").click()
        expect(field(shown.page, "config.labels")).to_be_visible()
        fill(shown.page, config__model_type="sklearn")
        expect(field(shown.page, "config.labels")).to_be_hidden()
        expect(field(shown.page, "config.trusted_types")).to_be_visible()
        fill(
            shown.page,
            name="shapes-by-hand",
            config__model_type="yolo",
            config__model_path=str(SHAPES),
            config__service_port="0",
        )
        found = client.wait_for(submit(shown), until="running")
        assert found["node_id"] == "nanjing"


def test_a_gateway_takes_a_free_port_where_the_usual_one_is_held(
    cities: Cities, visit: Visit
) -> None:
    url = cities.urls["nanjing"]
    with removed_after(url, "holder", "gateway-by-hand") as client:
        client.submit({"name": "holder", "type": "datagateway", "config": {"service_port": 9091}})
        shown = visit(f"{url}/submit/datagateway")
        expect(field(shown.page, "config.service_port")).to_have_value("")
        fill(shown.page, name="gateway-by-hand", node="nanjing", config__service_port="9091")
        shown.page.get_by_role("button", name="Submit", exact=True).click()
        place = field(shown.page, "config.service_port")
        expect(place).to_have_accessible_description(re.compile("^9091 is held by"))
        fill(shown.page, config__service_port="")
        found = client.wait_for(submit(shown), until="running")
        assert found["bucket"] == "cnet"


def test_a_reservation(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    with removed_after(url, "kept") as client:
        shown = visit(f"{url}/submit/reservation")
        fill(shown.page, name="kept", config__seconds="60", requirements__cpu="0.5")
        found = client.wait_for(submit(shown), until="running")
        assert found["seconds"] == 60


def test_text_typed_in_becomes_data(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    with removed_after(url, "notes") as client:
        shown = visit(f"{url}/submit/data")
        fill(shown.page, config__upload_method="file")
        fill(
            shown.page,
            name="notes",
            config__content="first\nsecond\n",
            config__filename="notes.txt",
            config__data_key="notes",
        )
        found = client.wait_for(submit(shown), until="completed")
        assert (found["data_key"], found["size"]) == ("notes", len("first\nsecond\n"))


def test_a_file_is_sent_from_the_form(cities: Cities, visit: Visit, tmp_path: Path) -> None:
    url = cities.urls["suqian"]
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 5_000)
    with removed_after(url, "weights") as client:
        shown = visit(f"{url}/submit/data")
        shown.page.get_by_role("button", name="Submit", exact=True).click()
        expect(shown.page.locator("#toasts")).to_contain_text("Drop a file here")
        shown.page.set_input_files("#upload-file", tmp_path / "weights.bin")
        expect(shown.page.get_by_text("weights.bin · 1.2 MiB")).to_be_visible()
        fill(shown.page, name="weights", config__data_key="weights", config__tags="v1\nlarge")
        shown.page.get_by_role("button", name="Submit", exact=True).click()
        shown.page.wait_for_url("**/data/objects/weights")
        (found,) = [each for each in client.list() if each["name"] == "weights"]
        assert (found["size"], found["tags"]) == (1_280_000, ["v1", "large"])


@pytest.fixture
def engine() -> Iterator[Engine]:
    if (why_not := missing()) is not None:
        pytest.skip(why_not)
    engine = Engine()
    try:
        engine.start()
        engine.import_busybox()
        yield engine
    finally:
        engine.discard()


def test_a_container_on_a_real_engine(engine: Engine, visit: Visit, tmp_path: Path) -> None:
    agent = start_agent(tmp_path, docker={"enabled": True, "host": engine.host})
    try:
        shown = visit(f"{agent.url}/submit/container")
        expect(field(shown.page, "config.image")).to_have_value("nginx:alpine")
        fill(
            shown.page,
            name="boxed",
            config__image=IMAGE,
            config__command="sh -c 'echo boxed; exec sleep 600'",
            config__ports="",
            requirements__cpu="0.1",
            requirements__memory="32",
        )
        with AgentClient(agent.url) as client:
            found = client.wait_for(submit(shown), until="running")
            assert found["image"] == IMAGE
            client.delete(found["id"])
    finally:
        agent.stop()


def test_what_is_wrong_is_said_at_its_field(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['nanjing']}/submit/mlmodel")
    fill(shown.page, name="", requirements__cpu="many", priority="9999")
    shown.page.locator("#group-placement summary").click()
    shown.page.get_by_role("button", name="Submit", exact=True).click()
    for name, said in (
        ("name", "is required"),
        ("config.model_path", "is required"),
        ("requirements.cpu", "must be a number"),
        ("priority", "must be at most 1000"),
    ):
        place = field(shown.page, name)
        expect(place).to_have_attribute("aria-invalid", "true")
        expect(place).to_have_accessible_description(said)
        expect(place).to_be_visible()  # also where somebody had closed its group
    expect(field(shown.page, "name")).to_be_focused()
    shown.accessible()
    fill(
        shown.page,
        name="m",
        node="nanjing",  # another node might have the file
        requirements__cpu="1",
        priority="1",
        config__model_path="/no/such",
    )
    shown.page.get_by_role("button", name="Submit", exact=True).click()
    path = field(shown.page, "config.model_path")
    expect(path).to_have_accessible_description("'/no/such' is not a file on this node")


def test_a_plan_says_where_and_why_not_elsewhere(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['jiangsu']}/submit")
    plan = shown.page.locator("#plan")
    fill(shown.page, requirements__cpu="6")
    shown.page.get_by_role("button", name="Plan", exact=True).click()
    expect(plan).to_contain_text("Would run on nanjing")
    expect(plan).to_contain_text("cpu 5.5 cores short")
    fill(shown.page, requirements__cpu="1000")
    shown.page.get_by_role("button", name="Plan", exact=True).click()
    expect(plan).to_contain_text("No known node could ever hold it")
    with AgentClient(cities.urls["jiangsu"]) as client:
        assert not [each for each in client.list() if each["name"].startswith("process-")]


def test_the_same_as_text_follows_what_is_typed(
    cities: Cities, visit: Visit, tmp_path: Path
) -> None:
    url = cities.urls["nanjing"]
    with removed_after(url, "by-curl") as client:
        shown = visit(f"{url}/submit", permissions=["clipboard-read", "clipboard-write"])
        fill(shown.page, name="by-curl", config__command="true", config__args="")
        curl = shown.page.locator("#text-curl")
        expect(curl).to_contain_text('"name": "by-curl"')
        expect(curl).not_to_contain_text('"args"')
        shown.page.get_by_role("button", name="Copy curl").click()
        copied = shown.page.evaluate("navigator.clipboard.readText()")
        answer = subprocess.run(
            ["sh", "-c", f"{copied}"], capture_output=True, check=True, cwd=tmp_path
        )
        assert client.wait_for(json.loads(answer.stdout)["id"], until="completed")
        shown.page.locator("#code-yaml summary").click()
        spec = yaml.safe_load(shown.page.locator("#text-yaml").text_content())
        assert (spec["name"], spec["config"]) == ("by-curl", {"command": "true"})


def test_without_scripts(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    with removed_after(url, "plain") as client:
        shown = visit(f"{url}/submit", java_script_enabled=False)
        shown.expected.append("422")
        fill(shown.page, name="plain", requirements__cpu="x")
        shown.page.get_by_role("button", name="Submit", exact=True).click()
        expect(shown.page.get_by_text("must be a number")).to_be_visible()
        fill(shown.page, requirements__cpu="0.1")
        found = client.get(submit(shown))
        assert found["args"] == ["60"]


def test_in_chinese_on_a_phone(cities: Cities, visit: Visit) -> None:
    shown = visit(
        f"{cities.urls['jiangsu']}/submit/container",
        locale="zh-CN",
        viewport={"width": 360, "height": 740},
    )
    expect(field(shown.page, "config.image")).to_have_value("nginx:alpine")
    fill(shown.page, name="")
    shown.page.get_by_role("button", name="提交", exact=True).click()
    expect(field(shown.page, "name")).to_have_accessible_description("必填")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    shown.accessible()


def test_a_kind_that_nobody_knows(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['jiangsu']}/submit/teapot")
    shown.expected.append("404")
    expect(shown.page.get_by_role("heading", name="Not found")).to_be_visible()
