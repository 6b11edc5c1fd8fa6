"""One fitted estimator as named arrays in, named arrays out.

The input is called `input`; the outputs are the estimator's methods `predict`, `predict_proba` and
`transform`, those that it has.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from cnet.errors import ConfigError, ExecutionError, SpecError
from cnet.inference.runtime import Signature, TensorSpec
from cnet.inference.sklearn.files import words
from cnet.inference.tensors.datatypes import NUMBERS, Array, as_text, conform, datatype_of

INPUT = "input"
METHODS = ("predict", "predict_proba", "transform")

_LOGGER = logging.getLogger(__name__)
_ALSO = ("BOOL", "BYTES", *(name for name in NUMBERS if name != "FP64"))


class Estimator:
    """`ServesTensors` over `estimator`; `form` is the kind of file it came from.

    Raises ConfigError where it is none, or is not fitted.
    """

    def __init__(self, estimator: Any, *, form: str) -> None:
        self._estimator = estimator
        methods = _methods(estimator)
        _use_one_thread_a_call(estimator)
        shape, outputs = self._learn(methods)
        takes_text = len(shape) == 1
        self.signature = Signature(
            platform=f"sklearn_{form}",
            inputs=(
                TensorSpec(INPUT, "BYTES", shape)
                if takes_text
                else TensorSpec(INPUT, "FP64", shape, _ALSO),
            ),
            outputs=outputs,
            default_outputs=(outputs[0].name,),
        )

    @property
    def object(self) -> Any:
        """The estimator of scikit-learn."""
        return self._estimator

    @property
    def labels(self) -> list[str]:
        """The classes of a classifier, in the order of `predict_proba`; else empty."""
        classes = getattr(self._estimator, "classes_", None)
        is_list = isinstance(classes, np.ndarray) and classes.ndim == 1
        return [str(each) for each in classes] if classes is not None and is_list else []

    @property
    def feature_names(self) -> list[str]:
        """The names of the columns it was fitted on, in order; empty where it was told none."""
        return [str(each) for each in getattr(self._estimator, "feature_names_in_", ())]

    @property
    def name(self) -> str:
        """The class, and of a pipeline those of its steps."""
        steps = [type(step).__name__ for _, step in getattr(self._estimator, "steps", [])]
        name = type(self._estimator).__name__
        return f"{name}({', '.join(steps)})" if steps else name

    def infer(self, inputs: Mapping[str, Array], *, outputs: Sequence[str]) -> dict[str, Array]:
        """See `ServesTensors.infer`."""
        given = inputs[INPUT]
        if given.dtype == object:
            given = as_text(given, name=INPUT)
        elif not given.flags.writeable:
            given = given.copy()  # parts of scikit-learn insist on arrays they could write to
        return {name: self._call(name, given) for name in outputs}

    def _call(self, method: str, given: Array) -> Array:
        try:
            return _dense(getattr(self._estimator, method)(given))
        except (ValueError, TypeError) as error:
            raise SpecError(
                f"{method} does not take this input: {words(error)}",
                field=INPUT,
                code="model_failed",
            ) from error
        except Exception as error:
            raise ExecutionError(f"{method} fails: {words(error)}", code="model_failed") from error

    def _learn(self, methods: Sequence[str]) -> tuple[tuple[int, ...], tuple[TensorSpec, ...]]:
        """The shape of the input and what each method gives, found by trying."""
        features: int | None = getattr(self._estimator, "n_features_in_", None)
        width = -1 if features is None else features
        trials: list[tuple[tuple[int, ...], Array]] = [((-1,), np.full(1, "", object))]
        if features is not None:
            sizes = (1, features)
            trials = [((-1, width), np.zeros(sizes)), ((-1, width), np.full(sizes, "", object))]
        for shape, sample in trials:
            try:
                told = self._try(methods, sample)
            except SpecError as error:
                _LOGGER.info("not tried with %s %s: %s", sample.dtype, sample.shape, error.message)
                continue
            if not told:
                raise ConfigError(f"none of {', '.join(methods)} can be served; the log says why")
            return shape, told
        return (-1, width), tuple(self._guess(name) for name in methods)

    def _try(self, methods: Sequence[str], sample: Array) -> tuple[TensorSpec, ...]:
        """What those methods give that can be served; SpecError where they refuse `sample`."""
        told = []
        for name in methods:
            try:
                told.append(_told(name, self._call(name, sample)))
            except ExecutionError as error:
                _LOGGER.warning("%s is left out: %s", name, error.message)
        return tuple(told)

    def _guess(self, method: str) -> TensorSpec:
        if method != "predict":
            return TensorSpec(method, "FP64", (-1, -1))
        classes = getattr(self._estimator, "classes_", None)
        datatype = datatype_of(classes.dtype) if isinstance(classes, np.ndarray) else None
        return TensorSpec(method, datatype or "FP64", None)


def _methods(estimator: Any) -> list[str]:
    methods = [name for name in METHODS if callable(getattr(estimator, name, None))]
    if not methods:
        raise ConfigError(
            f"the file holds a {type(estimator).__name__}, which has none of {', '.join(METHODS)}"
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ConfigError(f"the {type(estimator).__name__} is not fitted") from error
    except TypeError:  # something of the user's own with the same methods
        _LOGGER.info("%s is no estimator of scikit-learn", type(estimator).__name__)
    return methods


def _use_one_thread_a_call(estimator: Any) -> None:
    """Requests already run beside each other; a pool within each would only disturb them."""
    if not hasattr(estimator, "get_params"):
        return
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"]
    estimator.set_params(**dict.fromkeys(names, 1))


def _told(name: str, answer: Array) -> TensorSpec:
    array = conform(answer, name=name)
    return TensorSpec(name, datatype_of(array.dtype) or "FP64", (-1, *array.shape[1:]))


def _dense(answer: Any) -> Array:
    if hasattr(answer, "toarray"):  # a sparse matrix
        answer = answer.toarray()
    if isinstance(answer, list):
        raise ExecutionError(
            "it answers with several arrays, as models of several outputs do; these are not served",
            code="model_failed",
        )
    return np.asarray(answer)
