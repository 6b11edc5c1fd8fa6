"""Requests generated from the OpenAPI document: no 5xx, no broken connection, balanced books.

`CNET_FUZZ_ROUNDS` asks for more of them, over a thousand in each round.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.books import assert_balanced
from tests.fuzz.generated import POOL, aimed, finite
from tests.support.agents import AgentProcess

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(900)]

log = logging.getLogger(__name__)  # figures: pytest --log-cli-level=WARNING

SEED = 20_261_121
ROUNDS = int(os.environ.get("CNET_FUZZ_ROUNDS", "4"))
PER_ROUND = {("POST", "/api/workloads"): 225, ("GET", "/api/workloads"): 90}
OTHERS_PER_ROUND = 1_800  # of all other operations together, however many there are
LEAST_CASES = 5_000
Operation = APIOperation[Any, Any, Any, Any]
CONFORMANCE = [content_type_conformance, response_schema_conformance, status_code_conformance]


def test_requests_of_the_document(agent: AgentProcess) -> None:
    """At least 5,000, right and wrong ones; every answer in a shape that the document has."""
    document = httpx.get(f"{agent.url}/openapi.json").json()
    documents = (finite(document), aimed(document), aimed(document), aimed(document))
    operations = [_operations(each) for each in documents]
    seen: Counter[tuple[str, str, int]] = Counter()
    with requests.Session() as session:
        session.trust_env = False
        for number in range(ROUNDS):
            for operation in operations[number % len(operations)]:
                some = PER_ROUND.get(_key(operation), OTHERS_PER_ROUND // len(operations[0]))
                _run(
                    agent, operation, GenerationMode.POSITIVE, some * 2 // 3, number, session, seen
                )
                _run(agent, operation, GenerationMode.NEGATIVE, some // 3, number, session, seen)
            assert_balanced(agent)
    statuses = Counter[int]()
    for (_, _, status), count in seen.items():
        statuses[status] += count
    log.warning("%d cases, by status: %s", seen.total(), dict(sorted(statuses.items())))
    assert seen.total() >= LEAST_CASES
    # the generator got behind validation, and every kind of answer came
    for method, path, status in (
        ("POST", "/api/workloads", 201),
        ("POST", "/api/workloads", 409),
        ("POST", "/api/workloads", 422),
        ("DELETE", "/api/workloads/{workload_id}", 200),
        ("DELETE", "/api/workloads/{workload_id}", 404),
        ("POST", "/api/workloads/{workload_id}/stop", 409),
        ("POST", "/api/workloads/{workload_id}/restart", 200),
        ("GET", "/api/workloads/{workload_id}/logs", 200),
    ):
        assert seen[method, path, status], (method, path, status, seen)


def test_parameters_of_streams(agent: AgentProcess) -> None:
    """The event stream opens, or says what is wrong with the request."""
    values = ("", "0", "-1", "1e3", "9" * 400, "x", "\0", "\u0663", "%", "[]")
    with httpx.Client(base_url=agent.url, trust_env=False) as http:
        for after in values:
            for workload in (*values, *POOL[:1]):
                params = {"after": after, "workload": workload}
                with http.stream("GET", "/api/events", params=params) as reply:
                    assert reply.status_code in {200, 422}
                    assert next(reply.iter_bytes())
        for header in (b"", b"0", b"-1", b"\xff", b"9" * 400, b"1 2"):
            headers = {b"Last-Event-ID": header}
            with http.stream("GET", "/api/events", headers=headers) as reply:
                assert reply.status_code == 200
    assert_balanced(agent)


def _operations(document: dict[str, Any]) -> list[Operation]:
    """Deletion last, so that the others find what was submitted."""
    schema = schemathesis.openapi.from_dict(document)
    found = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        found.append(result.ok())
    return sorted(found, key=lambda operation: operation.method.upper() == "DELETE")


def _key(operation: Operation) -> tuple[str, str]:
    return operation.method.upper(), operation.path


def _is_endless(case: Case[Any]) -> bool:
    """Whether it asks to follow the log of a workload, which may wait for ever."""
    follow = str((case.query or {}).get("follow")).strip().lower()
    return follow in {"true", "t", "yes", "y", "on", "1", "1.0"}


def _run(
    agent: AgentProcess,
    operation: Operation,
    mode: GenerationMode,
    cases: int,
    number: int,
    session: requests.Session,
    seen: Counter[tuple[str, str, int]],
) -> None:
    key = _key(operation)

    @seed(SEED + number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        assume(not _is_endless(case))
        response = case.call(base_url=agent.url, session=session, timeout=20)
        seen[(*key, response.status_code)] += 1
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        if response.status_code >= 400:
            body = response.json()
            assert isinstance(body["error"], str) and isinstance(body["details"], str)
        if mode is GenerationMode.POSITIVE:
            case.validate_response(response, checks=CONFORMANCE)

    try:
        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # nothing about it can be wrong
