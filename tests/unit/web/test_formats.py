"""Numbers as people read them."""

from __future__ import annotations

import pytest

from cnet.web import formats


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (2**30 * 200, "200 GiB")],
)
def test_size(count: int, shown: str) -> None:
    assert formats.size(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0"), (0.5, "0.5"), (8.0, "8"), (0.0625, "0.062")]
)
def test_cores(count: float, shown: str) -> None:
    assert formats.cores(count) == shown


def test_percent() -> None:
    assert formats.percent(1, 4) == 25
    assert formats.percent(5, 4) == 100
    assert formats.percent(1, 0) == 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (42.9, "42 s"), (200, "3 min 20 s"), (3_600, "1 h"), (277_200, "3 d 5 h")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert formats.duration(seconds) == shown


def test_moment() -> None:
    assert formats.moment(1_795_000_000.7) == "2026-11-18T11:06:40Z"
