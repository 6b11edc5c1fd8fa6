"""Services by hand: made from a form, scaled, shared among versions, rolled back, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import expect

from cnet.client import AgentClient
from tests.support.cities import Cities
from tests.web.browser import Watched, leave_pages
from tests.web.pages import Visit, field, fill

MIB = 1024**2
FACES = {
    "type": "opencv",
    "config": {"cascade_type": "face"},
    "requirements": {"cpu": 0.1, "memory": 256 * MIB},
}


@contextmanager
def gone_after(url: str, name: str) -> Iterator[AgentClient]:
    """A client; at the end the service is deleted, if it is there still."""
    with AgentClient(url) as client:
        try:
            yield client
        finally:
            leave_pages()
            if name in {each["name"] for each in client.services.list()}:
                client.services.delete(name)


def press(shown: Watched, button: str) -> None:
    """What asks in a dialog, and the dialog's own button."""
    shown.page.get_by_role("link", name=button, exact=True).click()
    expect(shown.page.get_by_role("dialog")).to_be_visible()


def test_a_service_by_hand(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    with gone_after(url, "by-hand") as client:
        shown = visit(f"{url}/submit/opencv")
        page = shown.page
        expect(field(page, "config.service_port")).to_be_visible()
        fill(page, service__mode="replicas")
        expect(field(page, "config.service_port")).to_be_hidden()
        expect(field(page, "service.autoscale.max")).to_be_hidden()
        fill(
            page,
            name="by-hand",
            requirements__cpu="0.1",
            requirements__memory="256",
            service__replicas="2",
        )
        expect(page.locator("#text-curl")).to_contain_text('"replicas": 2')
        page.get_by_role("button", name="Submit", exact=True).click()
        page.wait_for_url("**/service/by-hand")
        expect(page.get_by_text("2 of 2 ready")).to_be_visible()  # it comes about by itself
        shown.until_live()
        shown.accessible()

        press(shown, "Scale")
        fill(page, service__replicas="-1")
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Scale", exact=True).click()
        shown.expected.append("422")
        expect(field(page, "service.replicas")).to_have_accessible_description("must be at least 0")
        shown.accessible()
        fill(page, service__mode="load")
        expect(field(page, "service.replicas")).to_be_hidden()
        fill(page, service__mode="replicas")
        fill(page, service__replicas="1")
        page.get_by_role("button", name="Scale", exact=True).click()
        page.wait_for_url("**/service/by-hand")
        expect(page.get_by_text("1 of 1 ready")).to_be_visible()

        page.get_by_role("link", name="New version", exact=True).click()
        expect(field(page, "requirements.memory")).to_have_value("256")
        expect(field(page, "name")).to_have_count(0)
        shown.accessible()
        fill(page, config__cascade_type="eye", service__weight="20")
        page.get_by_role("button", name="Plan", exact=True).click()
        expect(page.locator("#plan")).to_contain_text("Would run on nanjing")
        page.get_by_role("button", name="New version", exact=True).click()
        page.wait_for_url("**/service/by-hand")
        expect(page.locator("#version-v2")).to_contain_text("20 %")
        expect(page.locator("#version-v1")).to_contain_text("80 %")
        expect(page.get_by_text("2 of 2 ready")).to_be_visible()

        press(shown, "Share requests")
        slider = dialog.get_by_label("Share of v2")
        slider.fill("50")
        expect(field(page, "weight.v1")).to_have_value("50")  # the other one has the rest
        shown.accessible()
        field(page, "weight.v1").fill("")
        dialog.get_by_role("button", name="Share requests").click()
        expect(page.get_by_text("the shares make 50 %, not 100 %")).to_be_visible()
        shown.accessible()
        field(page, "weight.v2").fill("100")
        page.get_by_role("button", name="Share requests").click()
        page.wait_for_url("**/service/by-hand")
        expect(page.locator("#version-v2")).to_contain_text("100 %")
        assert client.services.get("by-hand")["traffic"] == {"v2": 100}

        page.get_by_role("link", name="Back to it v1").click()
        dialog.get_by_role("button", name="Roll back").click()
        expect(page.locator("#version-v1")).to_contain_text("100 %")

        press(shown, "Delete")
        dialog.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/services")
        expect(page.get_by_text("by-hand")).to_have_count(0)


def test_another_agent_shows_and_changes_it(cities: Cities, visit: Visit) -> None:
    with gone_after(cities.urls["nanjing"], "far-by-hand") as client:
        client.services.create({"name": "far-by-hand", "template": FACES})
        url = cities.urls["jiangsu"]
        shown = visit(f"{url}/services", locale="zh-CN", viewport={"width": 360, "height": 740})
        shown.page.get_by_role("link", name="far-by-hand").click()
        expect(shown.page.get_by_text("1 个中 1 个就绪")).to_be_visible()
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
        shown.accessible()
        press(shown, "伸缩")
        fill(shown.page, service__mode="load", service__autoscale__max="2")
        shown.page.get_by_role("dialog").get_by_role("button", name="伸缩").click()
        expect(shown.page.get_by_text("1 到 2 个，每个同时处理 4 个请求")).to_be_visible()
        assert client.services.get("far-by-hand")["autoscale"]["max"] == 2
        shown.close()  # it would ask for what is deleted now


def test_without_scripts(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    with gone_after(url, "plain-service") as client:
        client.services.create({"name": "plain-service", "template": FACES})
        shown = visit(f"{url}/service/plain-service", java_script_enabled=False)
        page = shown.page
        shown.expected.append("422")
        page.get_by_role("link", name="Scale").click()
        fill(page, service__replicas="many")
        page.get_by_role("button", name="Scale").click()
        expect(page.get_by_text("must be a number")).to_be_visible()
        fill(page, service__replicas="0")
        page.get_by_role("button", name="Scale").click()
        page.wait_for_url("**/service/plain-service")
        assert client.services.get("plain-service")["replicas"] == 0
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/services")


def test_what_is_wrong_with_a_service_is_said_at_its_field(cities: Cities, visit: Visit) -> None:
    url = cities.urls["nanjing"]
    shown = visit(f"{url}/submit/mlmodel?service.mode=load")
    fill(
        shown.page,
        name="faulty",
        config__model_path="/no/such",
        service__autoscale__min="3",
        service__autoscale__max="2",
    )
    shown.page.get_by_role("button", name="Submit", exact=True).click()
    expect(field(shown.page, "service.autoscale.min")).to_have_accessible_description(
        "min (3) is more than max (2)"
    )
    fill(shown.page, service__autoscale__min="1", labels="cnet.mine=1")
    shown.page.get_by_role("button", name="Submit", exact=True).click()
    expect(field(shown.page, "labels")).to_have_accessible_description(
        "'cnet.mine' begins with 'cnet.', which is for the replicas of services"
    )


def test_a_service_that_is_not_there(cities: Cities, visit: Visit) -> None:
    shown = visit(f"{cities.urls['jiangsu']}/service/nobody")
    shown.expected.append("404")
    expect(shown.page.get_by_role("heading", name="Not found")).to_be_visible()
