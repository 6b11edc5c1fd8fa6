"""Every error of the tree has its status, its code and its shape."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import orjson
import pytest

from cnet import errors
from cnet.api.errors import STATUS, body_of, error_response, status_of

EXPECTED: dict[type[errors.CnetError], tuple[int, str]] = {
    errors.CnetError: (500, "internal_error"),
    errors.ConfigError: (500, "invalid_config"),
    errors.SpecError: (422, "invalid_field"),
    errors.MalformedError: (400, "malformed_body"),
    errors.MediaTypeError: (415, "unsupported_media_type"),
    errors.TooLargeError: (413, "too_large"),
    errors.DigestError: (422, "digest_mismatch"),
    errors.AuthError: (401, "unauthorized"),
    errors.ForbiddenError: (403, "forbidden"),
    errors.NotFoundError: (404, "not_found"),
    errors.ConflictError: (409, "conflict"),
    errors.TransitionError: (409, "wrong_state"),
    errors.PortTakenError: (409, "port_taken"),
    errors.CapacityError: (409, "no_capacity"),
    errors.ExecutionError: (500, "execution_failed"),
    errors.BadGatewayError: (502, "bad_gateway"),
    errors.DamagedError: (500, "damaged"),
    errors.TransientError: (503, "unavailable"),
    errors.DeadlineError: (504, "deadline_exceeded"),
    errors.UnreachableError: (503, "unreachable"),
    errors.StorageFullError: (507, "storage_full"),
}


def _tree(root: type[errors.CnetError]) -> Iterator[type[errors.CnetError]]:
    yield root
    for below in root.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below)


def test_the_table_of_this_test_is_complete() -> None:
    assert set(_tree(errors.CnetError)) == set(EXPECTED)


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: kind.__name__)
def test_each_class(kind: type[errors.CnetError]) -> None:
    status, code = EXPECTED[kind]
    response = error_response(kind("a sentence"))
    assert response.status_code == status
    assert response.media_type == "application/json"
    body = orjson.loads(bytes(response.body))
    assert (body["error"], body["details"]) == (code, "a sentence")
    assert bytes(response.body).endswith(b"\n")
    assert ("retry-after" in response.headers) is (status in {503, 504, 507})
    assert ("www-authenticate" in response.headers) is (status == 401)


def test_no_class_hides_one_behind_it() -> None:
    """The first match wins, so a class must not stand before one of its own subclasses."""
    kinds = [kind for kind, _ in STATUS]
    for index, kind in enumerate(kinds):
        for later in kinds[index + 1 :]:
            assert not (issubclass(later, kind) and later is not kind), (kind, later)
    assert kinds[-1] is errors.CnetError


def test_a_subclass_of_a_plugin_is_its_parent() -> None:
    class OurError(errors.CapacityError):
        """Of a plug-in."""

    assert status_of(OurError("x")) is HTTPStatus.CONFLICT


def test_more_keys() -> None:
    assert body_of(errors.SpecError("x", field="a.b"))["field"] == "a.b"
    assert "field" not in body_of(errors.SpecError("x"))
    assert body_of(errors.CapacityError("x", reasons=["n: y"]))["reasons"] == ["n: y"]
    assert body_of(errors.ConflictError("x", code="other"))["error"] == "other"


@pytest.mark.parametrize("text", ["\x00", "\u202e", "é" * 10_000, "\U0010ffff"])
def test_any_sentence_can_be_sent(text: str) -> None:
    response = error_response(errors.NotFoundError(text))
    assert orjson.loads(bytes(response.body))["details"] == text
