"""What the workloads themselves wrote down of their runs, past the agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tools.chaos.model import InvariantError
from tools.chaos.system import Process

WITNESS = "witness"


@dataclass
class Witness:
    """A file with a line for each run: its id, then who it was."""

    path: Path
    runs: dict[str, list[str]] = field(default_factory=dict)

    def read(self) -> None:
        """Read it anew. Raises InvariantError `doubled`."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.runs = {}
        for line in lines:
            words = line.split(" ")
            workload_id = words[1 if words[0] == "doubled" else 0].rpartition(".")[0]
            if words[0] == "doubled":
                raise InvariantError(
                    "doubled", f"run {words[1]} met an earlier run alive", workload_id
                )
            if words[0] in self.runs:
                raise InvariantError("doubled", f"run {words[0]} was started twice", workload_id)
            self.runs[words[0]] = words[1:]

    def of(self, workload_id: str) -> list[str]:
        """Ids of the runs of a workload, in their order."""
        return [run_id for run_id in self.runs if run_id.rpartition(".")[0] == workload_id]

    def process(self, run_id: str) -> Process | None:
        """Which began a run, where those are processes."""
        words = self.runs.get(run_id)
        return None if words is None else Process(int(words[0]), int(words[1]))
