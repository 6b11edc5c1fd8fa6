"""A real engine for all tests of this folder, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engine import Engine, missing

pytest.register_assert_rewrite("cnet.testing")


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    """Started once; tests that stop or kill an engine take `own_engine`."""
    yield from _engine()


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The shared one; whatever a test leaves on it is a failure, and removed."""
    yield shared_engine
    left = shared_engine.names()
    shared_engine.clear()
    assert not left, "containers were left behind"


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    """One of the test's own."""
    yield from _engine()


def _engine() -> Iterator[Engine]:
    if (why_not := missing()) is not None:
        pytest.skip(why_not)
    engine = Engine()
    try:
        engine.start()
        engine.import_busybox()
        yield engine
    finally:
        engine.discard()
