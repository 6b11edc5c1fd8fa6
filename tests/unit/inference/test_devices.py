"""Where ONNX Runtime is to run a model."""

from __future__ import annotations

import onnxruntime as ort
import pytest

from cnet.errors import ConfigError
from cnet.inference.onnx.devices import CPU_PROVIDER, CUDA_PROVIDER, choose, providers

BOTH, ONLY_CPU = [CUDA_PROVIDER, CPU_PROVIDER], [CPU_PROVIDER]


@pytest.mark.parametrize(
    ("device", "available", "visible", "chosen"),
    [
        ("cpu", BOTH, "0", "cpu"),
        ("auto", BOTH, "0", "cuda:0"),
        ("auto", BOTH, None, "cuda:0"),
        ("auto", BOTH, "", "cpu"),
        ("auto", ONLY_CPU, "0", "cpu"),
        ("cuda:1", BOTH, "0,1", "cuda:1"),
    ],
)
def test_the_device(device: str, available: list[str], visible: str | None, chosen: str) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert choose(device, available, environ) == chosen


def test_a_gpu_is_not_silently_replaced() -> None:
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        choose("cuda:0", ONLY_CPU, {})


def test_what_sessions_are_made_with() -> None:
    assert providers("cpu") == ort.get_available_providers()[-1:] == ONLY_CPU
    assert providers("cuda:2") == [(CUDA_PROVIDER, {"device_id": 2}), CPU_PROVIDER]
