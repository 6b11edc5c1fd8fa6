"""The four cities and a browser; every page a test opens is held to the same rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.cities import Cities, running_cities
from tests.web.browser import Watched, launched


@pytest.fixture(scope="session")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cities]:
    with running_cities(tmp_path_factory.mktemp("cities")) as cities:
        yield cities


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed after each module: while Playwright runs, no other test can have an event loop."""
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """`visit(url, **options of a browser context)`: an open page; at the end each one is judged."""
    opened: list[Watched] = []

    def visit(url: str, **options: object) -> Watched:
        opened.append(Watched.open(browser, url, **options))
        return opened[-1]

    yield visit
    for page in opened:
        page.close()
    for page in opened:
        page.judge()
