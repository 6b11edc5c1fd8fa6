"""What tests of several pages do with an agent and its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from cnet.client import AgentClient
from tests.web.browser import PATIENCE_MS, Watched, leave_pages

ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "examples" / "assets" / "astronaut.jpg"
SHAPES = ROOT / "examples" / "ml_models" / "shapes_yolo.onnx"
Visit = Callable[..., Watched]
Workload = dict[str, Any]

expect.set_options(timeout=PATIENCE_MS)


def fill(page: Page, **fields: str) -> None:
    """Fill fields of a form by their names; `config__command` is `config.command`."""
    for name, text in fields.items():
        place = field(page, name.replace("__", "."))
        group = page.locator("details", has=place)
        if group.count() and not place.is_visible():
            group.locator("summary").click()
        if place.evaluate("element => element.tagName") == "SELECT":
            place.select_option(text)
        else:
            place.fill(text)


def field(page: Page, name: str) -> Locator:
    """The field of a form that has this name."""
    return page.locator(f'[name="{name}"]')


def submit(shown: Watched) -> str:
    """Submit the form; the id of the workload whose page follows, and is left then."""
    page = shown.page
    page.get_by_role("button", name="Submit", exact=True).click()
    page.wait_for_url("**/workloads/*-*", wait_until="commit")
    workload_id = page.url.rpartition("/")[2]
    page.goto("about:blank")
    return workload_id


@contextmanager
def removed_after(url: str, *names: str) -> Iterator[AgentClient]:
    """A client; at the end every workload of these names is deleted there."""
    with AgentClient(url) as client:
        try:
            yield client
        finally:
            leave_pages()
            for each in client.list():
                if each["name"] in names:
                    client.delete(each["id"])
