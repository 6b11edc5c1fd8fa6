"""Checks of arrays and names against what a model declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cnet.errors import SpecError
from cnet.inference.fields import shown
from cnet.inference.runtime import TensorSpec


def find(specs: Sequence[TensorSpec], name: object, *, field: str) -> TensorSpec:
    """The input or output called `name`; SpecError listing those there are."""
    for spec in specs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in specs)
    raise SpecError(f"{field}: there is no {shown(name)}; there are: {known}", field=field)


def require_all(specs: Sequence[TensorSpec], given: Iterable[str], *, field: str) -> None:
    """Every input must be given; SpecError naming those that are not."""
    sent = set(given)
    missing = [spec.name for spec in specs if spec.name not in sent]
    if missing:
        raise SpecError(f"{field}: {', '.join(missing)} is missing", field=field)


def taken(spec: TensorSpec) -> tuple[str, ...]:
    """All datatypes that an input takes, its own one first."""
    return (spec.datatype, *spec.also)


def check_shape(shape: Sequence[int], spec: TensorSpec, *, field: str) -> None:
    """`shape` must have the declared sizes where they are fixed."""
    declared = spec.shape
    if declared is None:
        return
    fits = len(shape) == len(declared) and all(
        size in (-1, given) for size, given in zip(declared, shape, strict=True)
    )
    if not fits:
        raise SpecError(
            f"{field} must have the shape {list(declared)}"
            f"{' (-1: any size)' if -1 in declared else ''}, not {list(shape)}",
            field=field,
        )


def describe(spec: TensorSpec) -> Mapping[str, object]:
    """As metadata of the Open Inference Protocol."""
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape or ())}
