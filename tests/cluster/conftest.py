"""What tests of links leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.nodes import close_listeners


@pytest.fixture(autouse=True)
def _listeners_are_closed() -> Iterator[None]:
    yield
    close_listeners()
