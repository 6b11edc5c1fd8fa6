"""GPU devices as NVIDIA's driver tells of them (NVML). Blocking; a machine without one has none.

Devices are numbered as on the PCI bus, here and in what workloads are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device now; None where the driver does not tell."""

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_total: int | None = None
    """bytes"""
    memory_used: int | None = None
    """bytes, by whatever runs on it"""
    utilization: int | None = None
    """per cent of the last moment in which anything ran on it"""


def count() -> int:
    """How many there are."""
    with _driver() as nvml:
        return 0 if nvml is None else int(nvml.nvmlDeviceGetCount())


def read() -> dict[int, Gpu]:
    """All of them, by index."""
    with _driver() as nvml:
        if nvml is None:
            return {}
        return {index: _read(nvml, index) for index in range(nvml.nvmlDeviceGetCount())}


@contextmanager
def _driver() -> Iterator[Any]:
    """NVML while the block lasts; None without a driver."""
    import pynvml  # 2 MB, which only nodes with GPUs need to hold

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("no_gpus", why=str(error))
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: Any, index: int) -> Gpu:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        found = Gpu(
            index=index,
            name=_text(nvml.nvmlDeviceGetName(handle)),
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            memory_total=int(memory.total),
            memory_used=int(memory.used),
            utilization=_utilization(nvml, handle),
        )
    except nvml.NVMLError as error:  # it has fallen off the bus, or may not be asked
        log.warning("gpu_unreadable", index=index, why=str(error))
        return Gpu(index=index)
    return found


def _utilization(nvml: Any, handle: Any) -> int | None:
    """Not told of devices that are divided (MIG)."""
    try:
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except nvml.NVMLError:
        return None


def _text(value: Any) -> str:
    """Older drivers' bindings answer in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
