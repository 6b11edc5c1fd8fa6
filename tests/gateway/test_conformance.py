"""There are cases of every operation, and the documents say how many."""

from __future__ import annotations

import re

import pytest

from tests.gateway.conformance import MODULES, OPERATIONS, REPOSITORY, TESTS, collected, counted

CASES_IN_ALL = 200
CASES_OF_EACH = 3


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, str]]:
    return collected()


def test_there_are_enough_cases(cases: list[tuple[str, str]]) -> None:
    assert len(cases) >= CASES_IN_ALL
    few = {name: count for name, count in counted(cases).items() if count < CASES_OF_EACH}
    assert few == {}


def test_the_table_is_about_tests_that_there_are(cases: list[tuple[str, str]]) -> None:
    wanted = {name for name, operations in TESTS.items() if operations}
    assert wanted - {test for _, test in cases} == set()
    assert MODULES.keys() - {module for module, _ in cases} == set()
    assert {name for names in [*TESTS.values(), *MODULES.values()] for name in names} == set(
        OPERATIONS
    )


def test_the_documents_promise_no_more(cases: list[tuple[str, str]]) -> None:
    """The second column of the table in docs/s3.md: at least so many cases."""
    text = (REPOSITORY / "docs" / "s3.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z0-9 ]+) \| (\d+) \|", text, re.MULTILINE)
    promised = {name: int(number) for name, number in rows}
    assert promised.keys() == set(OPERATIONS)
    actual = counted(cases)
    assert {name for name, number in promised.items() if actual[name] < number} == set()
