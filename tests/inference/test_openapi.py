"""Requests generated from the OpenAPI documents of services: no 5xx, answers as they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import skops.io
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sklearn.linear_model import LogisticRegression

from tests.inference import networks
from tests.inference.services import Service, running

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(900)]

SEED = 20_261_130
CONFORMANCE = [content_type_conformance, response_schema_conformance, status_code_conformance]
CASES = {"post": 60, "get": 3}


@pytest.fixture(scope="module")
def estimator(folder: Path) -> Iterator[Service]:
    """A classifier of scikit-learn."""
    rows = [[0, 0], [0, 1], [1, 0], [1, 1]]
    skops.io.dump(LogisticRegression().fit(rows, ["a", "b", "a", "b"]), folder / "m.skops")
    with running(folder, "sklearn", "--model", str(folder / "m.skops")) as service:
        yield service


@pytest.fixture(scope="module")
def echo(folder: Path) -> Iterator[Service]:
    """A model of many datatypes."""
    kinds = ("BOOL", "INT8", "UINT8", "INT64", "UINT64", "FLOAT16", "FLOAT", "DOUBLE", "STRING")
    path = networks.save_echo(folder / "echo.onnx", *kinds)
    with running(folder, "onnx", "--model", str(path)) as service:
        yield service


@pytest.fixture(scope="module")
def custom(folder: Path) -> Iterator[Service]:
    """A Python file without tensors."""
    (folder / "model.py").write_text("def predict(inputs):\n    return inputs\n")
    with running(folder, "custom", "--model", str(folder / "model.py")) as service:
        yield service


@pytest.mark.parametrize("name", ["service", "estimator", "echo", "custom", "yolo", "faces"])
def test_generated_requests(name: str, request: pytest.FixtureRequest) -> None:
    service: Service = request.getfixturevalue(name)
    document = service.client.get("/openapi.json").json()
    seen = Counter[tuple[str, int]]()
    with requests.Session() as session:
        session.trust_env = False
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            assert isinstance(result, Ok), result
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _run(service, result.ok(), mode, session, seen)
    assert service.process.poll() is None
    posted = {status for path, status in seen if path == "/predict"}
    assert 200 in posted or name in {"yolo", "faces"}, seen
    assert 422 in posted or 400 in posted, seen
    assert "Traceback" not in service.log.read_text()


def _run(
    service: Service,
    operation: Any,
    mode: GenerationMode,
    session: requests.Session,
    seen: Counter[tuple[str, int]],
) -> None:
    if mode is GenerationMode.NEGATIVE and operation.method == "get":
        return  # nothing about them can be wrong

    @seed(SEED)
    @settings(
        max_examples=CASES[operation.method],
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        response = case.call(base_url=str(service.client.base_url), session=session, timeout=60)
        seen[operation.path, response.status_code] += 1
        assert response.status_code < 500 or response.status_code == 504, response.text
        if mode is GenerationMode.POSITIVE:
            case.validate_response(response, checks=CONFORMANCE)

    check()
