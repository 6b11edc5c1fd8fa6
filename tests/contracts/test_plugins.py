"""Plug-ins are found through the metadata of installed packages, and a clash is told at start."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

import pytest

from cnet.errors import ConfigError, ConflictError
from cnet.executors.catalog import GROUP, ExecutorContext, load_executors
from cnet.executors.commands import LogLimits
from cnet.supervision import Supervisor
from tests.contracts import sample_plugin
from tests.support.agents import AgentProcess, alive, start_agent


@pytest.fixture
def context(tmp_path: Path) -> ExecutorContext:
    """What an agent offers; nothing is started with it."""
    return ExecutorContext(
        supervisor=Supervisor(tmp_path), logs=LogLimits(max_bytes=1 << 20, files=2)
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the plug-in installed as pip would have done it."""
    site = tmp_path / "site"
    info = site / "cnet_shell-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(sample_plugin.__file__, site / "cnet_shell.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cnet-shell\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nshell = cnet_shell:make\n")
    return site


def _plugin(value: str) -> EntryPoint:
    return EntryPoint(name="shell", value=value, group=GROUP)


def test_the_built_in_kinds(context: ExecutorContext) -> None:
    assert set(load_executors(context, [])) == {"process", "ml", "mlmodel", "opencv", "reservation"}


def test_a_plugin_adds_its_kind(context: ExecutorContext) -> None:
    executors = load_executors(context, [_plugin("tests.contracts.sample_plugin:make")])
    assert set(executors) == {"process", "ml", "mlmodel", "opencv", "reservation", "shell"}
    assert executors["shell"].config_model is sample_plugin.ShellConfig


def test_two_of_one_kind_are_an_error(context: ExecutorContext) -> None:
    plugin = _plugin("tests.contracts.sample_plugin:make")
    with pytest.raises(ConfigError, match=r"sample_plugin:make.*kind 'shell' already"):
        load_executors(context, [plugin, plugin])


@pytest.mark.parametrize(
    "value",
    ["no_such_module_:make", "tests.contracts.sample_plugin:missing", "os:getcwd", "os:sep"],
)
def test_one_that_does_not_load_is_named(context: ExecutorContext, value: str) -> None:
    with pytest.raises(ConfigError, match=value):
        load_executors(context, [_plugin(value)])


def test_installed_metadata_is_found(
    context: ExecutorContext, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    assert "cnet-shell" in _names(distributions())
    assert "shell" in load_executors(context)


def _names(found: Iterator[Distribution] | object) -> set[str]:
    assert isinstance(found, Iterator)
    return {distribution.metadata["Name"] for distribution in found}


@pytest.fixture
def agent(tmp_path: Path, site: Path) -> Iterator[AgentProcess]:
    """An agent in whose environment the plug-in is installed."""
    agent = start_agent(tmp_path, resources={"cpu": 2}, environ={"PYTHONPATH": str(site)})
    yield agent
    agent.environ["PYTHONPATH"] = str(site)
    agent.restart()
    agent.stop()


def test_its_workloads_run_and_outlive_its_removal(agent: AgentProcess) -> None:
    """Without the plug-in they can be seen and are counted; with it again they can be stopped."""
    spec = {
        "name": "sh",
        "type": "shell",
        "config": {"script": "echo hi; sleep 60"},
        "requirements": {"cpu": 1},
    }
    body = agent.client.submit(spec)
    assert (body["status"], body["script"]) == ("running", "echo hi; sleep 60")
    agent.environ["PYTHONPATH"] = ""
    agent.restart()
    seen = agent.client.get(body["id"])
    assert (seen["status"], seen["config"]) == ("running", spec["config"])
    assert agent.client.resources()["used"]["cpu"] == 1
    with pytest.raises(ConflictError, match="install the plug-in"):
        agent.client.stop(body["id"])
    assert alive(body["process_pid"])
    agent.environ["PYTHONPATH"] = str(agent.folder / "site")
    agent.restart()
    assert agent.client.stop(body["id"])["workload"]["status"] == "stopped"
    assert agent.client.logs(body["id"])["logs"] == ["hi"]
