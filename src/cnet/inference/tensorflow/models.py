"""SavedModels and Keras files, and calling them with arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cnet.errors import ConfigError
from cnet.inference.frameworks.runtime import CalledModel, words
from cnet.inference.runtime import Signature, TensorSpec
from cnet.inference.tensors.datatypes import Array, conform, datatype_of


def load(path: Path, *, signature: str, threads: int, device: str) -> CalledModel:
    """The model at `path`; ConfigError with one sentence where it cannot be served."""
    where = _configure(threads, device)
    try:
        if path.is_dir():
            return _saved_model(path, signature, where)
        return _keras(path, where)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"model {path} cannot be loaded: {words(error)}") from error


class _Called:
    """Implements `CalledModel` over `function(inputs)`, which answers with tensors by name."""

    def __init__(
        self,
        function: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        signature: Signature,
        *,
        form: str,
        device: str,
        keep: Any,
    ) -> None:
        self._function = function
        self.signature = signature
        self._keep = keep  # the variables of a function go with the object it came from
        self.about: Mapping[str, Any] = {
            "model_type": "tensorflow",
            "format": form,
            "served_by": f"tensorflow {tf.__version__}",
            "device": device,
        }

    def call(self, inputs: Mapping[str, Array], *, threads: int) -> Mapping[str, Array]:
        """See `CalledModel.call`; TensorFlow's threads are those of the whole process."""
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        answers = self._function(tensors)
        return {
            name: conform(np.asarray(answer.numpy()), name=name) for name, answer in answers.items()
        }


def _saved_model(path: Path, name: str, device: str) -> CalledModel:
    if not (path / "saved_model.pb").is_file():
        raise ConfigError(f"folder {path} is no SavedModel: it has no saved_model.pb")
    loaded = tf.saved_model.load(str(path))
    if name not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise ConfigError(f"the SavedModel {path} has no signature {name!r}; it has: {known}")
    function = loaded.signatures[name]
    _, inputs = function.structured_input_signature
    outputs = function.structured_outputs
    return _Called(
        lambda tensors: dict(function(**tensors)),
        _signature("tensorflow_savedmodel", inputs, outputs),
        form="saved_model",
        device=device,
        keep=loaded,
    )


def _keras(path: Path, device: str) -> CalledModel:
    if not zipfile.is_zipfile(path):
        raise ConfigError(f"model {path} is no SavedModel folder, .keras file or .tflite file")
    import keras

    # Without code that a file brings with it: Lambda layers are refused.
    model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    inputs = {each.name: each for each in model.inputs}
    names = list(getattr(model, "output_names", [])) or [each.name for each in model.outputs]
    outputs = dict(zip(names, model.outputs, strict=True))
    order = list(inputs)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(tensors: Mapping[str, Any]) -> Any:
        given = [tensors[name] for name in order]
        return model(given[0] if len(given) == 1 else given, training=False)

    def function(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = run(tensors)
        if isinstance(answer, Mapping):
            return answer
        return dict(
            zip(names, answer if isinstance(answer, list | tuple) else [answer], strict=True)
        )

    return _Called(
        function,
        _signature("tensorflow_keras", inputs, outputs),
        form="keras",
        device=device,
        keep=model,
    )


def _signature(platform: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Signature:
    made = [tuple(_spec(name, each) for name, each in of.items()) for of in (inputs, outputs)]
    return Signature(platform, made[0], made[1], tuple(spec.name for spec in made[1]))


def _spec(name: str, tensor: Any) -> TensorSpec:
    dtype = tf.as_dtype(tensor.dtype)
    datatype = "BYTES" if dtype == tf.string else datatype_of(np.dtype(dtype.as_numpy_dtype))
    if datatype is None:
        raise ConfigError(
            f"{name} of the model is {dtype.name}, which no client could send or read"
        )
    shape = tensor.shape
    if shape is None or (isinstance(shape, tf.TensorShape) and shape.rank is None):
        return TensorSpec(name, datatype, None)
    return TensorSpec(name, datatype, tuple(-1 if size is None else int(size) for size in shape))


def _configure(threads: int, device: str) -> str:
    """Threads and devices of the process, before anything has run."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = tf.config.list_physical_devices("GPU")
    if device == "cpu" or (device == "auto" and not found):
        tf.config.set_visible_devices([], "GPU")
        return "cpu"
    number = 0 if device == "auto" else int(device.partition(":")[2])
    if number >= len(found):
        raise ConfigError(f"--device {device}: TensorFlow sees {len(found)} CUDA devices here")
    tf.config.set_visible_devices([found[number]], "GPU")
    tf.config.experimental.set_memory_growth(found[number], True)  # not all of it at once
    return f"cuda:{number}"
