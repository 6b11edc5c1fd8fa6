"""The pages as data: tables, code blocks, headings and links; plain regular expressions suffice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
PAGES = tuple(
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    )
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Heading:
    """`level` 1 is the title."""

    level: int
    text: str

    @property
    def anchor(self) -> str:
        """The name a link reaches it by, as GitHub makes it."""
        kept = re.sub(r"[^\w\- ]", "", self.text.lower())
        return kept.replace(" ", "-")


def read(page: str) -> str:
    """The text of a page, named by its path in the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Its fenced code blocks of one language."""
    return [body for name, body in _FENCE.findall(read(page)) if name == language]


def prose(page: str) -> str:
    """It without its fenced code blocks."""
    return _FENCE.sub("", read(page))


def headings(page: str) -> list[Heading]:
    """All, in order."""
    return [Heading(len(marks), text) for marks, text in _HEADING.findall(prose(page))]


def links(page: str) -> list[str]:
    """Targets of its links."""
    return _LINK.findall(prose(page))


def inline_code(page: str) -> list[str]:
    """Everything between single back-ticks."""
    return _CODE.findall(prose(page))


def section(page: str, title: str) -> str:
    """The text under one heading, up to the next of the same or a higher level; no code blocks."""
    text = prose(page)
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert start is not None, f"{page} has no section {title!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest if end is None else rest[: end.start()]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table in `text`, heads left out."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line.startswith("|") and not _is_rule(line) and not _is_rule(following):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _is_rule(line: str) -> bool:
    return bool(line) and set(line) <= set("|-: ") and "-" in line


def codes(cell: str) -> list[str]:
    """The words between back-ticks in a cell."""
    return _CODE.findall(cell)
