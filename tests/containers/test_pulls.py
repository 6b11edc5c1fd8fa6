"""Images come from a registry when they are asked for, and their way is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.registry import Registry, credentials
from tests.containers.working import agent_with, ended, output
from tests.support.engine import Engine


@pytest.fixture(params=[False, True], ids=["public", "private"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    with Registry(private=request.param).running() as registry:
        yield registry


@pytest.fixture
def public(engine: Engine) -> Iterator[Registry]:
    with Registry(private=False).running() as registry:
        yield registry
        forget(engine, registry)


def forget(engine: Engine, registry: Registry) -> None:
    found = engine.ask("GET", "/images/json", params={"filters": '{"dangling": ["false"]}'})
    if any(registry.image in (each["RepoTags"] or ()) for each in found):
        engine.ask("DELETE", f"/images/{registry.image}", params={"force": "1"})


def container(registry: Registry, **config: Any) -> dict[str, Any]:
    return {"name": "p", "type": "container", "config": {"image": registry.image, **config}}


def test_what_is_missing_is_pulled_once(tmp_path: Path, engine: Engine, registry: Registry) -> None:
    file = tmp_path / "auth.json"
    file.write_text(credentials(registry))
    with agent_with(tmp_path, engine, docker={"registry_auth_file": str(file)}) as agent:
        try:
            for _ in range(2):
                done = ended(agent.client, agent.client.submit(container(registry)))
                assert done["status"] == "completed", done
                assert output(agent.client, done) == ["pulled"], "the image's own command"
            assert registry.pulls > 0
            once = registry.pulls
            done = ended(agent.client, agent.client.submit(container(registry, pull="always")))
            assert done["status"] == "completed" and registry.pulls > once
        finally:
            forget(engine, registry)


def test_the_wrong_credentials_are_told_and_not_shown(tmp_path: Path, engine: Engine) -> None:
    file = tmp_path / "auth.json"
    with Registry(private=True).running() as registry:
        file.write_text(credentials(registry, "wrong-password"))
        with agent_with(tmp_path, engine, docker={"registry_auth_file": str(file)}) as agent:
            done = agent.client.submit(container(registry))
            assert (done["status"], done["status_reason"]) == ("failed", "image_pull_failed")
            assert "wrong-password" not in str(done) + agent.log()


def test_a_pull_is_seen_and_can_be_stopped(
    tmp_path: Path, engine: Engine, public: Registry
) -> None:
    public.hold.clear()
    with agent_with(tmp_path, engine) as agent:
        made = agent.client.submit(container(public), wait=False)
        seen = agent.client.wait_for(
            made["id"], until=lambda it: it["status_reason"] == "fetching", timeout=60
        )
        assert seen["status"] == "pending"
        assert public.image in seen["status_detail"] and "MiB" in seen["status_detail"]
        stopped = agent.client.stop(made["id"])["workload"]
        assert stopped["status"] == "stopped"
    assert engine.names() == set()
