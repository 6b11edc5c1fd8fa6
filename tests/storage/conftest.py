"""A store of local files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cnet.storage import NodeStore, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[NodeStore]:
    async with open_store(tmp_path / "data", min_part_bytes=5) as opened:
        yield opened
