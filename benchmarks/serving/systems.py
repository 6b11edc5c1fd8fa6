"""The systems: how each is started over the same fitted pipeline, and how it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from cnet._support.ports import free_ports

HERE = Path(__file__).parent
START_S = 90.0
ROW, CLASS = [6.3, 3.3, 6.0, 2.5], 2
"""An Iris virginica, and what the pipeline must say of it."""


class BrokenError(Exception):
    """A system does not start, or gives wrong answers."""


@dataclass(frozen=True, slots=True)
class System:
    """One way to serve the model."""

    name: str
    path: str
    body: Mapping[str, object]

    def command(self, envs: Path, folder: Path, port: int) -> tuple[Sequence[str], dict[str, str]]:
        """What to run, and its variables; may write files into `folder`."""
        python = str(envs / self.name / "bin" / "python")
        model = {"MODEL": str(folder / "model.joblib")}
        programs = HERE / "programs"
        if self.name == "cnet":
            options = [f"--model={folder / 'model.skops'}", f"--port={port}"]
            options.append(f"--cache-dir={folder / 'cache'}")  # as the agent starts it
            return (sys.executable, "-m", "cnet.inference", "sklearn", *options), {}
        if self.name == "mlserver":
            _mlserver_settings(folder / "mlserver", port, folder / "model.joblib")
            return (str(envs / "mlserver/bin/mlserver"), "start", str(folder / "mlserver")), {}
        if self.name == "bentoml":
            program = str(envs / "bentoml/bin/bentoml")
            options = ["--host=127.0.0.1", f"--port={port}", "--working-dir", str(programs)]
            home = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
            return (program, "serve", "bentoml_service:Iris", *options), model | home
        program = {"litserve": "litserve_server.py", "ray": "ray_app.py"}[self.name]
        quiet = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_raylet_start_wait_time_s": "120",
        }
        return (python, str(programs / program), str(port)), model | quiet

    def is_right(self, answer: bytes) -> bool:
        """Whether it says what the pipeline says, in whatever form."""
        told = json.loads(answer)
        if self.name == "mlserver":
            return bool(told["outputs"][0]["data"] == [CLASS])
        if self.name == "bentoml":
            return bool(told == [CLASS])
        return bool(told.get("outputs", told)["predict"] == [CLASS])


OPEN_INFERENCE = {
    "inputs": [{"name": "predict", "shape": [1, 4], "datatype": "FP64", "data": [ROW]}]
}
CNET = System("cnet", "/predict", {"inputs": [ROW]})
PEERS = (
    System("mlserver", "/v2/models/iris/infer", OPEN_INFERENCE),
    System("bentoml", "/predict", {"rows": [ROW]}),
    System("litserve", "/predict", {"rows": [ROW]}),
    System("ray", "/", {"rows": [ROW]}),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A system that has answered."""

    system: System
    url: str
    process: subprocess.Popen[bytes]
    cold_start_s: float

    def cpu_s(self) -> float:
        """CPU time that all its processes have used."""
        total = 0.0
        for process in _family(self.process.pid):
            with suppress(psutil.Error):
                used = process.cpu_times()
                total += used.user + used.system
        return total

    def pss_mib(self) -> float:
        """Proportional memory of all its processes."""
        total = 0
        for process in _family(self.process.pid):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 2**20


@contextmanager
def started(system: System, envs: Path, folder: Path) -> Iterator[Running]:
    """From the start of its process to the first right answer; nothing is left of it afterwards."""
    (port,) = free_ports(1)
    command, variables = system.command(envs, folder, port)
    log = folder / f"{system.name}.log"
    began = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**_clean_environment(), **variables},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(system, url, process, log)
        yield Running(system, url, process, time.perf_counter() - began)
    finally:
        _end(process)


def _clean_environment() -> dict[str, str]:
    """Of a shell that knows of none of the environments."""
    dropped = {"PYTHONPATH", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def _wait(system: System, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    body = json.dumps(system.body).encode()
    request = Request(url + system.path, body, {"Content-Type": "application/json"})
    while True:
        try:
            with urlopen(request, timeout=10) as answer:
                content = answer.read()
            break
        except (URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise BrokenError(f"{system.name} does not answer ({error}):\n{tail}") from error
            time.sleep(0.01)
    if not system.is_right(content):
        raise BrokenError(f"{system.name} answers {content!r}")


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _end(process: subprocess.Popen[bytes]) -> None:
    family = _family(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for left in family:
        with suppress(psutil.Error):
            left.kill()
    process.wait()


def _mlserver_settings(folder: Path, port: int, model: Path) -> None:
    """As quick as its own documentation makes it: no worker processes, no metrics."""
    folder.mkdir(exist_ok=True)
    grpc, metrics = free_ports(2)
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    about = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(model)},
    }
    (folder / "model-settings.json").write_text(json.dumps(about))
