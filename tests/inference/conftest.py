"""Services that the tests of one module share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference import models, networks
from tests.inference.networks import Trained
from tests.inference.services import Service, running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's models and logs lie."""
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="module")
def yolo(folder: Path) -> Iterator[Service]:
    """A detector of three known things, whatever it is shown."""
    path = models.save_constant(
        folder / "known.onnx", models.columns(), metadata=models.names_note()
    )
    arguments = ("yolo", "--model", str(path), "--threads", "2", "--max-body-bytes", "2000000")
    limits = ("--max-pixels", "1000000")
    with running(folder, *arguments, *limits, environment={"CNET_RUN_ID": "run-7"}) as service:
        yield service


@pytest.fixture(scope="module")
def faces(folder: Path) -> Iterator[Service]:
    """Face detection."""
    with running(folder, "opencv", "--cascade-type", "face") as service:
        yield service


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    """A classifier of four numbers, and what it says in this process."""
    return networks.train(folder / "kinds.onnx")


@pytest.fixture(scope="module")
def service(folder: Path, trained: Trained) -> Iterator[Service]:
    """It, served as `kinds`."""
    arguments = ("onnx", "--model", str(trained.path), "--threads", "2", "--model-name", "kinds")
    with running(folder, *arguments) as found:
        yield found
