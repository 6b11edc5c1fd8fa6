"""Debian's Chromium by Playwright, and what holds for every page in it.

No console error, no request to another host, no breach of the Content-Security-Policy; axe finds
nothing serious.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 60_000
"""Of waits that only guard against never."""

expect.set_options(timeout=PATIENCE_MS)


def executable() -> str | None:
    """A Chromium of this machine; `CNET_TEST_BROWSER` names another one."""
    return os.environ.get("CNET_TEST_BROWSER") or shutil.which("chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser with a fresh profile; the test is skipped where there is none."""
    path = executable()
    if path is None:
        pytest.skip("no browser: neither `chromium` on the path nor CNET_TEST_BROWSER")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page that is listened to."""

    page: Page
    context: BrowserContext
    origin: str
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """parts of problems that the test itself causes"""

    @classmethod
    def open(cls, browser: Browser, url: str, **options: Any) -> Watched:
        """Open the address in a context of its own."""
        options.setdefault("locale", "en-GB")
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        watched = cls(context.new_page(), context, _origin(url))
        _open.append(watched)
        watched.listen(watched.page)
        watched.page.goto(url)
        return watched

    def listen(self, page: Page) -> None:
        """Note what goes wrong on a page."""
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} or "Content Security Policy" in text:
            self.problems.append(f"console {kind}: {text}")

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in {"data", "blob"} and _origin(url) != self.origin:
            self.problems.append(f"request to another host: {url}")

    def until_live(self) -> None:
        """Wait until the page hears of changes."""
        self.page.wait_for_selector("html[data-stream=open]", state="attached")

    def accessible(self) -> None:
        """Fail if axe finds something serious; without axe (`test_axe` says so) nothing is judged.

        The test goes on then: one that was skipped here would not clean up behind itself.
        """
        if not AXE.exists():
            return
        # By the debugger's protocol: the page's own policy forbids inline scripts.
        self.page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa',"
            " 'best-practice']})"
        )
        serious = [
            f"{each['id']} ({each['impact']}): {node['target']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"][:3]
        ]
        assert not serious, "\n".join(serious)

    def close(self) -> None:
        """Close the page with its context."""
        if self in _open:
            _open.remove(self)
        self.context.close()

    def judge(self) -> None:
        """Fail if anything went wrong that the test did not expect."""
        unexpected = [
            problem
            for problem in self.problems
            if not any(part in problem for part in self.expected)
        ]
        assert not unexpected, "\n".join(unexpected)


_open: list[Watched] = []


def leave_pages() -> None:
    """Before what they show is removed: a page that asks for it once more would be told 404."""
    for watched in _open:
        watched.page.goto("about:blank")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
