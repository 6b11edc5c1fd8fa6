"""Many real agents on loopback, linked as a tree, to be measured."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 120.0
LOOK_AGAIN_S = 0.005
AT_ONCE = 4  # agents that start at the same time


class Asking:
    """One kept-alive connection to an agent."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of the answer. Raises RuntimeError when it is no success."""
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass
class Node:
    """One agent."""

    name: str
    folder: Path
    parent: Node | None
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    children: list[Node] = field(default_factory=list)

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.process.pid

    def launch(self) -> None:
        """Start it, on the port it had before if there was one."""
        (self.folder / "url").unlink(missing_ok=True)
        settings: dict[str, object] = {
            "agent.node_id": self.name,
            "agent.port": self.port,
            "agent.data_dir": str(self.folder / "data"),
            "resources.cpu": 4,
            "resources.gpu": 0,
            "resources.memory": 8 * 1024**3,
            "resources.storage": 8 * 1024**3,
            "logging.level": "error",
        }
        if self.parent is not None:
            settings["parent.enabled"] = True
            settings["parent.address"] = f"127.0.0.1:{self.parent.port}"
        words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        environment = {key: text for key, text in os.environ.items() if "CNET" not in key}
        argv = [sys.executable, "-m", "cnet.agent", f"--url-file={self.folder / 'url'}", *words]
        self.process = subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
        )

    def await_health(self) -> None:
        """Until it has told where it listens."""
        url = self.folder / "url"

        def answers() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start")
            return url.exists() and bool(url.read_text().strip())

        wait_until(answers)
        self.port = int(url.read_text().strip().rpartition(":")[2])

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Tree:
    """Agents by level, the root first."""

    levels: list[list[Node]]

    @property
    def nodes(self) -> list[Node]:
        return [node for level in self.levels for node in level]

    @property
    def root(self) -> Node:
        return self.levels[0][0]


@contextmanager
def running_tree(widths: Sequence[int]) -> Iterator[Tree]:
    """Start a tree with that many agents on its levels; returns when the root sees them all."""
    with tempfile.TemporaryDirectory(prefix="cnet-bench-tree-") as folder:
        levels: list[list[Node]] = []
        try:
            for depth, width in enumerate(widths):
                above = levels[-1] if levels else []
                levels.append([])
                for number in range(width):
                    name = f"n{depth}-{number}"
                    (Path(folder) / name).mkdir()
                    parent = above[number % len(above)] if above else None
                    node = Node(name, Path(folder) / name, parent)
                    levels[-1].append(node)
                    if parent is not None:
                        parent.children.append(node)
                for start in range(0, width, AT_ONCE):
                    batch = levels[-1][start : start + AT_ONCE]
                    for node in batch:
                        node.launch()
                    for node in batch:
                        node.await_health()
            tree = Tree(levels)
            ask = Asking(tree.root.port)
            wait_until(lambda: _all_active(ask, len(tree.nodes)))
            ask.close()
            yield tree
        finally:
            for level in levels:
                for node in level:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(node.pid, signal.SIGCONT)
                    if node.process is not None:
                        node.process.terminate()
            for level in levels:
                for node in level:
                    if node.process is not None:
                        node.process.wait()


def _all_active(ask: Asking, count: int) -> bool:
    nodes = ask("GET", "/api/nodes")["nodes"]
    return len(nodes) == count and all(node["status"] == "active" for node in nodes)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Look every few milliseconds. Raises RuntimeError when it is late."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {timeout_s:g} s")
        time.sleep(LOOK_AGAIN_S)
