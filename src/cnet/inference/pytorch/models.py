"""What is in a file of PyTorch, and calling it with arrays."""

from __future__ import annotations

import inspect
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cnet.errors import ConfigError, ExecutionError
from cnet.inference.custom import declared, files
from cnet.inference.frameworks.runtime import CalledModel, words
from cnet.inference.pytorch import signatures
from cnet.inference.runtime import Signature
from cnet.inference.tensors.datatypes import Array

Form = Literal["torchscript", "torch.export", "state_dict"]


def load(
    path: Path,
    *,
    script: Path | None = None,
    class_name: str = "Model",
    inputs: str | None = None,
    outputs: str | None = None,
    device: str = "auto",
) -> CalledModel:
    """The model in the file at `path`; ConfigError with one sentence where it cannot be served.

    `script` is the Python file with the class that the weights belong to. `inputs` and `outputs`
    are JSON, and take the place of what the model tells of itself.
    """
    form = _form_of(path)
    where = _device(device)
    told = declared.from_json(inputs, outputs)
    if (form == "state_dict") != (script is not None):
        raise ConfigError(
            f"model file {path} holds weights: --script (config.script_path) must name the Python "
            "file with their class"
            if script is None
            else f"model file {path} is a whole model (of {form}); --script goes with weights only"
        )
    try:
        if script is not None:
            module, about = _from_weights(path, script, class_name, where)
            told = declared.merged(told, about)
            names = list(inspect.signature(module.forward).parameters)
            signature = _require(told, path)
            keywords = _keywords(signature, names)
            return _Torch(module, signature, keywords, form=form, device=where)
        if form == "torchscript":
            module = torch.jit.load(str(path), map_location=where)
            module.eval()
            names = signatures.argument_names(module)
            signature = signatures.of_script(module, told, path)
            keywords = _keywords(signature, names)
            return _Torch(module, signature, keywords, form=form, device=where)
        return _from_export(path, told, where)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"model file {path} cannot be loaded: {words(error)}") from error


class _Torch:
    """Implements `CalledModel`; `keywords` are the parameters of the inputs, None by position."""

    def __init__(
        self,
        module: Callable[..., Any],
        signature: Signature,
        keywords: Sequence[str | None],
        *,
        form: Form,
        device: torch.device,
    ) -> None:
        self._module = module
        self.signature = signature
        self._keywords = keywords
        self._device = device
        self._thread = threading.local()
        self.about: Mapping[str, Any] = {
            "model_type": "pytorch",
            "format": form,
            "served_by": f"torch {torch.__version__}",
            "device": str(device),
        }

    def call(self, inputs: Mapping[str, Array], *, threads: int) -> Mapping[str, Array]:
        """See `CalledModel.call`."""
        self._use(threads)
        given = [
            (keyword, self._tensor(inputs[spec.name]))
            for keyword, spec in zip(self._keywords, self.signature.inputs, strict=True)
        ]
        by_order = [tensor for keyword, tensor in given if keyword is None]
        by_name = {keyword: tensor for keyword, tensor in given if keyword is not None}
        with torch.inference_mode():
            return self._arrays(self._module(*by_order, **by_name))

    def _use(self, threads: int) -> None:
        """PyTorch keeps the number of threads for each thread that calls it."""
        if getattr(self._thread, "count", None) != threads:
            torch.set_num_threads(threads)
            self._thread.count = threads

    def _tensor(self, array: Array) -> torch.Tensor:
        if array.dtype == object:
            raise ConfigError("PyTorch has no tensors of text")
        if not array.flags.writeable or not array.flags.c_contiguous:
            array = array.copy()
        return torch.from_numpy(array).to(self._device)

    def _arrays(self, answer: Any) -> dict[str, Array]:
        names = [spec.name for spec in self.signature.outputs]
        if isinstance(answer, Mapping):
            return {str(name): _array(each) for name, each in answer.items()}
        found = list(answer) if isinstance(answer, tuple | list) else [answer]
        if len(found) != len(names):
            raise ExecutionError(
                f"the model gave {len(found)} outputs; declared are {', '.join(names)}",
                code="model_failed",
            )
        return {name: _array(each) for name, each in zip(names, found, strict=True)}


def _array(tensor: Any) -> Array:
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    array: Array = tensor.detach().cpu().numpy()
    return array


def _from_weights(
    path: Path, script: Path, class_name: str, device: torch.device
) -> tuple[torch.nn.Module, Any]:
    """The module with its weights, and its class, which may declare its tensors."""
    try:
        weights = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"model file {path} holds more than weights; save module.state_dict(): {words(error)}"
        ) from error
    maker = files.class_in(script.absolute(), class_name)
    try:
        module = maker()
        if not isinstance(module, torch.nn.Module):
            raise ConfigError(f"{script}: the class {class_name} is no torch.nn.Module")
        module.load_state_dict(weights)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the weights in {path} do not fit {class_name} of {script}: {words(error)}"
        ) from error
    return module.to(device).eval(), module


def _from_export(path: Path, told: declared.Tensors, device: torch.device) -> CalledModel:
    program = torch.export.load(path)
    keywords = signatures.export_keywords(program)
    if told.inputs and len(told.inputs) != len(keywords):
        raise ConfigError(f"the model in {path} takes {len(keywords)} inputs")
    signature = signatures.of_export(program, told)
    module = program.module().to(device)
    return _Torch(module, signature, keywords, form="torch.export", device=device)


def _keywords(signature: Signature, names: Sequence[str]) -> list[str | None]:
    """By name where the parameters have the names of all inputs, else by their order."""
    inputs = [spec.name for spec in signature.inputs]
    return [*inputs] if set(inputs) <= set(names) else [None] * len(inputs)


def _require(told: declared.Tensors, path: Path) -> Signature:
    if not told.inputs or not told.outputs:
        raise ConfigError(
            f"nothing tells which tensors the model of {path} takes and gives: declare inputs and "
            'outputs in its class, inputs = {"rows": ("FP32", [-1, 4])}, or by --inputs and '
            "--outputs (config.inputs, config.outputs)"
        )
    return signatures.signature(told.inputs, told.outputs)


def _form_of(path: Path) -> Form:
    if not path.is_file():
        raise ConfigError(f"model file {path} does not exist, or is no regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        raise ConfigError(
            f"model file {path} is no file of torch.jit.save, torch.export.save or torch.save"
        ) from None
    if "archive_format" in names:
        return "torch.export"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    return "state_dict"


def _device(wanted: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return torch.device("cuda:0" if count else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(f"--device {wanted}: PyTorch sees {count} CUDA devices here")
    return device
