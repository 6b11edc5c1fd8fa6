"""docs/api.md has every route, field of a submit, error code and status reason, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from cnet import config
from cnet.agent.loads import Loads
from cnet.agent.tree import Tree
from cnet.api import create_app, schemas
from cnet.api.context import ApiContext
from cnet.api.errors import STATUS
from cnet.api.ml.bodies import DeployBody
from cnet.api.ml.serving import ModelServing
from cnet.cluster.hello import Identity
from cnet.executors.container.config import ContainerConfig
from cnet.executors.data_config import DataConfig
from cnet.executors.gateway import DataGatewayConfig
from cnet.executors.inference import MlModelConfig, OpenCvConfig
from cnet.executors.process import ProcessConfig
from cnet.inference import replies
from cnet.manager import Journal
from cnet.model.resources import Resources
from cnet.model.workload import HealthSpec, LimitsSpec, Requirements, RestartPolicy, WorkloadSpec
from cnet.register import Ledger
from cnet.services import Services
from tests.docs import pages, sources

PAGE = "docs/api.md"
SERVICES_PAGE = "docs/inference.md"
NOT_IN_A_REPLY = {"http_error", "method_not_allowed", "internal_error"}
"""Words of `cnet.api.errors` for what the framework, not the error tree, refuses."""


@pytest.fixture
async def document(tmp_path: Path) -> dict[str, Any]:
    """The OpenAPI document as an agent serves it."""
    journal = Journal(tmp_path / "cnet.db")
    journal.open()
    try:
        identity = Identity(node_id="docs", instance="i", incarnation=1, port=0)
        tree = Tree(config.load(env={}), identity)
        manager = tree.manager(ledger=Ledger(Resources()), journal=journal, executors={})
        loads = Loads("docs", tree.links)
        context = ApiContext(
            manager=manager,
            exchange=tree.exchange,
            links=tree.links,
            services=Services(manager, ()),
            directory=tree.directory,
            counting=loads.counting,
            measure=loads.measure,
            started_at=0.0,
            models=ModelServing(manager, idle_s=1),
        )
        apps = create_app(context, token=None, max_body_bytes=1024)
        transport = httpx.ASGITransport(apps.guarded)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer: dict[str, Any] = (await client.get("/openapi.json")).json()
    finally:
        journal.close()
    return answer


@pytest.mark.anyio
async def test_every_route_is_documented_with_its_parameters(document: dict[str, Any]) -> None:
    served = {
        f"{method.upper()} {path}": {
            each["name"] for each in operation.get("parameters", []) if each["in"] == "query"
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert len(served) >= 14
    listed = {
        pages.codes(route)[0]: set(pages.codes(query))
        for route, query, _ in pages.rows(pages.section(PAGE, "Routes").split("###")[0])
    }
    assert listed == served


def test_every_field_of_a_submit_is_documented() -> None:
    table = list(pages.rows(pages.section(PAGE, "Submit")))
    assert {pages.codes(row[0])[0] for row in table} == set(WorkloadSpec.model_fields)
    inner: dict[str, type[BaseModel]] = {
        "requirements": Requirements,
        "limits": LimitsSpec,
        "restart": RestartPolicy,
        "health": HealthSpec,
    }
    for row in table:
        if (model := inner.get(pages.codes(row[0])[0])) is not None:
            missing = set(model.model_fields) - set(pages.codes(row[2]))
            assert not missing, f"{row[0]}: {missing}"


def test_every_field_of_a_workload_is_documented() -> None:
    shown = {
        name
        for row in pages.rows(pages.section(PAGE, "The workload object"))
        for name in pages.codes(row[0])
    }
    assert set(schemas.WorkloadBody.model_fields) <= shown


@pytest.mark.parametrize(
    "model",
    [ProcessConfig, ContainerConfig, MlModelConfig, OpenCvConfig, DataConfig, DataGatewayConfig],
)
def test_every_config_field_is_documented(model: type[BaseModel]) -> None:
    text = pages.section(PAGE, "Kinds and their config")
    fields = {name for row in pages.rows(text) for name in pages.codes(row[0])}
    assert set(model.model_fields) <= fields


def test_every_field_of_a_model_is_documented() -> None:
    rows = pages.rows(pages.section("docs/models.md", "Deploy"))
    assert {name for row in rows for name in pages.codes(row[0])} == set(DeployBody.model_fields)


def documented_errors(page: str, title: str) -> dict[str, int | None]:
    """Code → HTTP status, None where the table names no single one."""
    table = pages.rows(pages.section(page, title))
    return {
        pages.codes(code)[0]: int(status) if status.isdigit() else None for code, status, _ in table
    }


def test_every_class_of_the_error_tree_is_documented_with_its_status() -> None:
    table = documented_errors(PAGE, "Error codes")
    classes = sources.error_classes()
    assert len(classes) > 10
    for kind in classes:
        status = next(status for base, status in STATUS if issubclass(kind, base))
        assert table.get(kind.code) == status, kind.__name__
    assert set(table) == {kind.code for kind in classes} | NOT_IN_A_REPLY


def test_the_words_for_what_the_framework_refuses_are_those_of_the_source() -> None:
    source = (sources.SOURCE / "api" / "errors.py").read_text(encoding="utf-8")
    assert all(f'"{code}"' in source for code in NOT_IN_A_REPLY)


def test_every_error_of_the_services_is_documented() -> None:
    table = documented_errors(SERVICES_PAGE, "Errors")
    named = set(table) | set(pages.codes(pages.section(SERVICES_PAGE, "Exit codes")))
    assert sources.error_codes("inference") <= named
    for kind in sources.error_classes():
        if kind.code in table:
            assert table[kind.code] == replies.failure(kind("")).status, kind.__name__


def test_every_code_in_the_source_is_documented_somewhere() -> None:
    folders = [
        folder.name
        for folder in sources.SOURCE.iterdir()
        if folder.is_dir() and any(folder.glob("*.py"))
    ]
    found = sources.error_codes(*folders)
    assert {"overloaded", "ambiguous_target", "start_failed"} <= found
    shown = {word for page in pages.PAGES for word in pages.inline_code(page)}
    assert found - shown == set()


def test_every_status_reason_is_documented_and_no_other() -> None:
    found = sources.status_reasons()
    assert {"no_capacity", "crash_loop", "out_of_memory", "unhealthy", "exec_failed"} <= found
    table = {
        pages.codes(word)[0]: todo
        for word, _, todo in pages.rows(pages.section(PAGE, "Status reasons"))
    }
    assert set(table) == found
    assert all(table.values()), "a reason without a word on what to do"
