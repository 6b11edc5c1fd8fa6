"""Which data a config names, wherever it does."""

from __future__ import annotations

import pytest

from cnet.model.data import data_keys


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({}, set()),
        ({"model_path": "data://m/a/b.onnx"}, {"m"}),
        (
            {"inputs": {"data://a": "x", "data://b/": "y"}, "env": {"A": "data://c/d"}},
            {"a", "b", "c"},
        ),
        ({"args": ["x", ["data://deep"]], "n": 1, "none": None}, {"deep"}),
        ({"command": "cat data://inside", "other": "data://"}, set()),
        ({"not": "DATA://case"}, set()),
    ],
)
def test_keys(config: object, keys: set[str]) -> None:
    assert data_keys(config) == keys


def test_a_config_without_end() -> None:
    config: dict[str, object] = {"model_path": "data://near"}
    config["self"] = config
    assert data_keys(config) == {"near"}
