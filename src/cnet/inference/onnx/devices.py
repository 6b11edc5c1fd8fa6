"""Where ONNX Runtime is to run a model: on CPUs, or on a GPU by CUDA."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cnet.errors import ConfigError

CPU = "cpu"
CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"


def choose(device: str, available: Sequence[str], environ: Mapping[str, str]) -> str:
    """`cpu` or `cuda:N` for `auto`, `cpu` or `cuda:N`.

    `auto` is a GPU where ONNX Runtime can use one and `CUDA_VISIBLE_DEVICES` does not hide them.
    Raises ConfigError for a GPU that this ONNX Runtime cannot use.
    """
    if device == CPU:
        return CPU
    has_cuda = CUDA_PROVIDER in available
    if device == "auto":
        return "cuda:0" if has_cuda and environ.get("CUDA_VISIBLE_DEVICES", "all") else CPU
    if not has_cuda:
        raise no_cuda(
            device,
            f"this ONNX Runtime has none; install one that has with: {sys.executable} -m pip "
            "install --force-reinstall onnxruntime-gpu",
        )
    return device


def providers(device: str) -> list[Any]:
    """What a session is made with. On a GPU what CUDA lacks is done by the CPU."""
    if device == CPU:
        return [CPU_PROVIDER]
    options = {"device_id": int(device.partition(":")[2])}
    return [(CUDA_PROVIDER, options), CPU_PROVIDER]


def no_cuda(device: str, why: str) -> ConfigError:
    """A GPU was asked for: it is not silently replaced."""
    return ConfigError(f"{device} was asked for, but there is no CUDA to run on: {why}")
