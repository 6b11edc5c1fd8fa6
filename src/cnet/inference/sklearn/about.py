"""What is told of an estimator without having it: kept beside its conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cnet.inference.runtime import Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class About:
    """Words for `/info`, and the tensors. `library` is the version of scikit-learn."""

    name: str
    library: str
    signature: Signature
    labels: list[str]
    feature_names: list[str]

    def as_json(self) -> dict[str, Any]:
        """To be kept."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> About:
        """What `as_json` gave; TypeError or KeyError where it is something else."""
        tensors = told["signature"]
        signature = Signature(
            platform=tensors["platform"],
            inputs=tuple(map(_spec, tensors["inputs"])),
            outputs=tuple(map(_spec, tensors["outputs"])),
            default_outputs=tuple(tensors["default_outputs"]),
        )
        return cls(**{**told, "signature": signature})


def _spec(told: Mapping[str, Any]) -> TensorSpec:
    shape = told["shape"]
    return TensorSpec(
        name=told["name"],
        datatype=told["datatype"],
        shape=None if shape is None else tuple(shape),
        also=tuple(told["also"]),
    )
