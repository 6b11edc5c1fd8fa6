"""An image of CNET made by its Dockerfile without a registry: base and wheels are made here.

The base is of Debian's packages, the wheels are those of the lock. CNET_TEST_IMAGE_BASE (a tar of a
root file system) and CNET_TEST_WHEELS (a folder) stand in for them where no mirror can be reached.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.engine import Engine, missing
from tests.support.parallel import reaching_out

ROOT = Path(__file__).parents[2]
IMAGE = "cnet:latest"
BASE = "cnet-test/debian:bookworm"
DEBIAN_PYTHON = (3, 11)
UNREACHABLE = ("Could not resolve", "Temporary failure", "Unable to connect", "Cannot initiate")
CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml")


def why_not() -> str | None:
    """Why no image can be made here; None when one can."""
    if (reason := missing()) is not None:
        return reason
    for program in ("docker", "mmdebstrap"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if sys.version_info[:2] != DEBIAN_PYTHON:
        return "the wheels of this Python are not those of the base's"
    return None


@dataclass(frozen=True)
class Docker:
    """The command `docker`, and its kin, with one engine."""

    engine: Engine

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "DOCKER_HOST": self.engine.host, "DOCKER_BUILDKIT": "0"}

    def run(self, *words: str, program: str = "docker", cwd: Path | None = None) -> str:
        """What it prints. Raises AssertionError with that when it fails."""
        done = self.ask(*words, program=program, cwd=cwd)
        assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stdout}"
        return done.stdout

    def ask(
        self, *words: str, program: str = "docker", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same without a judgement."""
        return subprocess.run(
            [program, *words],
            env=self.environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def build(docker: Docker, folder: Path) -> None:
    """`IMAGE`, from a base that is `BASE`. Skips where Debian cannot be reached."""
    docker.run("import", str(_base(folder)), BASE)
    context = folder / "context"
    _copy_context(context)
    _add_wheels(context / "packaging" / "wheels")
    docker.run(
        *("build", "--tag", IMAGE, "--network", "none"),
        *("--build-arg", f"BASE={BASE}"),
        *("--build-arg", "PIP_OPTIONS=--no-index --find-links packaging/wheels"),
        str(context),
    )


def _base(folder: Path) -> Path:
    if given := os.environ.get("CNET_TEST_IMAGE_BASE"):
        return Path(given)
    tar = folder / "base.tar"
    argv = [*reaching_out(), "mmdebstrap", "--mode=root", "--variant=essential"]
    argv += ["--include=python3,python3-venv,passwd", "bookworm", str(tar)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    if made.returncode and any(word in made.stderr for word in UNREACHABLE):
        pytest.skip("Debian's packages cannot be reached from here")
    assert made.returncode == 0, made.stderr[-3000:]
    return tar


def _copy_context(context: Path) -> None:
    context.mkdir()
    for name in CONTEXT:
        shutil.copy(ROOT / name, context / name)
    shutil.copytree(ROOT / "src", context / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (context / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "runtime.lock", context / "requirements")


def _add_wheels(wheels: Path) -> None:
    if given := os.environ.get("CNET_TEST_WHEELS"):
        shutil.copytree(given, wheels)
        return
    wheels.mkdir(parents=True)
    argv = [
        *reaching_out(),
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary",
        ":all:",
    ]
    argv += ["--no-deps", "--require-hashes", "-r", str(ROOT / "requirements" / "runtime.lock")]
    done = subprocess.run(
        [*argv, "--dest", str(wheels)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
