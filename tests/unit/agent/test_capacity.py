"""Capacity: what is configured counts, what is absent is measured; no GPU driver is no error."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pynvml
import pytest

from cnet.agent.capacity import detect
from cnet.config import ResourceSettings
from cnet.model.resources import GIB, Resources
from cnet.supervision import gpus


class FakeNvml:
    """The three NVML calls that are used, with a number of devices."""

    def __init__(self, devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = 0
        self._devices = devices
        monkeypatch.setattr(pynvml, "nvmlInit", self._init)
        monkeypatch.setattr(pynvml, "nvmlShutdown", self._shutdown)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: self._devices)

    def _init(self) -> None:
        self.open += 1

    def _shutdown(self) -> None:
        self.open -= 1


def test_configured_capacity_is_taken_exactly(tmp_path: Path) -> None:
    settings = ResourceSettings(cpu=0.5, gpu=0, memory=512, storage=7)
    assert detect(settings, tmp_path) == Resources(cpu=500, gpu=0, memory=512, storage=7)


def test_absent_keys_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(3, monkeypatch)
    found = detect(ResourceSettings(memory=GIB), tmp_path)
    assert found.cpu == len(os.sched_getaffinity(0)) * 1000
    assert found.gpu == 3
    assert found.memory == GIB
    assert 0 < found.storage <= psutil.disk_usage(str(tmp_path)).total
    assert nvml.open == 0, "NVML was not shut down"


def test_no_driver_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert gpus.count() == 0


def test_a_configured_zero_hides_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(3, monkeypatch)
    assert detect(ResourceSettings(gpu=0), tmp_path).gpu == 0
