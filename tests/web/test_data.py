"""Data: uploads with their tree, looks at pictures and texts, gateways and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.cities import Cities
from tests.web.pages import ASTRONAUT, Visit, field, removed_after


@pytest.fixture
def url(cities: Cities) -> Iterator[str]:
    url = cities.urls["nanjing"]
    yield url
    with httpx.Client(base_url=url, timeout=60) as http:
        for each in http.get("/api/workloads").json()["workloads"]:
            http.delete(f"/api/workloads/{each['id']}")
        for each in http.get("/api/access-keys").json()["access_keys"]:
            http.delete(f"/api/access-keys/{each['access_key_id']}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tree with a picture and texts, some of one name in several folders."""
    folder = tmp_path / "collection"
    (folder / "pictures" / "more").mkdir(parents=True)
    (folder / "pictures" / "astronaut.jpg").write_bytes(ASTRONAUT.read_bytes())
    (folder / "notes.md").write_text("# Notes\n<script>alert(1)</script>\n")
    (folder / "pictures" / "notes.md").write_text("other notes\n")
    (folder / "pictures" / "more" / "中文 100%.txt").write_text("内容\n")
    return folder


def test_a_folder_is_uploaded_with_its_tree(url: str, visit: Visit, folder: Path) -> None:
    shown = visit(f"{url}/data")
    shown.accessible()
    expect(shown.page.get_by_text("Nothing is stored yet")).to_be_visible()
    shown.page.set_input_files("#data-files-tree", folder)
    expect(shown.page.locator("[data-chosen]")).to_contain_text("+ 3")
    field(shown.page, "data_key").fill("collection")
    shown.page.get_by_role("button", name="Upload").click()
    shown.page.wait_for_url("**/data/objects/collection")
    stored = httpx.get(f"{url}/api/data/collection").json()["file_list"]
    assert [each["path"] for each in stored] == [
        "notes.md",
        "pictures/astronaut.jpg",
        "pictures/more/中文 100%.txt",
        "pictures/notes.md",
    ]
    shown.accessible()


def test_pictures_and_texts_are_shown_and_downloaded(
    url: str, visit: Visit, folder: Path, tmp_path: Path
) -> None:
    shown = visit(f"{url}/data")
    shown.page.set_input_files("#data-files-tree", folder)
    field(shown.page, "data_key").fill("looked-at")
    shown.page.get_by_role("button", name="Upload").click()
    shown.page.wait_for_url("**/data/objects/looked-at")
    shown.page.get_by_role("link", name="notes.md", exact=True).click()
    expect(shown.page.locator("pre")).to_have_text("# Notes\n<script>alert(1)</script>\n")
    shown.page.get_by_role("link", name="pictures/astronaut.jpg", exact=True).click()
    image = shown.page.get_by_role("img", name="pictures/astronaut.jpg")
    expect(image).to_have_js_property("naturalWidth", 512)
    shown.page.get_by_role("link", name="pictures/more/中文 100%.txt", exact=True).click()
    expect(shown.page.locator("pre")).to_have_text("内容\n")
    with shown.page.expect_download() as begun:
        shown.page.get_by_role("link", name="Download pictures/astronaut.jpg").click()
    begun.value.save_as(tmp_path / "copy.jpg")
    assert (tmp_path / "copy.jpg").read_bytes() == ASTRONAUT.read_bytes()


def test_a_file_is_dropped_and_deleted(url: str, visit: Visit) -> None:
    shown = visit(f"{url}/data")
    transfer = shown.page.evaluate_handle(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["dropped"], "dropped.txt", {type: "text/plain"}));
          return transfer;
        }"""
    )
    shown.page.dispatch_event("[data-drop=data-files]", "drop", {"dataTransfer": transfer})
    expect(shown.page.get_by_text("dropped.txt · 7 B")).to_be_visible()
    field(shown.page, "data_key").fill("dropped")
    shown.page.get_by_role("button", name="Upload").click()
    shown.page.wait_for_url("**/data/objects/dropped")
    expect(shown.page.locator("pre")).to_have_text("dropped")
    shown.page.get_by_role("link", name="Delete").click()
    dialog = shown.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete dropped?")
    dialog.get_by_role("link", name="Cancel").click()
    shown.page.get_by_role("link", name="Delete").click()
    shown.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    shown.page.wait_for_url("**/data")
    expect(shown.page.get_by_text("Nothing is stored yet")).to_be_visible()
    assert httpx.get(f"{url}/api/data/dropped").status_code == 404


def test_a_key_that_is_taken_is_said(url: str, visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    form = {"config": '{"data_key": "taken"}'}
    httpx.post(f"{url}/api/workloads", data=form, files={"file": ("a.txt", b"a")})
    shown = visit(f"{url}/data")
    shown.expected.append("409")
    shown.page.set_input_files("#data-files", tmp_path / "a.txt")
    field(shown.page, "data_key").fill("taken")
    shown.page.get_by_role("button", name="Upload").click()
    expect(shown.page.locator("#toasts")).to_contain_text("taken")


def test_data_of_all_nodes(url: str, cities: Cities, visit: Visit) -> None:
    other = cities.urls["suqian"]
    with removed_after(other, "far") as client:
        form = {"name": "far", "config": '{"data_key": "far"}'}
        httpx.post(f"{client.url}/api/workloads", data=form, files={"file": ("far.txt", b"away")})
        shown = visit(f"{url}/data")
        shown.page.get_by_role("link", name="All nodes").click()
        row = shown.page.get_by_role("row").filter(has_text="far")
        expect(row).to_contain_text("suqian")
        row.get_by_role("link", name="far", exact=True).click()
        expect(shown.page.locator("pre")).to_have_text("away")


def test_keys_and_gateways(url: str, visit: Visit) -> None:
    shown = visit(f"{url}/data")
    shown.page.get_by_label("Buckets").fill("cnet")
    shown.page.get_by_role("button", name="Make a key").click()
    made = shown.page.locator("#new-key")
    expect(made).to_contain_text("not shown again")
    (key,) = httpx.get(f"{url}/api/access-keys").json()["access_keys"]
    assert (key["buckets"], key["read_only"]) == (["cnet"], True)
    secret = shown.page.locator("#secret").inner_text()
    assert len(secret) >= 20
    shown.accessible()
    shown.page.goto(f"{url}/data")
    assert secret not in shown.page.content()
    body = {"name": "s3-here", "type": "datagateway", "config": {"read_only": False}}
    httpx.post(f"{url}/api/workloads", json=body, timeout=60)
    expect(shown.page.get_by_role("link", name="s3-here")).to_be_visible()
    shown.page.get_by_role("link", name=f"Delete {key['access_key_id']}").click()
    shown.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(shown.page.get_by_text("None yet")).to_be_visible()


def test_a_bucket_of_no_name_is_said(url: str, visit: Visit) -> None:
    shown = visit(f"{url}/data")
    shown.expected.append("422")
    shown.page.get_by_label("Buckets").fill("Not_A_Bucket")
    shown.page.get_by_role("button", name="Make a key").click()
    expect(shown.page.get_by_text("a-z, 0-9")).to_be_visible()


def test_in_chinese_on_a_phone(url: str, visit: Visit, folder: Path) -> None:
    shown = visit(f"{url}/data", locale="zh-CN", viewport={"width": 360, "height": 740})
    shown.page.set_input_files("#data-files-tree", folder)
    shown.page.get_by_role("button", name="上传").click()
    shown.page.wait_for_url("**/data/objects/*")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    shown.page.goto(f"{url}/data")
    expect(shown.page.get_by_role("heading", name="已存储的对象")).to_be_visible()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    shown.accessible()
