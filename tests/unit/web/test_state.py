"""Whoever may only look changes nothing: every route that changes something asks first."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from fastapi.routing import APIRoute
from starlette.requests import Request

from cnet.errors import ForbiddenError
from cnet.web.pages import NAVIGATION, ROUTERS
from cnet.web.state import RequireWrite, may_write

OF_THE_READER = {"/login", "/logout", "/preferences"}
"""They change what the reader's own browser keeps."""


def routes() -> Iterator[APIRoute]:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield route


def test_every_change_needs_the_right_to_it() -> None:
    changing = [route for route in routes() if route.methods - {"GET", "HEAD"}]
    assert changing
    unguarded = {route.path for route in changing if RequireWrite.dependency not in map_of(route)}
    assert unguarded == OF_THE_READER


def map_of(route: APIRoute) -> list[object]:
    return [each.dependency for each in route.dependencies]


@pytest.mark.parametrize(("given", "may"), [({}, True), ({"cnet.may_write": False}, False)])
def test_the_guard_says_who_may(given: dict[str, bool], may: bool) -> None:
    request = Request({"type": "http", "headers": [], **given})
    assert may_write(request) is may
    dependency = RequireWrite.dependency
    assert dependency is not None
    if may:
        anyio.run(dependency, request)
    else:
        with pytest.raises(ForbiddenError):
            anyio.run(dependency, request)


def test_every_page_of_the_navigation_has_a_route() -> None:
    paths = {route.path for route in routes()}
    assert {path for path, _, _ in NAVIGATION} <= paths
