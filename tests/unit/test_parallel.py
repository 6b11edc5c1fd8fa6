"""What `tests.support.parallel` asks of pytest-xdist is done."""

from __future__ import annotations

import pytest


def test_a_group_of_tests_stays_together(request: pytest.FixtureRequest) -> None:
    """xdist writes the group behind the name; where it does not, it deals out tests singly."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("only with -n")
    assert request.node.nodeid.endswith("@tests/unit/test_parallel.py")
