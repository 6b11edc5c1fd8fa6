"""A runtime that another package brings, through the real program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.inference.services import run_to_end, running

PLUGIN = '''
"""Counts bytes; the smallest runtime there can be."""


class Runtime:
    def __init__(self, unit, settings):
        self.unit, self.settings = unit, settings

    def health(self):
        return {"unit": self.unit}

    def info(self):
        return {"threads": self.settings.threads, "loaded": True}

    def predict(self, request, *, threads):
        return {"length": len(request.body), "unit": self.unit}

    def unload(self):
        pass


class Kind:
    summary = "counts bytes"

    def add_arguments(self, parser):
        parser.add_argument("--unit", default="bytes")

    def load(self, arguments, settings):
        return Runtime(arguments.unit, settings)
'''


def install(folder: Path, name: str, number: int = 1) -> None:
    """A package in `folder` whose metadata names the runtime, as pip would leave it."""
    (folder / "counting.py").write_text(PLUGIN)
    about = folder / f"counting{number}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: counting{number}\nVersion: 1.0\n"
    )
    (about / "entry_points.txt").write_text(f"[cnet.model_runtimes]\n{name} = counting:Kind\n")


def test_a_plugged_in_runtime_is_served_like_a_built_in_one(tmp_path: Path) -> None:
    install(tmp_path, "count")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    arguments = ("count", "--unit", "octets", "--threads", "3")
    with running(tmp_path, *arguments, environment={"PYTHONPATH": path}) as service:
        client = service.client
        assert client.get("/health").json() == {"status": "healthy", "unit": "octets"}
        assert client.get("/info").json() == {"threads": 3, "loaded": True, "name": "count"}
        answer = client.post("/predict", content=b"12345")
        assert (answer.status_code, answer.json()) == (200, {"length": 5, "unit": "octets"})
        assert service.stop() == 0


def test_a_plugin_with_the_name_of_a_built_in_runtime_ends_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "yolo")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = run_to_end("opencv", "--cascade-type", "face")
    assert done.returncode == 2
    assert "two model runtimes are called 'yolo'" in done.stderr
