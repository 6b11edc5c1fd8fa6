"""The folders of runs, while others come and go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cnet.executors.container.records import RunRecords, noted_execs


def test_commands_are_found_while_workloads_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stays", "goes"):
        records = RunRecords(tmp_path, name, 1)
        records.create()
        records.note_exec("e")
    look = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "goes":
            raise FileNotFoundError(path)
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert noted_execs(tmp_path) == [tmp_path / "stays" / "1" / "execs" / "e"]
