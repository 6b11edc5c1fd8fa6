# ruff: noqa: N802  the names are those of the real one
"""A driver for tests, on the import path in the place of NVIDIA's bindings: two devices, and one
of them does not tell how busy it is."""

from __future__ import annotations

from types import SimpleNamespace

GIB = 1024**3


class NVMLError(Exception):
    """As the real one."""


def nvmlInit() -> None:
    """The driver is there."""


def nvmlShutdown() -> None:
    """Nothing was taken."""


def nvmlDeviceGetCount() -> int:
    return 2


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetName(handle: int) -> bytes | str:
    return b"Tester 9000" if handle else "Tester 9000"


def nvmlDeviceGetUUID(handle: int) -> str:
    return f"GPU-{handle}"


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:
    return SimpleNamespace(total=8 * GIB, used=(handle + 1) * GIB)


def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:
    if handle:
        raise NVMLError("not supported")
    return SimpleNamespace(gpu=37)
