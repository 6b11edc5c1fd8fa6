"""Links resolve, and the two READMEs say the same."""

from __future__ import annotations

import re

import pytest

from tests.docs import pages

_COMMENT = re.compile(r"\s+# .*$", re.MULTILINE)


@pytest.mark.parametrize("page", pages.PAGES)
def test_relative_links_resolve(page: str) -> None:
    for link in pages.links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (pages.ROOT / page).parent / path if path else pages.ROOT / page
        assert target.exists(), f"{page}: {link} leads nowhere"
        if anchor:
            there = target.resolve().relative_to(pages.ROOT.resolve()).as_posix()
            anchors = {heading.anchor for heading in pages.headings(there)}
            assert anchor in anchors, f"{page}: {link} has no such heading"


def test_links_are_found() -> None:
    assert "docs/api.md" in pages.links("README.md")


def test_the_readmes_have_the_same_sections() -> None:
    english, chinese = (
        [heading.level for heading in pages.headings(page)] for page in pages.READMES
    )
    assert english == chinese
    assert len(english) >= 10


@pytest.mark.parametrize("language", ["sh", "text"])
def test_the_readmes_show_the_same_commands_and_output(language: str) -> None:
    english, chinese = (
        [_COMMENT.sub("", block) for block in pages.blocks(page, language)]
        for page in pages.READMES
    )
    assert english == chinese


def test_the_readmes_lead_to_each_other_and_to_the_same_pages() -> None:
    english, chinese = (set(pages.links(page)) for page in pages.READMES)
    assert english - {"README.zh-CN.md"} == chinese - {"README.md"}
    assert "README.zh-CN.md" in english
    assert "README.md" in chinese


def test_the_readme_is_short() -> None:
    assert len(pages.read("README.md").splitlines()) <= 250
