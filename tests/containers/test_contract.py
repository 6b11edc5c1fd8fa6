"""The container executor keeps the promises of every executor, on a real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnet.executors.base import Executor
from cnet.executors.catalog import ExecutorContext
from cnet.executors.container.executor import ContainerExecutor, ContainerSettings
from cnet.testing import ExecutorContract
from tests.support.engine import IMAGE, Engine


class TestContainer(ExecutorContract):
    """`container`."""

    _engine: Engine

    @pytest.fixture(autouse=True)
    def _with_engine(self, engine: Engine) -> None:
        self._engine = engine

    def make_executor(self, context: ExecutorContext) -> Executor:
        root = context.supervisor.workload_dir("any").parent.parent / "containers"
        settings = ContainerSettings(root=root, instance="contract", host=self._engine.host)
        return ContainerExecutor(settings, context.logs)

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"image": IMAGE, "command": ["sleep", "60"], "ports": [80]}

    def quick_config(self, folder: Path, exit_code: int) -> dict[str, Any]:
        return {"image": IMAGE, "command": ["sh", "-c", f"exit {exit_code}"]}

    def unstartable_config(self, folder: Path) -> dict[str, Any]:
        return {"image": IMAGE, "command": ["no-such-program"]}
