"""An estimator as an ONNX model: served without scikit-learn, where the two surely agree.

What was not compared is left to scikit-learn: numbers that are not finite or larger than any that
was tried, rows that are all but undecided between two classes, requests without rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnet.inference.onnx.sessions import ModelSessions
from cnet.inference.tensors.datatypes import DTYPES, Array

TOLERANCE = 1e-6
"""Of numbers, relative to those above 1."""
MARGIN = 1e-5
"""Rows whose two best classes lie closer together than this are answered by scikit-learn."""
INPUT = "input"


@dataclass(frozen=True, slots=True)
class Output:
    """An output of the estimator: that of the ONNX model called `source`, as `datatype`.

    `columns` is its second size; None where it has none.
    """

    source: str
    datatype: str
    columns: int | None


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is known of an ONNX model that was compared with its estimator.

    `datatype` is what it takes, `bound` the largest number that was tried. `decisions` is its
    output whose highest (or `lowest`) number decides the class of a row; None where there are no
    classes. `rows` tells how many were compared.
    """

    datatype: Literal["FP64", "FP32"]
    bound: float
    outputs: Mapping[str, Output]
    decisions: str | None
    lowest: bool
    rows: int

    def as_json(self) -> dict[str, Any]:
        """To be kept."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Conversion:
        """What `as_json` gave; TypeError or KeyError where it is something else."""
        outputs = {name: Output(**each) for name, each in told["outputs"].items()}
        return cls(**{**told, "outputs": outputs})


class ConvertedModel:
    """The ONNX model in `content`, from `path`."""

    def __init__(self, content: bytes, conversion: Conversion, *, path: Path, threads: int) -> None:
        self.conversion = conversion
        self._sessions = ModelSessions(path, threads=threads, content=content)

    def infer(
        self, given: Array, outputs: Sequence[str], *, threads: int
    ) -> Mapping[str, Array] | None:
        """The outputs for `given` [rows, columns]; None where scikit-learn must be asked."""
        known = self.conversion.outputs
        if given.dtype.kind not in "biuf" or not given.size or not known.keys() >= set(outputs):
            return None
        # NaN is not at most anything either.
        if not float(np.abs(given.astype(np.float64)).max()) <= self.conversion.bound:
            return None
        answers = self.run(given, threads=threads)
        if not self.decided(answers).all():
            return None
        return {name: as_declared(answers[known[name].source], known[name]) for name in outputs}

    def run(self, given: Array, *, threads: int = 1) -> dict[str, Array]:
        """All outputs of the ONNX model."""
        feeds = {INPUT: np.ascontiguousarray(given, DTYPES[self.conversion.datatype])}
        names = [slot.name for slot in self._sessions.outputs]
        answers = self._sessions.run(feeds, threads=threads)
        return dict(zip(names, map(np.asarray, answers), strict=True))

    def decided(self, answers: Mapping[str, Array]) -> Array:
        """Of which rows the class is certain: bool [rows]."""
        if self.conversion.decisions is None:
            return np.ones(1, bool)
        scores = answers[self.conversion.decisions].astype(np.float64)
        if scores.ndim == 1 or scores.shape[1] == 1:
            margins = np.abs(scores.reshape(-1))
            scale = margins
        else:
            ordered = np.sort(scores if not self.conversion.lowest else -scores, axis=1)
            margins = ordered[:, -1] - ordered[:, -2]
            scale = np.abs(ordered[:, -1])
        certain: Array = margins > MARGIN * np.maximum(1.0, scale)
        return certain


def as_declared(answer: Array, output: Output) -> Array:
    """An answer of ONNX Runtime as the estimator gives it."""
    rows = answer.shape[0] if answer.ndim else 1
    shaped = answer.reshape(rows) if output.columns is None else answer.reshape(rows, -1)
    return shaped.astype(DTYPES[output.datatype], copy=False)
